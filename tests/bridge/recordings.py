"""Runs to record: an arm that swings its joints, and a process of its own that records one until it is killed."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bridge.clock import MonotonicClock
from bridge.encoding import Phase
from bridge.episode import EpisodeWriter
from bridge.episode_format import EpisodeHeader, utc_name
from bridge.loop import LoopStep
from bridge.messages import JointCommand, RobotState
from bridge.ports import BlockSighting
from urdf.pose import Pose

CLOCK = MonotonicClock()
JOINTS = ("one", "two", "three")
PERIOD_S = 0.01


def make_header(start_clock_ns: int | None = None) -> EpisodeHeader:
    now = datetime.now(UTC)
    return EpisodeHeader(
        robot="desk",
        arm="dofbot",
        arm_sha256="a" * 64,
        rig="table",
        joint_names=JOINTS,
        period_s=PERIOD_S,
        policy="oracle",
        configuration_sha256={"robot.toml": "b" * 64},
        calibration_sha256={"servo.json": "c" * 64},
        versions={"tandem-arm": "0.1.0"},
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9),
        start_clock_ns=CLOCK.now_ns() if start_clock_ns is None else start_clock_ns,
    )


def make_step(k: int, stamp_ns: int, sighting: BlockSighting | None = None, fault: str = "") -> LoopStep:
    """Period `k`: measured is (k, 2k, 3k) mrad, sent one millirad more."""
    measured = tuple(1e-3 * k * joint for joint in (1, 2, 3))
    sent = tuple(q + 1e-3 for q in measured)
    state = RobotState(k, stamp_ns, measured, (0.1,) * 3, (0.02, 0.03, float("inf")), fault=fault)
    command = JointCommand(k, stamp_ns + 1000, sent, PERIOD_S)
    phase = Phase.DESCEND if k < 5 else Phase.CLOSE
    return LoopStep(state, sighting, phase, np.array([0.5, -1.0], np.float32), command, "block" if k == 3 else "")


def make_sighting(stamp_ns: int) -> BlockSighting:
    return BlockSighting(Pose(np.array([0.2, 0.1, 0.015]), np.array([0.0, 0.0, 0.0, 1.0])), stamp_ns)


def record_steps(path: Path, counts: tuple[int, ...]) -> Path:
    """Record so many periods chunk by chunk, with one picture in every chunk; return the path."""
    writer = EpisodeWriter(path, make_header(), CLOCK)
    k = 0
    for count in counts:
        for _ in range(count):
            writer.record(make_step(k, CLOCK.now_ns()))
            k += 1
        writer.frame("desk", CLOCK.now_ns(), b"\xff\xd8 a picture \xff\xd9")
        size = path.stat().st_size
        while path.stat().st_size == size:  # until the chunk is on the disk
            time.sleep(0.005)
    writer.close(outcome="3 of 4 attempts succeeded")
    return path


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def main() -> None:
    """Record at 100 Hz until killed or interrupted; tell number and stamp of every period first, on stdout.

    With another word on the command line a picture of so many bytes goes with every period.
    """
    writer = EpisodeWriter(Path(sys.argv[1]), make_header(), CLOCK, _tell)
    picture = np.random.default_rng(0).bytes(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    deadline_ns = CLOCK.now_ns()
    try:
        for k in range(100_000):
            stamp_ns = CLOCK.now_ns()
            sys.stdout.write(f"{k} {stamp_ns}\n")
            sys.stdout.flush()
            writer.record(make_step(k, stamp_ns))
            if picture:
                writer.frame("desk", stamp_ns, picture)
            deadline_ns += round(PERIOD_S * 1e9)
            CLOCK.sleep_until(deadline_ns)
    except KeyboardInterrupt:
        tally = writer.close("interrupted")
        _tell(f"lost {tally.lost} whole {tally.whole}")


if __name__ == "__main__":
    main()
