"""`tandem calibrate actuator` on a port of its own: what it owes to whoever looks for what moved the arm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bridge.episode_reader import read_episode
from bridge.errors import CommandRefused
from bridge.messages import JointCommand
from bridge.stop_latch import StopLatch
from scripts.calibrate_actuator import CalibrateActuatorArgs, arm_in_hand
from scripts.programs.robot_file import stop_latch_path
from tests.bridge.served_bench import CLOCK, MOVE_SIX, NAME, REST_RAD, TORQUE, Bench


@pytest.fixture
def data(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(bench.folder))
    return bench.folder


def test_an_arm_on_a_port_of_ours_is_recorded_and_set_down(bench: Bench, data: Path) -> None:
    args = CalibrateActuatorArgs(robot=NAME, port=bench.board.port)
    with arm_in_hand(args, Console(stderr=True)) as arm:
        here = np.array(arm.robot.read_state().position_rad)
        for k in range(1, 6):
            target = here + np.array([0.02 * k, 0.0, 0.0, 0.0, 0.0, 0.0])
            arm.robot.send(JointCommand(k, CLOCK.now_ns(), tuple(target.tolist()), 0.05))
            CLOCK.sleep_until(CLOCK.now_ns() + 50_000_000)
    (path,) = data.glob("episodes/*.mcap")
    episode = read_episode(path)
    assert episode.whole
    assert (episode.header.robot, episode.header.policy) == (NAME, "calibrate actuator")
    moves = [frame for frame in bench.heard(0) if frame.command == MOVE_SIX]
    assert len(episode.bus_sent) == len(moves)
    np.testing.assert_allclose(episode.sent_rad[-1], REST_RAD, atol=5e-3)
    assert [e.text for e in episode.events if e.name == "torque"] == ["on", "off"]


def test_an_arm_whose_stop_is_latched_is_not_moved(bench: Bench, data: Path) -> None:
    StopLatch(stop_latch_path(NAME, data)).write("emergency stop by the button")
    args = CalibrateActuatorArgs(robot=NAME, port=bench.board.port)
    with pytest.raises(CommandRefused, match="the button"), arm_in_hand(args, Console(stderr=True)):
        pass
    assert [frame for frame in bench.heard(0) if frame.command in (MOVE_SIX, TORQUE)] == []
