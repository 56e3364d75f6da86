from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from bridge.clock import MonotonicClock
from bridge.errors import StaleFrame
from bridge.messages import JointCommand
from bridge.remote import RemoteRobot
from hardware.cameras.remote import RemoteCamera
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from scripts.programs.lab import LabFailed, running_lab
from scripts.programs.lab_eye import SceneMirror
from scripts.programs.lab_process import LabProcess, clear_left_labs
from scripts.programs.lab_stage import StageFailed, StageHand, StageStatus
from scripts.programs.robot_file import RobotFile, RobotFileError, robot_file_path
from sim.lab_truth import TruthFile
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")


def children_of(pid: int) -> dict[int, str]:
    """Return (pid, command line) of all descendants, from /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # ended while we looked
                continue
            if fields[0] != "Z":
                parents[int(folder.name)] = int(fields[1])
    found, fresh = set[int](), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return {child: command_of(child) for child in found}


def command_of(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    return command_of(pid) == ""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabProcess]:
    with LabProcess(seed=3, out=tmp_path / "out", data=tmp_path / "data") as lab:
        yield lab


def send_home(robot: RemoteRobot) -> None:
    """Stream commands at 20 Hz until the arm stands at home."""
    clock, start = MonotonicClock(), np.array(robot.read_state().position_rad)
    due_ns = clock.now_ns()
    for k in range(1, 51):
        target = start + (RIG.home_rad - start) * min(1.0, k / 40)
        robot.send(JointCommand(k, clock.now_ns(), tuple(float(v) for v in target), 0.05))
        due_ns += 50_000_000
        clock.sleep_until(due_ns)


def test_arm_camera_and_hand_work_together_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with LabProcess(seed=3, out=tmp_path / "out", data=tmp_path / "data") as lab:
        pids = {lab.pid, *children_of(lab.pid)}
        robot, hand = RemoteRobot(lab.robot.endpoint, ARM, MonotonicClock()), StageHand(lab.robot.stage_endpoint)
        camera = RemoteCamera(lab.robot.camera_endpoint)
        tracker = CameraBlockSource(camera, MarkerLocator(RIG))
        send_home(robot)
        assert robot.read_state().position_rad == pytest.approx(RIG.home_rad, abs=0.03)
        assert "no marker of the block" in tracker.missing()
        hand.place_block()
        assert wait_for(lambda: tracker.read_block() is not None, 3.0)
        sighting = tracker.read_block()
        assert sighting is not None
        assert RIG.contains((RIG.desk_from_base @ sighting.base_from_block).position_m[:2], margin_m=0.002)
        assert (time.monotonic_ns() - sighting.stamp_ns) * 1e-9 < 0.6
        assert hand.begin_attempt() == 1
        before = hand.status()
        time.sleep(2.0)
        after = hand.status()
        assert after.frames - before.frames >= 8
        assert after.physics_s - before.physics_s == pytest.approx(2.0, abs=0.3)
        hand.end_attempt()
        assert [o.success for o in TruthFile.load(Path(lab.robot.truth_path)).outcomes] == [False]
        tracker.close()
        camera.close()
        hand.close()
        robot.close()
        folder = Path(lab.robot.port).parent
        assert len(pids) >= 3
    assert lab.stop() == 0
    assert wait_for(lambda: all(is_gone(pid) for pid in pids), 3.0), {p: command_of(p) for p in pids}
    assert not folder.exists()
    assert running_lab(tmp_path / "data") is None
    assert "leaving the arm: relax" in (tmp_path / "out" / "server.log").read_text()


def test_killed_lab_takes_its_children_along(lab: LabProcess) -> None:
    pids = {lab.pid, *children_of(lab.pid)}
    os.kill(lab.pid, signal.SIGKILL)
    assert wait_for(lambda: lab.stop() != 0 and all(is_gone(pid) for pid in pids), 15.0)


@pytest.mark.parametrize(
    ("mark", "said"), [("serve", "the robot server ended"), ("spawn_main", "the camera process ended")]
)
def test_a_killed_child_is_noticed_and_named(lab: LabProcess, mark: str, said: str) -> None:
    pids = {lab.pid, *children_of(lab.pid)}
    victims = [pid for pid, command in children_of(lab.pid).items() if mark in command]
    assert len(victims) == 1
    os.kill(victims[0], signal.SIGKILL)

    assert wait_for(lambda: is_gone(lab.pid), 15.0)
    assert lab.stop() == 1
    with pytest.raises(LabFailed, match=said):
        lab.check()
    assert wait_for(lambda: all(is_gone(pid) for pid in pids), 3.0)


def test_ctrl_c_ends_the_lab_with_130_and_a_second_lab_is_refused_meanwhile(lab: LabProcess, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "scripts.main", "lab"],
        env={**os.environ, "TANDEM_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 2
    assert f"pid {lab.pid}" in second.stdout + second.stderr
    os.kill(lab.pid, signal.SIGINT)
    assert wait_for(lambda: is_gone(lab.pid), 20.0)
    assert lab.stop() == 130


def test_the_next_lab_clears_what_programs_that_have_ended_left(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, ours, asked_for = f"{ended.pid}_1_seed0", f"{os.getpid()}_1_seed0", "20260102T030405Z_seed0"
    for name in (left, ours, asked_for):
        (tmp_path / name).mkdir()
        (tmp_path / name / "truth.json").write_text("{}")
    clear_left_labs(tmp_path)
    assert {folder.name for folder in tmp_path.iterdir()} == {ours, asked_for}


def test_a_lab_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(LabFailed, match="unknown rig of dofbot 'tabel'; valid, nearest first: table, hanging"):
        LabProcess(rig="tabel", out=tmp_path / "out", data=tmp_path / "data").start()


def test_the_stage_hand_answers_nonsense_with_an_error_and_never_tells_where_the_block_is(lab: LabProcess) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.connect(lab.robot.stage_endpoint)
    socket.send(b"\x81garbage")
    assert socket.poll(3000)
    reply = msgspec.msgpack.decode(socket.recv(), type=StageStatus)
    assert "no request" in reply.error
    socket.close(0)
    context.term()
    assert set(StageStatus.__struct_fields__) == {"attempts", "physics_s", "lost_s", "frames", "error"}


def test_a_stage_hand_that_is_gone_is_an_error_in_bounded_time(tmp_path: Path) -> None:
    hand = StageHand(f"ipc://{os.path.relpath(tmp_path)}/nobody", timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(StageFailed, match="did not answer"):
        hand.place_block()
    assert time.monotonic() - started < 1.0
    hand.close()


def test_pictures_stop_with_the_lab(lab: LabProcess) -> None:
    camera = RemoteCamera(lab.robot.camera_endpoint)

    def sees() -> bool:
        try:
            camera.read(0.5)
        except StaleFrame:
            return False
        return True

    assert wait_for(sees, 5.0)
    lab.stop()
    assert wait_for(lambda: not sees(), 2.0)
    camera.close()


def write_forever(mirror: SceneMirror) -> None:
    """Write scenes in which every number is the same, as fast as possible."""
    n = 0
    while True:
        n = (n + 1) % 1000
        mirror.write({"a": float(n), "b": float(n)}, Pose.from_rpy([n, n, n], [0.0, 0.0, 0.0]), stamp_ns=n)


def test_the_mirror_never_shows_half_of_one_scene_and_half_of_another() -> None:
    mirror = SceneMirror(("a", "b"))
    assert mirror.read() is None
    writer = multiprocessing.get_context("spawn").Process(target=write_forever, args=(mirror,), daemon=True)
    writer.start()
    assert wait_for(lambda: mirror.read() is not None, 20.0)
    seen = set[int]()
    for _ in range(3000):
        scene = mirror.read()
        assert scene is not None
        angles, block, stamp_ns = scene
        assert {*angles.values(), *block.position_m.tolist()} == {float(stamp_ns)}
        seen.add(stamp_ns)
    writer.kill()
    writer.join()
    assert len(seen) > 100


def test_robot_file_survives_and_is_strict(tmp_path: Path) -> None:
    robot = RobotFile("dofbot", "table", '/dev/with "quotes"', "ipc:///tmp/x", pid=os.getpid())
    robot.save("desk", tmp_path)
    assert RobotFile.load("desk", tmp_path) == robot
    assert robot.is_alive
    path = robot_file_path("desk", tmp_path)
    path.write_text(path.read_text() + "surprise = 1\n")
    with pytest.raises(RobotFileError, match="surprise"):
        RobotFile.load("desk", tmp_path)
    with pytest.raises(RobotFileError, match="no robot 'attic'"):
        RobotFile.load("attic", tmp_path)
