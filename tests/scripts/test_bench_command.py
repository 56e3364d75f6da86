"""`tandem bench policy`, on the way from an observation to an arm that is served by another process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.messages import JointCommand
from bridge.observation import Observed
from bridge.remote import RemoteRobot
from scripts.programs import bench_command
from scripts.programs.bench_command import _decide
from scripts.programs.bench_policy import CASES, Case
from scripts.programs.lab import LabFailed
from scripts.programs.served_arm import served_arm
from urdf.description import load_arm

ARM = load_arm("dofbot")
RIG = ARM.rig("table")


@pytest.mark.deep
@pytest.mark.parametrize("case", CASES[:2], ids=["state", "depth"])
def test_a_decision_is_timed_until_the_arm_has_its_command(case: Case) -> None:
    heard: list[tuple[str, float]] = []
    began_s = time.monotonic()
    row = bench_command.measure_one(case, lambda what, share: heard.append((what, share)), commands=20)
    assert time.monotonic() - began_s > 70 / 20, "the loop's own 20 Hz, warm-up included"
    assert (row.unit, row.bar, row.direction) == ("ms", 2.0, "<=")
    assert row.value is not None
    assert 0.1 < row.value < 500.0, "no answer crosses two processes in less; the link would have given up"
    assert "held or refused" not in row.baseline, row
    assert heard[-1] == (row.figure, 1.0)


class Slow:
    def act(self, observation: Observed) -> NDArray[np.float32]:
        time.sleep(0.02)
        return np.ones(2, dtype=np.float32)


def test_what_the_policy_takes_is_counted_and_the_sleep_is_not(tmp_path: Path) -> None:
    with served_arm(tmp_path) as endpoint, RemoteRobot(endpoint, ARM, MonotonicClock()) as robot:
        decided = _decide(robot, Slow(), [np.zeros(1, dtype=np.float32)], 60, lambda _: None)
    assert len(decided) == 60
    assert all(20.0 < one.written_ms < one.confirmed_ms for one in decided)
    assert min(one.confirmed_ms for one in decided) < 45.0


def test_a_word_that_is_in_no_figure_serves_no_arm() -> None:
    assert list(bench_command.measure(lambda *_: None, "no such figure")) == []


def test_the_served_arm_stands_at_home_moves_and_ends_with_its_context(tmp_path: Path) -> None:
    clock, home = MonotonicClock(), RIG.home_rad
    with served_arm(tmp_path) as endpoint:
        with RemoteRobot(endpoint, ARM, clock) as robot:
            assert robot.read_state().position_rad == pytest.approx(tuple(home), abs=2e-3)
            target = (float(home[0]) + 0.02, *home[1:].tolist())
            for seq in range(20):
                robot.send(JointCommand(seq, clock.now_ns(), target, 0.05))
                clock.sleep_until(clock.now_ns() + 50_000_000)
            assert robot.read_state().position_rad[0] == pytest.approx(target[0], abs=4e-3)
        said = (tmp_path / "arm.log").read_text()
        assert "ready: serving dofbot (table)" in said
    assert "leaving the arm: torque_off" in (tmp_path / "arm.log").read_text()


def test_an_arm_that_cannot_be_served_says_why(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 120)
    deep.mkdir()
    with pytest.raises(LabFailed, match="the path of"), served_arm(deep):
        pytest.fail("it is served")
