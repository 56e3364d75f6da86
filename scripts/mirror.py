"""`tandem mirror`: one command stream drives an arm and its simulated twin; how they differ, live and in numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.clock import MonotonicClock
from bridge.episode_reader import read_episode
from bridge.errors import PolicyMismatch
from bridge.loop import LoopStep
from bridge.remote import RemoteRobot
from scripts.calibrate_servos import SightArgs
from scripts.cli import data_root, emit_json, refuse, say
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE, FAILED, INTERRUPTED
from scripts.programs.camera_choice import CameraChoice
from scripts.programs.episode_files import resolve_episode
from scripts.programs.episode_recording import RecordedRun, Recording, recording
from scripts.programs.episode_replay import Timeline, check_same_arm
from scripts.programs.lab import ROBOT_NAME
from scripts.programs.mirror_links import CameraLook, CameraMirror
from scripts.programs.mirror_motion import LEAST_SECONDS, rehearsed, sine, steps
from scripts.programs.mirror_robot import MirroredRobot
from scripts.programs.mirror_run import MirrorRun, MirrorSummary, make_twin, summarize
from scripts.programs.picture_file import check_picture
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from urdf.description import Rig
from urdf.pose import Array

if TYPE_CHECKING:
    from scripts.programs.mirror_camera import MirrorEye

_MOTIONS = {"sine": sine, "steps": steps}
_PERIOD_S = 0.05
_MAX_PAUSE_S = 2.0
_SHOW_EVERY_S = 0.3
_OWN_CAMERA, _NO_CAMERA = "robot", "none"
#: Corners of a calibrated camera fit to about half a pixel.
_WELL_PX = 1.0
#: As many as for a calibration: with fewer, those that fit badly weigh more.
_POSES = 36


@dataclass(frozen=True)
class MirrorArgs:
    """Drive an arm and its simulated twin together, and tell how they differ. Ctrl-C holds the arm and keeps the rest.

    The arm goes slowly to the first pose and then moves every joint by 10 degrees at most; with a camera it goes to 36
    poses all over its room after that, for 4 minutes. Keep clear of it.
    """

    robot: str = ROBOT_NAME
    """`lab` (started if none runs), or a robot under data/robots that `tandem serve` serves."""
    motion: str = "sine"
    """`sine` (all joints swing: shows the lag), `steps` (one joint after the other, with pauses: shows offsets), or a
    recording: its name, its file, or `newest`."""
    seconds: float = 30.0
    """How long sine or steps last [s]; steps take as long as their pauses need."""
    camera: str = ""
    """Where the links stand, which no servo's reading tells, is told by a camera that sees the gripper's marker and the
    desk board as for `tandem calibrate servos`: robot (the one that robot.toml names), uvc:0 ..., or none. Default:
    robot for the lab on its table, none for every other arm."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab."""
    out: Path | None = None
    """The picture: .png, .pdf or .svg. Default: beside the recording, data/episodes/UTC_mirror.png."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout: angles in rad, distances in mm, times in ms."""


def run(args: MirrorArgs) -> int:
    """Mirror one motion; return the exit code."""
    console = Console(stderr=args.json)
    if not (math.isfinite(args.seconds) and LEAST_SECONDS <= args.seconds <= 600.0):
        return refuse(f"tandem mirror: --seconds must be {LEAST_SECONDS:g} to 600, got {args.seconds}")
    if args.out is not None:
        check_picture(args.out, "a mirror's picture")
    if args.camera not in ("", _OWN_CAMERA, _NO_CAMERA):
        CameraChoice.parse(args.camera)
    episode = None if args.motion in _MOTIONS else read_episode(resolve_episode(args.motion, data_root()))
    rig_name = episode.header.rig if episode is not None else "table"
    with ExitStack() as stack:
        address = stack.enter_context(find_robot(args.robot, rig_name, args.seed, console))
        link = RobotLink.of(address, args.key, args.take_over)
        description, rig = link.description, link.description.rig(address.rig)
        if episode is None:
            period_s = _PERIOD_S
            targets_rad = rehearsed(_MOTIONS[args.motion], description, rig, period_s, args.seconds)
        else:
            check_same_arm(episode, description, rig.name)
            period_s, targets_rad = episode.header.period_s, Timeline.of(episode, _MAX_PAUSE_S).targets_rad
        twin = make_twin(description, rig, period_s)
        stack.callback(twin.close)
        stack.enter_context(settled_memory())
        arm = link.connect()
        stack.callback(arm.close)
        if arm.rig_name != rig.name:
            raise PolicyMismatch(f"the server's arm stands in rig {arm.rig_name!r}, robot.toml says {rig.name!r}")
        mirrored = MirrorRun(MirroredRobot(arm, twin, MonotonicClock()), rig, targets_rad, period_s)
        recorded = RecordedRun(args.robot, description, rig, period_s, f"mirror of {args.motion}")
        return _mirror(args, mirrored, recorded, targets_rad, _Looking(_eye(args, address, link, rig), arm), console)


def _eye(args: MirrorArgs, address: RobotFile, link: RobotLink, rig: Rig) -> MirrorEye | None:
    """Return the camera that looks when the motion is over, None where none does; raises where it is not there."""
    camera = args.camera or (_OWN_CAMERA if args.robot == ROBOT_NAME and rig.name == "table" else _NO_CAMERA)
    if camera == _NO_CAMERA:
        return None
    from scripts.programs.mirror_camera import MirrorEye  # OpenCV

    sight = SightArgs(camera=camera, poses=_POSES, key=args.key)
    eye = MirrorEye(args.robot, sight, address, link.description, rig)
    eye.check()
    return eye


@dataclass(frozen=True, slots=True)
class _Looking:
    """The camera that looks, if any, and at which arm."""

    eye: MirrorEye | None
    arm: RemoteRobot

    def look(self, console: Console, json: bool) -> CameraLook | None:
        """Have it look, with a bar."""
        if self.eye is None:
            return None
        say("Now the camera looks where the links stand. Keep clear of the arm; Ctrl-C holds it.", json)
        with ExitStack() as stack:
            bars: list[CountedProgress] = []

            def plan(poses: int) -> None:
                bars.append(stack.enter_context(CountedProgress(console, "looking", poses)))

            return self.eye.look(self.arm, plan, lambda words: bars[0].advance(words))


def _mirror(
    args: MirrorArgs,
    mirrored: MirrorRun,
    recorded: RecordedRun,
    targets_rad: Array,
    looking: _Looking,
    console: Console,
) -> int:
    """Run it, recorded and shown, and look; tell what came of it, also where it was interrupted."""
    interrupted, ongoing, look = False, None, None
    try:
        with recording(data_root(), recorded, MonotonicClock(), lambda text: say(text, args.json)) as ongoing:
            with LiveTable(console, mirrored, len(targets_rad) * recorded.period_s) as table:
                mirrored.run(_both(ongoing, table.show))
            ongoing.outcome = _summary(args, mirrored, ongoing).verdict
        look = looking.look(console, args.json)
    except KeyboardInterrupt:
        if ongoing is None:  # nothing has moved yet
            raise
        interrupted = True
    picture = args.out or ongoing.writer.path.with_name(f"{ongoing.writer.path.stem}_mirror.png")
    summary = _summary(args, mirrored, ongoing, picture, look)
    console.print(_final_table(summary))
    if summary.zero_known:
        console.print(_links_table(summary))
    if interrupted:
        say("interrupted: the arm holds; this is what there is", args.json)
    say(_closing(summary), args.json)
    emit_json(summary, args.json)
    seen = summary.camera is None or not summary.camera.trouble
    return INTERRUPTED if interrupted else DONE if summary.fine and seen else FAILED


def _both(ongoing: Recording, show: Callable[[LoopStep], None]) -> Callable[[LoopStep], None]:
    def record(step: LoopStep) -> None:
        ongoing.writer.record(step)
        show(step)

    return record


def _summary(
    args: MirrorArgs,
    mirrored: MirrorRun,
    ongoing: Recording,
    picture: Path | None = None,
    look: CameraLook | None = None,
) -> MirrorSummary:
    return summarize(mirrored, args.robot, args.motion, picture, ongoing.writer.path, look)


class LiveTable:
    """The difference per joint and at the tool as the arm moves, a few times a second, where somebody is looking."""

    def __init__(self, console: Console, mirrored: MirrorRun, seconds: float) -> None:
        self._mirrored, self._seconds = mirrored, seconds
        self._shown = console.is_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._began_s = self._due_s = time.monotonic()

    def __enter__(self) -> LiveTable:
        """Begin to show."""
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the table away."""
        if self._shown:
            self._live.stop()

    def show(self, step: LoopStep) -> None:
        """Take in one control period."""
        now_s = time.monotonic()
        if not self._shown or now_s < self._due_s or not self._mirrored.log.twin_rad:
            return
        self._due_s = now_s + _SHOW_EVERY_S
        self._live.update(self._table(step, now_s - self._began_s), refresh=True)

    def _table(self, step: LoopStep, spent_s: float) -> Table:
        description, log = self._mirrored.robot.description, self._mirrored.log
        twin = log.twin_rad[-1]
        table = _columns("joint", "arm [rad]", "twin [rad]", "difference [rad]", title=f"{spent_s:.0f} s")
        for name, at, beside in zip(description.joint_names, step.state.position_rad, twin, strict=True):
            table.add_row(name, f"{at:+.4f}", f"{beside:+.4f}", f"{at - beside:+.4f}")
        tools = (description.base_from_tool(q).position_m for q in (step.state.position_rad, twin))
        apart_mm = 1e3 * float(np.linalg.norm(np.subtract(*tools)))
        table.add_row("tool", "", "", f"{apart_mm:.1f} mm")
        left_s = max(self._seconds - spent_s, 0.0)
        table.caption = f"{left_s:.0f} s to go; Ctrl-C holds the arm"
        return table


def _columns(first: str, *rest: str, title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", header_style="dim", box=None)
    table.add_column(Text(first))  # as text: [rad] would be taken for markup
    for name in rest:
        table.add_column(Text(name), justify="right")
    return table


def _final_table(summary: MirrorSummary) -> Table:
    table = _columns("joint", "reading off [rad]", "behind [ms]", "play [rad]", "rms [rad]", "most [rad]", "readings")
    for j in summary.joints:
        behind = "" if j.behind_ms is None else f"{j.behind_ms:.1f} ± {j.behind_error_ms:.1f}"
        play = "" if j.play_rad is None else f"{j.play_rad:+.4f}"
        offset = "" if j.offset_rad is None else f"{j.offset_rad:+.4f}"
        table.add_row(j.joint, offset, behind, play, f"{j.rms_rad:.4f}", f"{j.max_rad:.4f}", str(j.readings))
    return table


def _links_table(summary: MirrorSummary) -> Table:
    """Return what the camera says of the links."""
    table = _columns("joint", "servo's zero off [rad]", "its scale [1]", "link off its twin [rad]")
    for joint in summary.joints:
        if (link := joint.link) is not None:
            table.add_row(
                joint.joint,
                f"{link.zero_rad:+.4f} ± {link.zero_error_rad:.4f}",
                f"{link.scale:.4f} ± {link.scale_error:.4f}",
                f"{link.offset_rad:+.4f} ± {link.offset_error_rad:.4f}",
            )
    return table


def _closing(summary: MirrorSummary) -> str:
    text = summary.verdict
    if summary.tool is not None:
        text += f". Tool: {summary.tool.median_mm:.1f} mm apart in the median, {summary.tool.max_mm:.1f} at most"
    if summary.lag_ms is not None:
        text += f". From command to motion: {summary.lag_ms:.0f} ms"
    text += f". {_about_zeros(summary.camera)}"
    return text + (f". Picture: {summary.picture}" if summary.picture else "")


def _about_zeros(camera: CameraMirror | None) -> str:
    """Return what is known of where the links stand."""
    if camera is None:
        return "No camera looked, and readings cannot tell a servo whose zero is off: --camera can"
    if camera.trouble:
        return f"The camera told nothing of the links: {camera.trouble}"
    text = f"By the camera ({camera.samples} poses, corners fit to {camera.corners_px:.2f} px) the tool stands "
    text += f"{camera.tool_mm:.1f} mm from its twin's"
    if camera.corners_px > _WELL_PX:
        text += ", which is rough: measure the lens first (`tandem calibrate camera`)"
    return text + (f"; not determined: {', '.join(camera.open)}" if camera.open else "")
