"""`tandem lab`: a servo board on a pty, the world that it moves, a camera, a stage hand and the arm's own server.

Four processes: this one (physics and servo board, 240 Hz in real time), the camera, and the robot server, which finds
a serial port and knows nothing of what is behind it; whoever runs a policy is the fourth.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from bridge.errors import BridgeError
from calibration.artifacts import utc_now
from calibration.boards import GRIPPER
from hardware.virtual.dofbot_board import DofbotBoard
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.programs.lab_eye import EyeSetup, SceneMirror, start_eye
from scripts.programs.lab_loop import Lab
from scripts.programs.lab_plant import LabPlant
from scripts.programs.lab_stage import StageServer
from scripts.programs.lab_unit import LabUnit, nominal_calibration, take_up
from scripts.programs.lab_wrist_eye import WristEyeSetup, start_wrist_eye
from scripts.programs.process_tree import before_exec
from scripts.programs.robot_file import RobotFile, RobotFileError, stop_latch_path
from sim.lab import LabWorld
from sim.lab_levels import gap_level
from sim.lab_scene import nominal_camera
from sim.lab_truth import LabTruth
from urdf.description import ArmDescription, load_arm

ROBOT_NAME = "lab"
_CHILD_LOOK_S = 0.2
_READY_S = 40.0
_LEAVE_S = 20.0
_GRACE_S = 0.8


class LabFailed(BridgeError):
    """A part of the lab did not start, or ended while it was needed."""


@dataclass(frozen=True)
class LabArgs:
    """Start the arm you have when you have no arm. Ends on Ctrl-C or SIGTERM, the arm relaxed."""

    rig: str = "table"
    """How the arm is mounted: table or hanging."""
    seed: int = 0
    """Seed of what is hidden: servo zeros, lag, the camera's place, the block's mass and friction."""
    level: str = "mild"
    """How far it is off the training world: 0 (no hidden error), mild or hard."""
    wrist: bool = False
    """Have a depth camera at the wrist as well."""
    out: Path | None = None
    """Folder for truth.json and the server's log. Default: data/labs/UTC_seedN."""
    arm: str = "dofbot"
    """Which arm it is."""
    json: bool = False
    """Print the lab's own statistics as one JSON object on the last line."""


def run(args: LabArgs) -> int:
    """Run the lab until told to stop; return the exit code."""
    description, data = load_arm(args.arm), data_root()
    description.rig(args.rig)
    gap_level(args.level)
    if args.seed < 0:
        return refuse(f"tandem lab: --seed must be at least 0, got {args.seed}")
    other = running_lab(data)
    if other is not None:
        return refuse(f"tandem lab: one runs already (pid {other.pid}): end it, or set TANDEM_DATA to another folder")
    out = args.out or data / "labs" / f"{utc_now()}_seed{args.seed}"
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stop = stack.enter_context(_Stop().listening())
        robot = _addresses(args, stack.enter_context(_short_folder()), out)
        lab, children = _build(args, description, robot, out, stack)
        _wait_until_ready(lab, children, robot, stop)
        if stop.number is None:
            stack.callback(robot.save(ROBOT_NAME, data).unlink, missing_ok=True)
            _tell_ready(robot, args.json)
        _turn_until(lab, children, stop.requested)
    status = lab.status()
    say(f"the lab is closed: {status.physics_s:.0f} s of physics, {status.lost_s:.2f} s lost", args.json)
    emit_json({"lab": status, "truth": robot.truth_path}, args.json)
    return INTERRUPTED if stop.number == signal.SIGINT else DONE


def running_lab(data: Path) -> RobotFile | None:
    """Return where the lab of this data folder is reached, None where none runs."""
    try:
        robot = RobotFile.load(ROBOT_NAME, data)
    except RobotFileError:
        return None
    return robot if robot.is_alive else None


# Building ----------------------------------------------------------------------------------------
def _addresses(args: LabArgs, sockets: Path, out: Path) -> RobotFile:
    return RobotFile(
        arm=args.arm,
        rig=args.rig,
        port=str(sockets / "servos"),
        endpoint=f"ipc://{sockets}/arm",
        camera_endpoint=f"ipc://{sockets}/camera",
        wrist_endpoint=f"ipc://{sockets}/wrist" if args.wrist else "",
        stage_endpoint=f"ipc://{sockets}/stage",
        truth_path=str((out / "truth.json").resolve()),
        pid=os.getpid(),
    )


def _build(
    args: LabArgs, description: ArmDescription, robot: RobotFile, out: Path, stack: ExitStack
) -> tuple[Lab, _Children]:
    """Start every part; `stack` ends them in reverse: the server first, while the board still answers it."""
    rig, truth = description.rig(args.rig), LabTruth.draw(args.seed, len(description.joint_names), args.level)
    for line in take_up(LabUnit(args.arm, args.rig, args.seed, args.level), ROBOT_NAME, description, data_root()):
        say(line, args.json)
    world = LabWorld(description, rig, truth, Path(robot.truth_path))
    stack.callback(world.close)
    plant = LabPlant(world, nominal_calibration(description, ROBOT_NAME))
    board = DofbotBoard(
        plant,
        np.random.default_rng([args.seed, 2]),
        time.monotonic_ns(),
        truth.actuator(description),
        link=Path(robot.port),
    )
    stack.callback(board.close)
    stage = StageServer(robot.stage_endpoint)
    stack.callback(stage.close)
    mirror = SceneMirror(tuple(world.scene()[0]))
    camera = truth.desk_from_camera(nominal_camera(rig))
    cache = Path(robot.port).parent / "cache"
    face = truth.tool_from_marker(GRIPPER.markers[0].target_from_marker)
    setup = EyeSetup(args.arm, args.rig, camera, robot.camera_endpoint, cache, args.seed, truth.camera, face)
    eyes = [start_eye(setup, mirror)]
    if args.wrist:
        eyes.append(start_wrist_eye(WristEyeSetup(args.arm, args.rig, truth, robot.wrist_endpoint), mirror))
    for eye in eyes:
        stack.callback(_end_eye, eye)
    lab = Lab(world, board, mirror, stage, args.seed)
    stop_latch_path(ROBOT_NAME, data_root()).unlink(missing_ok=True)  # every lab is another arm
    log = out / "server.log"
    server = _start_server(robot, log)
    stack.callback(_end_server, lab, server, args.json)
    return lab, _Children(tuple(eyes), server, log)


def _start_server(robot: RobotFile, log: Path) -> subprocess.Popen[bytes]:
    words = ["serve", "--port", robot.port, "--robot", ROBOT_NAME, "--endpoint", robot.endpoint, "--no-record"]
    words += ["--arm", robot.arm, "--rig", robot.rig, "--on-exit", "relax"]
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.main", *words],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach it before the lab says so
            preexec_fn=before_exec(signal.SIGTERM),
        )


@contextmanager
def _short_folder() -> Generator[Path]:
    """Make a folder whose sockets stay below the 107 characters of an ipc path; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-lab-"))
    if len(str(folder)) > 80:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="tandem-lab-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# Running -----------------------------------------------------------------------------------------
class _Stop:
    """Remembers the first signal that asked for an end."""

    def __init__(self) -> None:
        self.number: int | None = None

    def requested(self) -> bool:
        return self.number is not None

    def note(self, number: int, _frame: object) -> None:
        self.number = self.number or number

    @contextmanager
    def listening(self) -> Generator[_Stop]:
        before = {n: signal.signal(n, self.note) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class _Children:
    """The processes that the lab owns, and where the server writes what it says."""

    eyes: tuple[BaseProcess, ...]
    server: subprocess.Popen[bytes]
    server_log: Path

    def check(self) -> None:
        """Raise LabFailed when one has ended."""
        code = self.server.poll()
        if code is not None:
            said = self.server_log.read_text(encoding="utf-8", errors="replace").strip()[-1500:]
            raise LabFailed(f"the robot server ended with exit code {code}. It said: {said}")
        for eye in self.eyes:
            if not eye.is_alive():
                raise LabFailed(f"the {eye.name.removeprefix('lab ')} process ended with exit code {eye.exitcode}")


def _turn_until(lab: Lab, children: _Children, done: Callable[[], bool], limit_s: float | None = None) -> None:
    """Advance the lab until `done`, looking after its children; raises LabFailed, after `limit_s` as well."""
    start_s = looked_s = time.monotonic()
    while not done():
        lab.turn()
        now_s = time.monotonic()
        if now_s - looked_s > _CHILD_LOOK_S:
            looked_s = now_s
            children.check()
            if limit_s is not None and now_s - start_s > limit_s:
                raise LabFailed(f"the lab is not ready after {limit_s:.0f} s: is the machine overloaded?")


def _wait_until_ready(lab: Lab, children: _Children, robot: RobotFile, stop: _Stop) -> None:
    arm = Path(robot.endpoint.removeprefix("ipc://"))
    _turn_until(lab, children, lambda: stop.requested() or (arm.exists() and lab.status().frames > 0), _READY_S)
    lab.lost_ns = 0  # what the start cost is nobody's loss


def _tell_ready(robot: RobotFile, json: bool) -> None:
    say(f"arm     {robot.endpoint}", json)
    say(f"camera  {robot.camera_endpoint}", json)
    if robot.wrist_endpoint:
        say(f"wrist   {robot.wrist_endpoint}", json)
    say(f"stage   {robot.stage_endpoint}", json)
    say(f"hidden  {robot.truth_path}", json)
    say(f"ready: lab {robot.arm} ({robot.rig}), pid {robot.pid}. Ctrl-C ends it", json)
    say("in another terminal: tandem run --policy dofbot-grasp-state --robot lab; tandem stop; tandem mirror", json)


# Ending ------------------------------------------------------------------------------------------
def _end_server(lab: Lab, server: subprocess.Popen[bytes], json: bool) -> None:
    """Have the server leave the arm in peace, which takes a board that still answers; kill it when it does not."""
    if server.poll() is not None:
        return
    # Whoever moved the arm may have been killed with us: the watchdog's hold comes first, and is given time to work.
    grace_s = time.monotonic() + _GRACE_S
    while server.poll() is None and time.monotonic() < grace_s:
        lab.turn()
    say("ending: the arm goes to its rest pose", json)
    server.send_signal(signal.SIGTERM)
    end_s = time.monotonic() + _LEAVE_S
    while server.poll() is None and time.monotonic() < end_s:
        lab.turn()
    if server.poll() is None:
        say(f"the robot server did not end within {_LEAVE_S:.0f} s and is killed", json)
        server.kill()
    server.wait()


def _end_eye(eye: BaseProcess) -> None:
    eye.terminate()
    eye.join(timeout=2.0)
    if eye.is_alive():
        eye.kill()
        eye.join()
