"""Who is in control: emergency stop, taking over, parking, watching, and clocks that run apart."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bridge.clock import MAX_DRIFT, ClockOffset, MonotonicClock
from bridge.errors import CommandRefused, StaleState
from bridge.messages import PROTOCOL_VERSION, Ack, Hello, Move, Stop
from bridge.remote import RemoteRobot
from bridge.server import RobotServer
from bridge.server_settings import ServerSettings
from bridge.stop_latch import StopLatch
from bridge.watchdog import WatchdogLimits
from bridge.watcher import RobotWatcher
from tests.bridge.benches import ARM, PERIOD_S, START, SetpointRobot, command_to, eventually, ipc, serving
from tests.bridge.test_link import Raw

CLOCK = MonotonicClock()
REST = ARM.rig("table").rest_rad


# Emergency stop ------------------------------------------------------------------------------------
def test_a_stop_holds_latches_and_is_ended_by_an_explicit_call_alone(
    server: RobotServer, robot: SetpointRobot, remote: RemoteRobot
) -> None:
    remote.send(command_to(START + 0.01))
    remote.stop()
    assert robot.hold_times_ns
    assert robot.let_go_ns == []
    moved = len(robot.commands)
    for _ in range(3):
        with pytest.raises(CommandRefused, match="emergency stop by session"):
            remote.send(command_to(START + 0.02))
    assert len(robot.commands) == moved
    assert "emergency stop" in remote.read_state().fault
    remote.clear()
    assert robot.recoveries == 1
    assert remote.read_state().fault == ""
    remote.send(command_to(START + 0.02))
    assert len(robot.commands) == moved + 1


def test_anybody_may_stop_the_arm_with_one_frame(
    server: RobotServer, robot: SetpointRobot, remote: RemoteRobot
) -> None:
    remote.send(command_to(START + 0.01))
    raw = Raw(server.endpoint)
    raw.say(Stop("a passer-by", 1))
    assert eventually(lambda: bool(server.stopped))
    assert robot.hold_times_ns
    with pytest.raises(CommandRefused, match="a passer-by"):
        remote.send(command_to(START + 0.02))
    raw.close()


def test_a_stop_may_let_go_where_the_robot_is_told_so(robot: SetpointRobot, tmp_path: Path) -> None:
    with (
        serving(robot, ipc(tmp_path), CLOCK, ServerSettings(stop_torque_off=True)) as server,
        RemoteRobot(server.endpoint, ARM, CLOCK) as remote,
    ):
        remote.stop()
        assert robot.hold_times_ns
        assert robot.let_go_ns


def test_a_stop_whose_bus_is_gone_stays_latched_and_serving_goes_on(
    robot: SetpointRobot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise OSError("the cable is out")

    monkeypatch.setattr(robot, "torque_off", gone)
    told: list[str] = []
    with (
        serving(robot, ipc(tmp_path), CLOCK, ServerSettings(stop_torque_off=True), told.append) as server,
        RemoteRobot(server.endpoint, ARM, CLOCK) as remote,
    ):
        remote.stop()
        assert server.stopped
        assert "emergency stop" in remote.read_state().fault
    assert any("the cable is out" in text for text in told)


def test_a_server_that_is_started_again_still_knows_the_stop(robot: SetpointRobot, tmp_path: Path) -> None:
    latch = StopLatch(tmp_path / "robot" / "emergency_stop")
    with serving(robot, ipc(tmp_path), CLOCK, ServerSettings(latch=latch)) as server:
        server.stop("the button")
    told: list[str] = []
    with (
        serving(robot, ipc(tmp_path), CLOCK, ServerSettings(latch=latch), told.append) as server,
        RemoteRobot(server.endpoint, ARM, CLOCK) as remote,
    ):
        assert any("the button" in text for text in told)
        with pytest.raises(CommandRefused, match="the button"):
            remote.send(command_to(START))
        remote.clear()
        remote.send(command_to(START))
    with serving(robot, ipc(tmp_path), CLOCK, ServerSettings(latch=latch)) as server:
        assert server.stopped == ""


def test_a_latch_that_was_cut_off_or_cannot_be_read_is_a_stop(tmp_path: Path) -> None:
    empty = StopLatch(tmp_path / "emergency_stop")
    assert empty.read() == ""
    empty.path.touch()
    assert empty.read()
    assert "cannot be read" in StopLatch(tmp_path).read()  # a folder


def test_a_stop_that_cannot_be_written_down_still_stops(robot: SetpointRobot, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    settings = ServerSettings(latch=StopLatch(tmp_path / "file" / "emergency_stop"))
    robot_server = serving(robot, ipc(tmp_path), CLOCK, settings, told.append)
    with robot_server as server:
        assert "cannot be read" in server.stopped  # what may hold a stop counts as one
        server.stop("the button")
        assert robot.hold_times_ns


def test_what_is_still_in_the_way_keeps_the_stop_latched(
    server: RobotServer, robot: SetpointRobot, remote: RemoteRobot
) -> None:
    remote.stop()
    robot.trouble = "servo 3 is 90 C hot"
    with pytest.raises(CommandRefused, match="90 C"):
        remote.clear()
    assert server.stopped


def test_a_stop_is_heard_while_commands_flood(server: RobotServer, robot: SetpointRobot) -> None:
    raw = Raw(server.endpoint)
    raw.greet()
    for seq in range(1, 400):
        raw.say(Move("raw", command_to(START + 0.01, seq)))
    raw.say(Stop("raw", 1000))
    assert eventually(lambda: bool(server.stopped))
    moved = len(robot.commands)
    for seq in range(400, 500):
        raw.say(Move("raw", command_to(START + 0.01, seq)))
    time.sleep(0.2)
    assert len(robot.commands) == moved
    raw.close()


# One controller ------------------------------------------------------------------------------------
def test_taking_over_must_be_asked_for_and_counts_once(server: RobotServer, robot: SetpointRobot) -> None:
    first = RemoteRobot(server.endpoint, ARM, CLOCK)
    first.send(command_to(START + 0.01))
    with RemoteRobot(server.endpoint, ARM, CLOCK) as polite, pytest.raises(CommandRefused, match="--take-over"):
        polite.send(command_to(START + 0.02))
    second = RemoteRobot(server.endpoint, ARM, CLOCK, take_over=True)
    second.send(command_to(START + 0.02))
    with pytest.raises(CommandRefused, match="in control"):
        first.send(command_to(START + 0.01))
    time.sleep(1.1)  # the lease lapses
    first.send(command_to(START + 0.01))
    with pytest.raises(CommandRefused, match="in control"):
        second.send(command_to(START + 0.02))
    first.close()
    second.close()


def test_of_commands_that_wait_together_only_the_newest_moves_the_arm(robot: SetpointRobot, tmp_path: Path) -> None:
    server = RobotServer(robot, "table", PERIOD_S, ipc(tmp_path), CLOCK)
    raw = Raw(server.endpoint)
    raw.say(Hello("raw", PROTOCOL_VERSION, ARM.name, ARM.sha256, CLOCK.now_ns()))
    for seq in (1, 2, 4, 3):
        raw.say(Move("raw", command_to(START + 0.001 * seq, seq)))
    time.sleep(0.1)
    server.turn(100)
    answers = [raw.hear(1000) for _ in range(5)][1:]
    assert [a.verdict for a in answers if isinstance(a, Ack)] == ["superseded", "superseded", "accepted", "superseded"]
    assert [command.seq for command in robot.commands] == [4]
    raw.close()
    server.close()


def test_a_session_of_another_epoch_means_nothing(robot: SetpointRobot, tmp_path: Path) -> None:
    with serving(robot, ipc(tmp_path), CLOCK) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
        before = remote.epoch
    with serving(robot, ipc(tmp_path), CLOCK) as server:
        assert server.epoch != before
        raw = Raw(server.endpoint)
        assert raw.move(command_to(START, 5)).verdict == "unknown session"
        raw.close()


# Parking -------------------------------------------------------------------------------------------
def test_an_arm_that_nobody_leads_walks_to_its_rest_pose(robot: SetpointRobot, tmp_path: Path) -> None:
    settings = ServerSettings(WatchdogLimits(park_s=0.3))
    with serving(robot, ipc(tmp_path), CLOCK, settings) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
        remote.send(command_to(START + 0.01))
        assert eventually(lambda: server.statistics.parkings == 1)
        assert eventually(lambda: float(np.abs(robot.position_rad - REST).max()) < 2e-3, 10.0)
        moved = len(robot.commands)
        remote.send(command_to(robot.position_rad, 2))
        assert len(robot.commands) == moved + 1


def test_a_stop_ends_the_walk_at_once(robot: SetpointRobot, tmp_path: Path) -> None:
    settings = ServerSettings(WatchdogLimits(park_s=0.3))
    with serving(robot, ipc(tmp_path), CLOCK, settings) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
        remote.send(command_to(START + 0.01))
        assert eventually(lambda: len(robot.commands) > 5)
        remote.stop()
        moved = len(robot.commands)
        time.sleep(0.2)
        assert len(robot.commands) == moved
        assert float(np.abs(robot.position_rad - REST).max()) > 0.05


# Watching ------------------------------------------------------------------------------------------
def test_a_watcher_sees_what_the_controller_does_and_who_it_is(
    server: RobotServer, remote: RemoteRobot, robot: SetpointRobot
) -> None:
    with RobotWatcher(server.endpoint, CLOCK) as watcher:
        remote.send(command_to(START + 0.05))
        assert eventually(lambda: watcher.read_state().position_rad == tuple(robot.position_rad.tolist()))
        assert watcher.controller == remote.session
        assert watcher.epoch == server.epoch
        assert abs(CLOCK.now_ns() - watcher.read_state().stamp_ns) < 0.1e9


def test_the_state_comes_fifty_times_a_second(server: RobotServer) -> None:
    with RobotWatcher(server.endpoint, CLOCK) as watcher:
        stamps: set[int] = set()
        end_s = time.monotonic() + 1.0
        while time.monotonic() < end_s:
            stamps.add(watcher.read_state().seq)
            time.sleep(0.002)
    assert 35 <= len(stamps) <= 55


def test_a_dead_server_never_looks_like_an_arm_that_stands_still(robot: SetpointRobot, tmp_path: Path) -> None:
    with serving(robot, ipc(tmp_path), CLOCK) as server:
        watcher = RobotWatcher(server.endpoint, CLOCK)
        remote = RemoteRobot(server.endpoint, ARM, CLOCK, timeout_s=0.2)
        watcher.read_state()
        remote.read_state()
    time.sleep(0.3)
    with pytest.raises(StaleState, match="s old"):
        watcher.read_state()
    with pytest.raises(StaleState, match="not known any more"):
        remote.read_state()
    watcher.close()


def test_nothing_to_watch_is_an_error_in_bounded_time(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(StaleState, match="tandem serve"):
        RobotWatcher(ipc(tmp_path), CLOCK, timeout_s=0.3)
    assert time.monotonic() - began_s < 2.0


# Clocks --------------------------------------------------------------------------------------------
class FastClock:
    """Another machine's clock: a billion seconds away, and 100 ppm fast."""

    def __init__(self) -> None:
        self._began_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        since_ns = time.monotonic_ns() - self._began_ns
        return self._began_ns + 10**18 + since_ns + since_ns // 10_000

    def sleep_until(self, deadline_ns: int) -> None:
        while (left_ns := deadline_ns - self.now_ns()) > 0:
            time.sleep(left_ns * 1e-9)


def test_a_server_a_billion_seconds_away_and_100_ppm_fast_works_the_same(tmp_path: Path) -> None:
    clock = FastClock()
    robot = SetpointRobot(clock)
    with serving(robot, ipc(tmp_path), clock) as server, RemoteRobot(server.endpoint, ARM, CLOCK) as remote:
        for seq in range(1, 60):
            remote.send(command_to(START + 0.01, seq, CLOCK.now_ns()))
            truth_ns = clock.now_ns() - CLOCK.now_ns()
            bound_ns = remote.offset.error_ns(CLOCK.now_ns())
            assert abs(remote.offset.offset_ns - truth_ns) <= bound_ns + 50_000
            assert bound_ns < 20_000_000
            assert abs(CLOCK.now_ns() - remote.read_state().stamp_ns) < 0.1e9
            time.sleep(0.02)
        assert server.statistics.accepted == 59
        stale = command_to(START + 0.05, 100, CLOCK.now_ns() - 300_000_000)
        remote.send(stale)
        assert (server.statistics.accepted, server.statistics.stale) == (59, 1)


@pytest.mark.parametrize("drift", [-100e-6, 0.0, 100e-6, MAX_DRIFT])
def test_the_offset_is_within_its_bound_for_hours_of_drift(drift: float) -> None:
    rng, offset = np.random.default_rng(0), ClockOffset()

    def theirs_ns(ours_ns: int) -> int:
        return ours_ns + 10**18 + int(ours_ns * drift)

    now_ns = 0
    for _ in range(20_000):
        now_ns += int(rng.exponential(0.5e9))
        away, back = (int(v) for v in rng.exponential(2e6, 2) + 50_000)
        offset.add(now_ns, theirs_ns(now_ns + away), now_ns + away + back)
        now_ns += away + back + int(rng.exponential(0.2e9))
        error_ns = abs(offset.offset_ns - (theirs_ns(now_ns) - now_ns))
        assert error_ns <= offset.error_ns(now_ns) + 2
    assert offset.error_ns(now_ns) < 3_000_000
