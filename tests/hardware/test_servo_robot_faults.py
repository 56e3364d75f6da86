"""What goes wrong between the arm and its computer, on real ptys, read off the wire: nothing moves by itself."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import CommandRefused
from hardware.errors import BusLost, Overheated, RelaxBlocked, RobotFaulted, WrongServo
from hardware.servo_bus import Reading
from hardware.servo_robot import ServoRobot
from hardware.virtual.plant import FreePlant
from tests.hardware import dofbot_i2c_bench, dofbot_serial_bench, servo_benches
from tests.hardware.servo_benches import ARM, BENCHES, CLOCK, START, ServoBench, command, stream

TICK_RAD = 4.2e-3  # the coarsest servo's, an LX-16A
STILL_RAD = 2 * TICK_RAD
REST = START + np.array([-0.2, 0.1, 0.1, 0.1, 0.0, 0.5])


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServoBench]:
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(BENCHES[request.param](tmp_path_factory.mktemp("b")))
        stack.callback(bench.close)
        yield bench


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these boards."""
    return pytest.mark.parametrize("bench", names, indirect=True)


def wait_until(condition: Callable[[], bool], limit_s: float) -> None:
    start_s = time.monotonic()
    while not condition():
        assert time.monotonic() - start_s < limit_s, "waited in vain"
        time.sleep(0.005)


def fault_of(robot: ServoRobot) -> str:
    return robot.read_state().fault


def wait_until_read_again(robot: ServoRobot, limit_s: float = 5.0) -> None:
    """Return once every joint has been read since now."""
    now_s = time.monotonic()
    wait_until(lambda: max(robot.read_state().reading_age_s) < time.monotonic() - now_s, limit_s)


def assert_refused_and_silent(robot: ServoRobot, bench: ServoBench) -> None:
    """No command is taken, and whatever the server says for safety's sake moves nothing."""
    time.sleep(0.05)  # what was written before has been heard
    before = bench.commanded_ns()
    with pytest.raises(CommandRefused, match="Recover the robot"):
        robot.send(command(START))
    robot.hold()
    time.sleep(0.05)
    assert bench.commanded_ns() == before


@on(*BENCHES)
def test_a_cable_pulled_in_mid_move_and_plugged_in_again_moves_nothing_by_itself(bench: ServoBench) -> None:
    robot = bench.connect()
    far = START + np.array([0.25, 0.1, 0, 0, 0, 0])
    stream(robot, far, 2)
    bench.unplug()
    wait_until(lambda: "BusLost" in fault_of(robot), 2.0)
    assert robot.read_state().holding
    assert_refused_and_silent(robot, bench)
    time.sleep(0.2)
    left_at, commanded = bench.stands_rad(), bench.commanded_ns()
    bench.replug()
    wait_until_read_again(robot)
    assert "BusLost" in fault_of(robot)
    np.testing.assert_allclose(robot.read_state().position_rad, left_at, atol=STILL_RAD)
    assert_refused_and_silent(robot, bench)
    assert bench.commanded_ns() == commanded
    np.testing.assert_allclose(bench.stands_rad(), left_at, atol=1e-9)

    robot.recover()
    time.sleep(0.2)
    assert fault_of(robot) == ""
    np.testing.assert_allclose(bench.stands_rad(), left_at, atol=STILL_RAD)
    stream(robot, far, 6)
    assert not robot.read_state().holding
    wait_until(lambda: bool(np.abs(bench.stands_rad() - far).max() < STILL_RAD), 1.0)


@on("dofbot_i2c", "lx16a")
def test_an_arm_that_sank_while_its_cable_was_out_is_taken_hold_of_where_it_lies(bench: ServoBench) -> None:
    robot = bench.connect()
    bench.unplug()
    wait_until(lambda: "BusLost" in fault_of(robot), 2.0)
    bench.rack.set_torque(False, CLOCK.now_ns())  # the supply failed, too
    time.sleep(0.3)
    bench.replug()
    wait_until_read_again(robot)
    wait_until(lambda: bool(np.abs(bench.stands_rad() - START).max() > 0.2), 3.0)
    robot.recover()  # waits until it has come to rest
    lies_at = bench.stands_rad()
    time.sleep(0.3)
    assert all(bench.rack.torque_on)
    np.testing.assert_allclose(bench.stands_rad(), lies_at, atol=STILL_RAD)
    np.testing.assert_allclose(bench.aims_rad(), lies_at, atol=STILL_RAD)


@on(*BENCHES)
def test_an_arm_that_an_earlier_program_left_moving_is_not_pulled_back(bench: ServoBench) -> None:
    far = START + np.array([0.6, 0.0, 0.0, 0.0, 0.0, 0.0])
    bench.bus.set_torque(True)
    bench.bus.write_ticks(bench.calibration.to_ticks(START), 0.1)
    time.sleep(0.2)
    bench.bus.write_ticks(bench.calibration.to_ticks(far), 1.2)
    wait_until(lambda: bench.stands_rad()[0] > START[0] + 0.1, 2.0)
    bench.connect()
    time.sleep(0.3)
    np.testing.assert_allclose(bench.stands_rad(), far, atol=STILL_RAD)


@on("dofbot_serial")
def test_recovering_says_what_still_stands_in_the_way_and_changes_nothing(bench: ServoBench) -> None:
    robot = bench.connect()
    bench.unplug()
    wait_until(lambda: "BusLost" in fault_of(robot), 2.0)
    commanded = bench.commanded_ns()
    with pytest.raises(BusLost):
        robot.recover()
    assert "BusLost" in fault_of(robot)
    assert bench.commanded_ns() == commanded


@on("dofbot_serial", "lx16a")
def test_park_is_slow_keeps_the_torque_and_what_the_gripper_holds(bench: ServoBench) -> None:
    robot = bench.connect()
    began_ns = CLOCK.now_ns()
    robot.park(REST)
    parked = np.append(REST[:-1], START[-1])
    assert (CLOCK.now_ns() - began_ns) * 1e-9 > 0.3  # 0.2 rad at half a radian a second
    wait_until(lambda: bool(np.abs(bench.stands_rad() - parked).max() < STILL_RAD), 1.0)
    assert all(bench.rack.torque_on)
    assert robot.read_state().torque_on
    assert robot.read_state().holding
    stream(robot, parked, 1)  # and goes on listening


@on("dofbot_serial", "dofbot_i2c")
def test_the_boards_button_that_centres_the_arm_latches_and_nothing_pulls_it_back(bench: ServoBench) -> None:
    robot = bench.connect()
    wait_until_read_again(robot)  # and every joint has been seen to stand
    assert bench.press_k1 is not None
    bench.press_k1()
    wait_until(lambda: "Astray" in fault_of(robot), 2.0)
    assert "button" in fault_of(robot)
    commanded, on_its_way = bench.commanded_ns(), bench.stands_rad()
    for _ in range(10):
        robot.hold()  # as a server does whose client goes on commanding
    assert bench.commanded_ns() == commanded
    wait_until(lambda: len(bench.commanded_ns()) > len(commanded), 4.0)  # it has come to rest, and is held there
    centred = bench.stands_rad()
    assert float(np.abs(centred - on_its_way).max()) > 0.1
    time.sleep(0.3)
    np.testing.assert_allclose(bench.stands_rad(), centred, atol=0.01)
    np.testing.assert_allclose(bench.aims_rad(), centred, atol=0.01)
    np.testing.assert_allclose(robot.read_state().position_rad, centred, atol=0.02)
    robot.hold()
    time.sleep(0.2)
    np.testing.assert_allclose(bench.stands_rad(), centred, atol=0.01)
    robot.recover()
    assert fault_of(robot) == ""
    np.testing.assert_allclose(bench.stands_rad(), centred, atol=0.01)


@on("dofbot_i2c")
def test_the_boards_button_is_told_of_although_the_arm_was_let_go(bench: ServoBench) -> None:
    robot = bench.connect()
    robot.torque_off()
    wait_until(lambda: float(np.abs(bench.stands_rad() - START).max()) > 0.3, 3.0)
    time.sleep(1.6)  # it has fallen, and lain still
    assert fault_of(robot) == ""
    assert bench.press_k1 is not None
    bench.press_k1()
    wait_until(lambda: "Astray" in fault_of(robot), 2.0)
    assert "button" in fault_of(robot)


@on("dofbot_i2c")
def test_an_emergency_stop_key_that_drops_the_arm_latches_and_recovering_picks_it_up_there(bench: ServoBench) -> None:
    robot = bench.connect()
    time.sleep(0.8)
    bench.rack.set_torque(False, CLOCK.now_ns())  # K2: the host is not told
    wait_until(lambda: "Astray" in fault_of(robot), 3.0)
    assert "torque" in fault_of(robot)
    robot.recover()
    lies_at = bench.stands_rad()
    time.sleep(0.3)
    assert all(bench.rack.torque_on)
    np.testing.assert_allclose(bench.stands_rad(), lies_at, atol=0.01)


@on("dofbot_serial", "sts")
def test_an_arm_joint_that_meets_an_obstacle_stops_pressing(bench: ServoBench) -> None:
    robot = bench.connect()
    time.sleep(0.3)
    plant = bench.rack.plant
    assert isinstance(plant, FreePlant)
    plant.blocked[0] = True
    target = START.copy()
    with contextlib.suppress(RobotFaulted):
        for k in range(60):
            target[0] = START[0] + 0.02 * k
            stream(robot, target, 1)
    wait_until(lambda: "Stalled" in fault_of(robot), 2.0)
    assert "joint1" in fault_of(robot)
    time.sleep(0.2)
    assert abs(float(bench.aims_rad()[0]) - START[0]) < 0.02
    assert not bench.rack.stalled_servos  # before the servo's own protection would have cut its torque
    plant.blocked[0] = False
    robot.recover()
    stream(robot, START, 3)
    assert fault_of(robot) == ""


@on("dofbot_serial")
def test_one_servo_that_falls_silent_is_a_fault_although_the_others_answer(bench: ServoBench) -> None:
    robot = bench.connect()
    bench.absent.add(3)
    wait_until(lambda: "servo 3" in fault_of(robot), 8.0)
    assert "NoReply" in fault_of(robot)
    assert_refused_and_silent(robot, bench)
    with pytest.raises(WrongServo, match="servo 3 does not answer"):
        robot.recover()
    with pytest.raises(RelaxBlocked, match="servo 3 does not answer"):
        robot.relax(REST)
    assert all(bench.rack.torque_on)
    bench.absent.clear()
    robot.recover()
    assert fault_of(robot) == ""


@on("dofbot_serial")
def test_whatever_ends_the_reading_latches_and_it_goes_on(bench: ServoBench, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = bench.connect()
    read_ticks, failures = bench.bus.read_ticks, iter([ZeroDivisionError("a mistake of ours")])

    def failing(servo_id: int) -> Reading:
        for error in failures:
            raise error
        return read_ticks(servo_id)

    monkeypatch.setattr(bench.bus, "read_ticks", failing)
    wait_until(lambda: "a mistake of ours" in fault_of(robot), 2.0)
    assert_refused_and_silent(robot, bench)
    wait_until_read_again(robot)
    robot.recover()
    assert fault_of(robot) == ""


@on("lx16a")
def test_a_hold_ends_a_walk_to_the_rest_pose(bench: ServoBench) -> None:
    robot = bench.connect()
    failures: list[Exception] = []

    def park() -> None:
        try:
            robot.park(START + np.array([1.0, 0, 0, 0, 0, 0]))
        except RelaxBlocked as error:
            failures.append(error)

    thread = threading.Thread(target=park)
    thread.start()
    time.sleep(0.3)
    robot.hold()
    time.sleep(0.1)
    commanded = bench.commanded_ns()
    thread.join(timeout=1.0)
    time.sleep(0.2)
    assert "hold" in str(failures[0])
    assert len(bench.commanded_ns()) <= len(commanded) + 6  # its own hold; LX-16A servos hear six frames
    assert float(np.abs(bench.stands_rad() - START).max()) < 0.3
    assert all(bench.rack.torque_on)


@on("dofbot_serial", "lx16a", "sts")
def test_replies_that_are_spoilt_now_and_then_change_nothing(bench: ServoBench) -> None:
    assert bench.faults is not None
    robot = bench.connect()
    target = START.copy()
    for k in range(24):
        if k % 6 == 0:
            setattr(bench.faults, ("drop_replies", "corrupt_replies", "wrong_id_replies", "split_replies")[k // 6], 2)
        target[0] = START[0] + 0.01 * k
        stream(robot, target, 1)
        wanted = float(target[0])
        wait_until(lambda wanted=wanted: abs(float(bench.aims_rad()[0]) - wanted) < 0.01 + TICK_RAD, 1.0)
    assert fault_of(robot) == ""
    wait_until(lambda: bool(np.abs(np.array(robot.read_state().position_rad) - bench.stands_rad()).max() < 0.02), 1.0)


def test_a_word_that_is_cut_off_now_and_then_is_no_motion() -> None:
    calibration = dofbot_i2c_bench.nominal_calibration(ARM)
    with (
        dofbot_i2c_bench.open_bench(CLOCK, calibration.to_ticks(START)) as (board, bus),
        contextlib.closing(ServoRobot.connect(bus, calibration, ARM, servo_benches.RIG, CLOCK)) as robot,
    ):
        wait_until_read_again(robot)
        for _ in range(12):
            board.wire.faults.short_words = 1  # the bus has no checksum: it reads as another count
            wait_until(lambda: board.wire.faults.short_words == 0, 2.0)
            read = bus.read_health().reads_ok
            wait_until(lambda read=read: bus.read_health().reads_ok >= read + 3, 2.0)
        assert fault_of(robot) == ""


@pytest.mark.parametrize(
    ("bench", "fault"),
    [
        ("dofbot_serial", "wrong_id_replies"),
        ("lx16a", "corrupt_replies"),
        ("lx16a", "wrong_id_replies"),
        ("sts", "drop_replies"),
    ],
    indirect=["bench"],
)
def test_replies_that_are_spoilt_for_good_latch_and_hold(bench: ServoBench, fault: str) -> None:
    assert bench.faults is not None
    robot = bench.connect()
    setattr(bench.faults, fault, 1 << 60)
    target = START.copy()
    with contextlib.suppress(RobotFaulted):
        for k in range(200):
            target[0] = START[0] + 0.005 * k
            stream(robot, target, 1)
    assert "reads in a row failed" in fault_of(robot)
    assert_refused_and_silent(robot, bench)
    assert float(np.abs(bench.aims_rad() - START)[1:].max()) < TICK_RAD
    bench.faults.clear()
    robot.recover()
    assert fault_of(robot) == ""


@on("dofbot_serial")
def test_a_board_that_echoes_and_cuts_its_replies_in_two_is_read_all_the_same(bench: ServoBench) -> None:
    assert bench.faults is not None
    bench.faults.echo, bench.faults.split_replies = True, 1 << 60
    robot = bench.connect()
    stream(robot, START + np.array([0.1, 0, 0, 0, 0, 0]), 8)
    time.sleep(0.3)
    np.testing.assert_allclose(robot.read_state().position_rad, bench.stands_rad(), atol=0.02)
    assert fault_of(robot) == ""


@pytest.mark.parametrize("open_chain", [servo_benches.lx16a, servo_benches.sts])
def test_an_adapter_that_echoes_is_no_servo_that_answers(
    open_chain: Callable[..., contextlib.AbstractContextManager[ServoBench]], tmp_path: Path
) -> None:
    with open_chain(tmp_path, echo=True) as chain, contextlib.closing(chain):
        robot = chain.connect()
        stream(robot, START + np.array([0.1, 0, 0, 0, 0, 0]), 8)
        time.sleep(0.3)
        np.testing.assert_allclose(robot.read_state().position_rad, chain.stands_rad(), atol=0.02)
        assert fault_of(robot) == ""
        assert chain.faults is not None
        chain.faults.drop_replies = 1 << 60  # only its own voice is left
        wait_until(lambda: "reads in a row failed" in fault_of(robot), 5.0)


@on("lx16a", "sts")
def test_a_servo_that_grows_hot_warns_then_stops_the_arm_which_can_still_be_parked(
    bench: ServoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hardware.servo_reader.VITALS_S", 0.05)
    assert bench.temperature_c is not None
    robot = bench.connect()
    bench.temperature_c[2] = 58
    wait_until(lambda: "joint2 is 58 C warm" in robot.warning, 3.0)
    assert fault_of(robot) == ""
    bench.temperature_c[2] = 66
    wait_until(lambda: fault_of(robot).startswith("Overheated: joint2 is 66 C hot"), 3.0)
    with pytest.raises(RobotFaulted, match="Overheated"):
        robot.send(command(START))
    robot.park(REST)
    wait_until(lambda: bool(np.abs(bench.stands_rad() - REST)[:5].max() < STILL_RAD), 1.0)
    with pytest.raises(Exception, match="66 C hot"):
        robot.recover()
    bench.temperature_c[2] = 50
    robot.recover()
    assert fault_of(robot) == ""


@on("lx16a", "sts")
def test_an_arm_with_a_hot_servo_is_not_taken_hold_of(bench: ServoBench) -> None:
    assert bench.temperature_c is not None
    bench.temperature_c[4] = 68
    commanded = bench.commanded_ns()
    with pytest.raises(Overheated, match="joint4 is 68 C hot"):
        bench.connect()
    assert bench.commanded_ns() == commanded


@on("sts")
def test_a_servo_that_says_of_itself_that_it_is_too_hot_is_believed_at_once(
    bench: ServoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has let go already: where the arm has come to is found, and held."""
    monkeypatch.setattr("hardware.servo_reader.VITALS_S", 0.05)
    assert bench.temperature_c is not None
    robot = bench.connect()
    time.sleep(0.5)
    bench.temperature_c[1] = 90  # the base: nothing falls
    wait_until(lambda: "Overheated" in fault_of(robot), 3.0)
    time.sleep(0.5)
    np.testing.assert_allclose(bench.stands_rad(), START, atol=STILL_RAD)


@on("lx16a")
def test_a_supply_that_breaks_down_stops_the_arm(bench: ServoBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardware.servo_reader.VITALS_S", 0.05)
    assert bench.set_supply_v is not None
    robot = bench.connect()
    bench.set_supply_v(4.4)
    wait_until(lambda: "Undervoltage" in fault_of(robot), 3.0)
    time.sleep(0.1)
    assert robot.read_state().holding


@on("sts", "lx16a")
def test_the_first_command_is_approached_slowly_on_the_wire_and_then_followed(bench: ServoBench) -> None:
    robot = bench.connect()
    far = START + np.array([0.5, 0.0, 0.0, 0.0, -0.5, 0.0])
    sent = np.array([s.position_rad for s in stream(robot, far, 24)])
    steps = np.abs(np.diff(np.vstack([START, sent]), axis=0)).max(axis=1)
    assert steps[:18].max() <= 0.5 * 0.05 + TICK_RAD  # half a radian a second, and a count
    np.testing.assert_allclose(sent[-1], far, atol=TICK_RAD)
    near = far + np.array([-0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    jump = np.array(robot.send(command(near)).position_rad) - far
    assert abs(float(jump[0])) > 0.1  # caught up: from now on it follows as fast as it may
    np.testing.assert_allclose(bench.aims_rad()[1:4], START[1:4], atol=TICK_RAD)


def test_five_servos_told_to_go_at_once_start_one_after_the_other_on_the_wire(tmp_path: Path) -> None:
    calibration = dofbot_serial_bench.nominal_calibration(ARM)
    with (
        dofbot_serial_bench.open_bench(CLOCK, calibration.to_ticks(START)) as (board, bus),
        contextlib.closing(ServoRobot.connect(bus, calibration, ARM, servo_benches.RIG, CLOCK)) as robot,
    ):
        stream(robot, START, 1)
        stream(robot, START + np.array([0.9, 0.5, 0.6, 0.6, 0.9, 0.0]), 12)
        heard = [f for f in list(board.heard) if f.command == 0x1D][2:]  # two while connecting
    words = [[int.from_bytes(f.data[i : i + 2], "big") for i in range(0, 14, 2)] for f in heard]
    poses, spans_s = np.array([calibration.to_rad(w[:6]) for w in words]), np.array([w[6] for w in words]) / 1000
    speeds = np.diff(poses, axis=0) / spans_s[1:, None] / ARM.max_speed_rad_s  # in full speeds
    starts = np.maximum(np.abs(speeds[1:]) - np.maximum(np.sign(speeds[1:]) * speeds[:-1], 0.0), 0.0).sum(axis=1)
    stamps_s = np.array([f.stamp_ns for f in heard[2:]]) * 1e-9
    sums = [float(starts[(stamps_s >= t) & (stamps_s < t + 0.1)].sum()) for t in stamps_s]
    assert float(starts.sum()) > 2.0  # it did get going
    assert max(sums) <= 2.0 + 0.15  # and what whole counts add to it
