"""What was promised of teleoperation: how late, how often, how smooth, how right."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.free_attempt import FREE_HZ
from bridge.remote import RemoteRobot
from perception.body import Side
from perception.teleop_policy import Deadman
from scripts.programs import bench_teleop_motion as motion
from scripts.programs.bench_teleop_lab import LIFTED, lab_row
from scripts.programs.figures import Row, at_least, at_most
from scripts.programs.served_arm import ARM, RIG, served_arm_with_keys
from scripts.programs.teleop_arm import TeleopArm
from scripts.programs.teleop_controls import TeleopControls
from scripts.programs.teleop_session import Mode, TeleopSession, TeleopSetup
from scripts.programs.teleop_source import SourceChoice, look_through, open_source
from scripts.settled_memory import settled_memory
from urdf.description import load_arm

LATENCY_P50, LATENCY_P95 = "teleop: frame to servo command, p50", "teleop: frame to servo command, p95"
RATE = "teleop: commands to the arm"
_PLAYS = 3
_VIDEO = Path("pose") / "pose_1.mp4"
_SETUP = TeleopSetup(Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.NONE)


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield the rows whose figure contains `only`."""
    if any(only in figure for figure in (LATENCY_P50, LATENCY_P95, RATE)):
        yield from _shown(_latency_rows(on_progress), only)
    if any(only in figure for figure in (motion.JERK_FIGURE, motion.LAG_FIGURE)):
        yield from _shown(_filter_rows(), only)
    if only in motion.POSTURE_FIGURE:
        yield from motion.posture_rows()
    if any(only in f"{motion.SPEED_FIGURE}, {arm}" for arm in ("", *motion.ARMS)):
        yield from _shown(motion.speed_rows(on_progress), only)
    if only in LIFTED:
        yield lab_row(on_progress)


def video_path() -> Path | None:
    """Return the video of a person that CI has, None where it is not there."""
    folder = os.environ.get("TANDEM_TEST_DATA")
    path = None if folder is None else Path(folder) / _VIDEO
    return path if path is not None and path.is_file() else None


def _shown(rows: Iterable[Row], only: str) -> Iterable[Row]:
    return (row for row in rows if only in row.figure)


def _unmeasured(figure: str, bar: float, unit: str) -> Row:
    return at_most(figure, None, unit, bar, f"needs $TANDEM_TEST_DATA/{_VIDEO}")


def _filter_rows() -> list[Row]:
    video = video_path()
    if video is None:
        return [_unmeasured(motion.JERK_FIGURE, 0.35, ""), _unmeasured(motion.LAG_FIGURE, 60.0, "ms")]
    return motion.filter_rows(look_through(SourceChoice.parse(str(video)), hands=False), "a real video")


def _latency_rows(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Play the video at its own speed, three times, before an arm behind CURVE; return how late its servos are told."""
    video = video_path()
    if video is None:
        rate = at_least(RATE, None, "Hz", 30.0, f"needs $TANDEM_TEST_DATA/{_VIDEO}")
        return [_unmeasured(LATENCY_P50, 45.0, "ms"), _unmeasured(LATENCY_P95, 90.0, "ms"), rate]
    latency_ms: list[float] = []
    rates_hz: list[float] = []
    missed = 0
    for play in range(_PLAYS):
        session = _played(video)
        latency_ms += session.recorder.notes.latency_ms
        rates_hz.append(session.loop.statistics.loop_hz)
        missed += session.loop.statistics.missed_deadlines
        on_progress(LATENCY_P50, (play + 1) / _PLAYS)
    p50, p95 = np.percentile(latency_ms, [50, 95]).tolist() if latency_ms else (None, None)
    told = (
        f"{len(latency_ms)} pictures of a real 30 fps video at its own speed, the real model, an arm in other "
        f"processes behind CURVE; load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores"
    )
    return [
        at_most(LATENCY_P50, p50, "ms", 45.0, told),
        at_most(LATENCY_P95, p95, "ms", 90.0, told),
        at_least(RATE, min(rates_hz), "Hz", 30.0, f"interpolated to {FREE_HZ}, {missed} deadlines missed"),
    ]


def _played(video: Path) -> TeleopSession:
    """Let an arm follow the video once."""
    description, clock = load_arm(ARM), MonotonicClock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-")))
        endpoint, key = stack.enter_context(served_arm_with_keys(folder))
        stack.enter_context(settled_memory())
        robot = stack.enter_context(RemoteRobot(endpoint, description, clock, key=key))
        arm = TeleopArm(
            "bench", robot, clock, description.rig(RIG), lambda step: robot.written_ns, robot.stop, robot.clear
        )
        source = SourceChoice.parse(str(video))
        sightings = stack.enter_context(open_source(source, clock, hands=False, people=1))
        session = TeleopSession(arm, _SETUP, sightings, TeleopControls(clock, (), "d"), None, lambda text: None)
        session.run()
        return session
