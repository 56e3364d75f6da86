from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from bridge.clock import MonotonicClock
from bridge.errors import CommandRefused
from bridge.messages import JointCommand
from calibration.errors import ForeignCalibration
from calibration.servo import ServoCalibration
from hardware.buses.dofbot_serial import DofbotSerialBus
from hardware.errors import RelaxBlocked, RobotFaulted, WrongServo
from hardware.servo_robot import ServoRobot
from hardware.virtual.dofbot_board import BoardFaults, BoardManners, DofbotBoard
from hardware.virtual.plant import FreePlant
from tests.hardware.conftest import FAST
from tests.hardware.dofbot_serial_bench import QUICK
from urdf.description import ArmDescription

PERIOD_S = 0.05


@pytest.fixture
def calibration(dofbot: ArmDescription) -> ServoCalibration:
    return ServoCalibration.nominal(dofbot, "virtual")


@pytest.fixture
def real_manners() -> None:
    """Reading a servo takes as long as on the real board."""


@pytest.fixture
def board(request: pytest.FixtureRequest, clock: MonotonicClock, plant: FreePlant) -> Iterator[DofbotBoard]:
    """A board that reads ten times quicker than the real one, unless a test asks for that one's manners."""
    real = "real_manners" in request.fixturenames
    manners = BoardManners() if real else QUICK
    board = DofbotBoard(plant, np.random.default_rng(7), clock.now_ns(), manners=manners, torque_on=True)
    with board.run_in_thread(clock):
        yield board
    board.close()


@pytest.fixture
def robot(
    bus: DofbotSerialBus, calibration: ServoCalibration, dofbot: ArmDescription, clock: MonotonicClock
) -> Iterator[ServoRobot]:
    robot = ServoRobot.connect(bus, calibration, dofbot, dofbot.rig("table"), clock)
    yield robot
    robot.close()


def moves(board: DofbotBoard) -> list[tuple[int, list[int], int]]:
    """Return (time, counts, move time in ms) of the six-servo moves on the wire."""
    words = [
        (f.stamp_ns, [int.from_bytes(f.data[i : i + 2], "big") for i in range(0, 14, 2)])
        for f in list(board.heard)
        if f.command == 0x1D and not f.swallowed
    ]
    return [(stamp_ns, w[:6], w[6]) for stamp_ns, w in words]


def wait_until(condition: Callable[[], bool], limit_s: float) -> float:
    """Return the seconds until the condition held; fails after the limit."""
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < limit_s, "waited in vain"
        time.sleep(0.005)
    return time.monotonic() - start_s


def pose_of(robot: ServoRobot) -> list[float]:
    return list(robot.read_state().position_rad)


def test_torque_comes_on_where_the_arm_lies_and_nothing_jumps(
    clock: MonotonicClock, calibration: ServoCalibration, dofbot: ArmDescription
) -> None:
    lying = [2100, 2600, 2400, 2300, 1500, 1000]
    plant = FreePlant(clock, start_ticks=lying, sagged_ticks=lying)
    board = DofbotBoard(plant, np.random.default_rng(1), clock.now_ns(), torque_on=False)
    with board.run_in_thread(clock):
        bus = DofbotSerialBus(board.port, clock, FAST)
        bus.write_ticks([1500] * 6, 1.0)  # an old target that torque alone would pull to
        robot = ServoRobot.connect(bus, calibration, dofbot, dofbot.rig("table"), clock)
        wait_until(lambda: all(board.torque_on), 0.5)
        time.sleep(0.5)
        assert np.abs(plant.positions_ticks() - lying).max() <= 1
        np.testing.assert_allclose(pose_of(robot), calibration.to_rad(lying), atol=2e-3)
        robot.close()
    board.close()


def test_a_missing_servo_is_named_before_anything_moves(
    bus: DofbotSerialBus, board: DofbotBoard, calibration: ServoCalibration, dofbot: ArmDescription
) -> None:
    board.faults.absent_servos |= {2, 5}
    with pytest.raises(WrongServo, match=r"servos 2 and 5 do not answer") as caught:
        ServoRobot.connect(bus, calibration, dofbot, dofbot.rig("table"), MonotonicClock())
    assert caught.value.missing == (2, 5)
    assert not moves(board)


def test_a_calibration_of_another_arm_is_refused(
    bus: DofbotSerialBus, board: DofbotBoard, calibration: ServoCalibration, dofbot: ArmDescription
) -> None:
    foreign = msgspec.structs.replace(calibration, arm="dofbot-se", arm_sha256="0" * 64)
    with pytest.raises(ForeignCalibration, match="dofbot-se"):
        ServoRobot.connect(bus, foreign, dofbot, dofbot.rig("table"), MonotonicClock())
    assert not moves(board)


@pytest.mark.usefixtures("real_manners")
def test_the_estimate_stays_within_a_degree_of_the_servos_while_they_move(
    robot: ServoRobot, plant: FreePlant, calibration: ServoCalibration
) -> None:
    start, clock, errors_rad = pose_of(robot), MonotonicClock(), list[float]()
    start_ns = clock.now_ns()
    for seq in range(80):
        swing = 0.3 * math.sin(2 * math.pi * 0.25 * seq * PERIOD_S)
        target = (start[0] + swing, start[1] + swing / 2, start[2], start[3] - swing, start[4] + swing, start[5])
        robot.send(JointCommand(seq, clock.now_ns(), target, PERIOD_S))
        for part in (1, 2):
            clock.sleep_until(start_ns + round((seq + part / 2) * PERIOD_S * 1e9))
            error = np.abs(np.array(pose_of(robot)) - calibration.to_rad(plant.positions_ticks()))
            errors_rad.append(float(error[:5].max()))
    assert math.degrees(float(np.percentile(errors_rad, 95))) < 1.0  # the rest is the machine's, when it is busy


@pytest.mark.usefixtures("real_manners")
def test_reading_ages_are_true_and_stay_below_a_second(robot: ServoRobot) -> None:
    time.sleep(0.8)
    ages = robot.read_state().reading_age_s
    assert max(ages) < 0.9
    assert min(ages) < 0.12
    assert len(set(ages)) == 6


def test_reading_the_state_waits_for_nobody(robot: ServoRobot) -> None:
    durations_s: list[float] = []
    for _ in range(200):
        started_s = time.perf_counter()
        robot.read_state()
        durations_s.append(time.perf_counter() - started_s)
    assert float(np.median(durations_s)) < 1e-3


def test_what_is_sent_is_returned_and_on_the_wire(
    robot: ServoRobot, board: DofbotBoard, calibration: ServoCalibration
) -> None:
    target = pose_of(robot)
    target[0] += 0.05
    sent = robot.send(JointCommand(7, 0, tuple(target), PERIOD_S))
    assert sent.seq == 7
    wait_until(lambda: len(moves(board)) == 3, 0.5)  # two while connecting
    _, ticks, move_ms = moves(board)[-1]
    assert move_ms == 50
    np.testing.assert_allclose(calibration.to_rad(ticks), sent.position_rad, atol=1e-12)
    np.testing.assert_allclose(sent.position_rad, target, atol=1.5e-3)


def test_speed_is_limited_at_the_bus(robot: ServoRobot, dofbot: ArmDescription) -> None:
    start = pose_of(robot)
    sent = robot.send(JointCommand(1, 0, (start[0] + 1.5, *start[1:]), PERIOD_S))
    assert abs(sent.position_rad[0] - start[0]) <= dofbot.max_speed_rad_s[0] * PERIOD_S + 2e-3


def test_a_hold_reaches_the_wire_at_once_and_stops_the_arm(
    robot: ServoRobot, board: DofbotBoard, plant: FreePlant
) -> None:
    start, clock = pose_of(robot), MonotonicClock()
    start_ns = clock.now_ns()
    for seq in range(12):
        robot.send(JointCommand(seq, 0, (start[0] + 0.04 * seq, *start[1:]), PERIOD_S))
        clock.sleep_until(start_ns + round((seq + 1) * PERIOD_S * 1e9))
    before = len(moves(board))
    asked_ns = time.monotonic_ns()
    robot.hold()
    wait_until(lambda: len(moves(board)) > before, 0.1)
    assert (moves(board)[-1][0] - asked_ns) * 1e-6 < 10
    assert robot.read_state().holding
    time.sleep(0.25)
    stopped = plant.positions_ticks()
    time.sleep(0.2)
    np.testing.assert_array_equal(plant.positions_ticks(), stopped)


def test_holding_a_block_keeps_the_squeeze(robot: ServoRobot, board: DofbotBoard, plant: FreePlant) -> None:
    plant.gripper_stop_ticks = 1000
    start = pose_of(robot)
    squeeze_rad = start[5] + 140 / 1234.4  # 900 + 140 counts: 40 into the block
    clock, start_ns = MonotonicClock(), time.monotonic_ns()
    for seq in range(20):
        g = min(start[5] + 0.02 * seq, squeeze_rad)
        robot.send(JointCommand(seq, 0, (*start[:5], g), PERIOD_S))
        clock.sleep_until(start_ns + round((seq + 1) * PERIOD_S * 1e9))
    wait_until(lambda: pose_of(robot)[5] < squeeze_rad - 0.02, 1.0)  # the measured gripper lags the command
    for _ in range(5):
        robot.hold()
    time.sleep(0.3)
    assert board.setpoint_ticks[5] == pytest.approx(1040, abs=1.01)
    assert robot.read_state().fault == ""


@pytest.mark.usefixtures("real_manners")
def test_the_gripper_is_read_often_while_it_closes(robot: ServoRobot, board: DofbotBoard) -> None:
    start, clock = pose_of(robot), MonotonicClock()
    start_ns, worst_s = clock.now_ns(), 0.0
    for seq in range(40):
        robot.send(JointCommand(seq, 0, (*start[:5], start[5] + 0.03 * seq), PERIOD_S))
        clock.sleep_until(start_ns + round((seq + 1) * PERIOD_S * 1e9))
        if seq > 10:
            worst_s = max(worst_s, robot.read_state().reading_age_s[5])
    assert worst_s < 0.25


def test_relax_ramps_to_the_rest_pose_and_only_then_lets_go(
    robot: ServoRobot, board: DofbotBoard, calibration: ServoCalibration
) -> None:
    start = pose_of(robot)
    rest = np.array([start[0] + 0.2, start[1] - 0.1, start[2], start[3] + 0.1, start[4], start[5] + 0.1])
    robot.relax(rest)
    wait_until(lambda: not any(board.torque_on), 0.5)
    assert not robot.read_state().torque_on
    frames = [f for f in board.heard if f.command in (0x1A, 0x1D)]
    off = next(i for i, f in enumerate(frames) if f.command == 0x1A and f.data == b"\x00")
    assert all(f.command == 0x1A for f in frames[off:])
    ramp = moves(board)[2:]
    assert len(ramp) >= 8
    np.testing.assert_allclose(calibration.to_rad(ramp[-1][1]), rest, atol=4e-3)
    steps = np.abs(np.diff([calibration.to_rad(ticks) for _, ticks, _ in ramp], axis=0))
    assert steps.max() <= 0.5 * PERIOD_S + 2e-3  # half a radian a second, and a count of rounding
    arm_moves = [i for i, step in enumerate(steps) if step[:5].max() > 1e-9]
    gripper_moves = [i for i, step in enumerate(steps) if step[5] > 1e-9]
    assert max(arm_moves) < min(gripper_moves)  # what the jaws hold is set down before they open


def test_relax_told_to_stop_holds_and_keeps_the_torque(robot: ServoRobot, board: DofbotBoard) -> None:
    start, asked = pose_of(robot), time.monotonic()
    robot.relax(np.array([start[0] + 1.0, *start[1:]]), should_stop=lambda: time.monotonic() - asked > 0.3)
    time.sleep(0.1)
    assert board.torque_on == (True,) * 6
    assert robot.read_state().holding


def test_relax_through_the_desk_is_refused_and_keeps_the_torque(robot: ServoRobot, board: DofbotBoard) -> None:
    through_the_desk = np.array([0.0, -1.5, -1.5, 0.0, 0.0, -1.57])
    with pytest.raises(RelaxBlocked, match="torque on"):
        robot.relax(through_the_desk)
    assert board.torque_on == (True,) * 6


def test_without_torque_the_arm_refuses_to_move_and_reports_where_it_falls(
    robot: ServoRobot, plant: FreePlant, calibration: ServoCalibration
) -> None:
    robot.torque_off()
    with pytest.raises(RobotFaulted, match="torque"):
        robot.send(JointCommand(1, 0, tuple(pose_of(robot)), PERIOD_S))
    time.sleep(1.8)
    np.testing.assert_allclose(pose_of(robot), calibration.to_rad(plant.positions_ticks()), atol=0.01)


def test_a_silent_board_becomes_a_latched_fault(robot: ServoRobot, board: DofbotBoard) -> None:
    board.faults.ignore_frames = BoardFaults.FOREVER
    wait_until(lambda: robot.read_state().fault != "", 3.0)
    board.faults.clear()
    assert "reads in a row failed" in robot.read_state().fault
    with pytest.raises(CommandRefused, match="Recover the robot"):
        robot.send(JointCommand(1, 0, tuple(pose_of(robot)), PERIOD_S))


def test_a_pulled_plug_becomes_a_latched_fault(robot: ServoRobot, board: DofbotBoard) -> None:
    board.close()
    wait_until(lambda: "USB cable" in robot.read_state().fault, 1.0)
    robot.hold()  # there is nobody to stop, and saying so again is no error
    state = robot.read_state()
    assert state.holding
    with pytest.raises(RobotFaulted):
        robot.send(JointCommand(1, 0, state.position_rad, PERIOD_S))


def test_torque_that_someone_else_switches_off_becomes_a_latched_fault(
    robot: ServoRobot, bus: DofbotSerialBus, board: DofbotBoard
) -> None:
    bus.set_torque(False)  # as the emergency-stop key does: the host is not told
    wait_until(lambda: robot.read_state().fault != "", 5.0)
    assert "torque" in robot.read_state().fault


def test_a_block_squeezed_too_hard_becomes_a_latched_fault(
    robot: ServoRobot, plant: FreePlant, board: DofbotBoard
) -> None:
    plant.gripper_stop_ticks = 1000
    start = pose_of(robot)
    robot.send(JointCommand(1, 0, (*start[:5], start[5] + 0.2), 0.3))
    wait_until(lambda: board.stalled_servos == (6,), 5.0)
    wait_until(lambda: "gripper" in robot.read_state().fault, 2.0)
    assert "Stalled" in robot.read_state().fault


def test_closing_twice_is_harmless_and_leaves_the_servos_holding(robot: ServoRobot, board: DofbotBoard) -> None:
    robot.close()
    robot.close()
    assert board.torque_on == (True,) * 6


def test_the_move_time_on_the_wire_is_a_number_of_its_own(
    bus: DofbotSerialBus, board: DofbotBoard, calibration: ServoCalibration, dofbot: ArmDescription
) -> None:
    robot = ServoRobot.connect(
        bus, calibration, dofbot, dofbot.rig("table"), MonotonicClock(), period_s=PERIOD_S, move_time_s=0.12
    )
    start = pose_of(robot)
    sent = robot.send(JointCommand(1, 0, (start[0] + 0.05, *start[1:]), PERIOD_S))
    slow = robot.send(JointCommand(2, 0, (start[0] + 0.10, *start[1:]), 1.0))
    wait_until(lambda: len(moves(board)) == 4, 0.5)
    assert [move_ms for _, _, move_ms in moves(board)[2:]] == [120, 1000]
    assert (sent.duration_s, slow.duration_s) == (0.12, 1.0)
    robot.close()


def test_after_torque_off_recovering_takes_hold_where_the_arm_has_come_to_lie(
    robot: ServoRobot, board: DofbotBoard, plant: FreePlant
) -> None:
    robot.torque_off()
    robot.recover()  # waits until it lies still
    lies_at = plant.positions_ticks()
    wait_until(lambda: all(board.torque_on), 1.0)
    time.sleep(0.3)
    np.testing.assert_allclose(plant.positions_ticks(), lies_at, atol=3)
    state = robot.read_state()
    assert state.torque_on
    robot.send(JointCommand(1, 0, state.position_rad, PERIOD_S))


def test_parking_without_torque_is_refused(robot: ServoRobot) -> None:
    robot.torque_off()
    with pytest.raises(RobotFaulted, match="torque"):
        robot.park(np.array(pose_of(robot)))
