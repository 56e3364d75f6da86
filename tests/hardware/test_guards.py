from __future__ import annotations

import pytest

from hardware.errors import Astray, HardwareError, Overheated, Stalled, Undervoltage
from hardware.guards import LX16A_LIMITS, STS_LIMITS, FollowMonitor, VitalsGuard
from hardware.servo_bus import ServoVitals

S = 1_000_000_000
NAMES = ("joint1", "joint2", "joint3", "joint4", "joint5", "gripper")
DOFBOT_TICKS, LX16A_TICKS = (96, 4000), (0, 1000)
GRIPPER = 5


@pytest.fixture
def monitor() -> FollowMonitor:
    return FollowMonitor(NAMES, DOFBOT_TICKS, now_ns=0)


def test_a_gripper_that_presses_for_3_s_has_cut_its_torque(monitor: FollowMonitor) -> None:
    reports = [monitor.check(GRIPPER, 2000, 0.1, 80.0, False, i * S // 5) for i in range(20)]
    assert not any(reports[:15])
    assert isinstance(reports[15], Stalled)
    assert "gripper" in str(reports[15])


def test_a_light_squeeze_is_not_reported(monitor: FollowMonitor) -> None:
    assert not any(monitor.check(GRIPPER, 2000, 0.04, 50.0, False, i * S // 5) for i in range(100))


def test_a_squeeze_is_counted_in_the_servos_own_steps() -> None:
    """60 of 3,905 counts on a Dofbot are 15.4 of 1,001 on an LX-16A."""
    monitor = FollowMonitor(NAMES, LX16A_TICKS, now_ns=0)
    assert not any(monitor.check(GRIPPER, 500, 0.06, 14.0, False, i * S // 5) for i in range(100))
    assert any(monitor.check(GRIPPER, 500, 0.07, 17.0, False, (100 + i) * S // 5) for i in range(20))


def test_an_arm_joint_pressed_against_something_for_half_a_second_is_stalled(monitor: FollowMonitor) -> None:
    reports = [monitor.check(1, 2000, 0.13, 91.0, True, i * S // 10) for i in range(8)]
    assert [r is not None for r in reports] == [False] * 5 + [True] * 3
    assert isinstance(reports[5], Stalled)
    assert "joint2 stands 7.4 deg" in str(reports[5])


def test_a_joint_that_rested_long_and_is_only_about_to_follow_is_not_stalled(monitor: FollowMonitor) -> None:
    """A bus that reads it every 0.6 s sees it at rest, and then in the dead time of its next command."""
    for i in range(40):
        lag_rad = 0.0 if i % 2 else 0.2
        assert monitor.check(2, 2000, lag_rad, 700 * lag_rad, True, i * S * 6 // 10) is None


def test_an_arm_joint_that_sags_is_not_stalled(monitor: FollowMonitor) -> None:
    assert not any(monitor.check(1, 2000, 0.05, 35.0, False, i * S // 5) for i in range(100))


def test_a_servo_that_still_moves_is_not_stalled(monitor: FollowMonitor) -> None:
    assert not any(monitor.check(0, 2000 + 10 * i, 0.2, 140.0, True, i * S // 5) for i in range(50))


def test_an_arm_joint_that_stands_far_from_its_target_twice_does_not_follow(monitor: FollowMonitor) -> None:
    assert monitor.check(1, 2300, 0.4, 280.0, False, 0) is None
    report = monitor.check(1, 2400, 0.5, 350.0, False, S // 2)
    assert isinstance(report, Astray)
    assert "joint2" in str(report)
    assert "torque" in str(report)


def test_a_joint_that_leaves_the_place_where_it_had_arrived_has_been_moved(monitor: FollowMonitor) -> None:
    assert monitor.check(2, 2000, 0.01, 7.0, False, 0) is None
    assert monitor.check(2, 1890, 0.167, 117.0, False, S // 4) is None  # sent to 2007 then and now
    assert monitor.is_suspicious(2)
    report = monitor.check(2, 1890, 0.167, 117.0, False, S // 3)
    assert isinstance(report, Astray)
    assert "joint3" in str(report)
    assert "button" in str(report)


def test_one_spoilt_reading_is_no_motion(monitor: FollowMonitor) -> None:
    for k in range(0, 8, 2):
        assert monitor.check(2, 2000, 0.01, 7.0, False, k * S // 4) is None
        assert not monitor.is_suspicious(2)
        assert monitor.check(2, 1807, 0.28, 200.0, False, (k + 1) * S // 4) is None


def test_a_joint_that_was_sent_elsewhere_meanwhile_has_not_been_moved_by_others(monitor: FollowMonitor) -> None:
    assert monitor.check(2, 2000, 0.01, 7.0, False, 0) is None
    assert monitor.check(2, 2000, 0.167, 117.0, False, S // 4) is None  # sent to 2117: late, but not astray


def test_a_joint_without_torque_may_fall_and_be_moved_until_it_has_lain_still(monitor: FollowMonitor) -> None:
    def loose(at_rad: float, at_s: float) -> Astray | None:
        return monitor.check_loose(1, at_rad, round(at_s * S))

    falls = [loose(-0.9 + 0.005 * k * k, 0.1 * k) for k in range(12)]  # slow to begin: as if it stood
    assert falls == [None] * 12
    assert [loose(-0.3, at_s) for at_s in (1.2, 1.7, 2.3)] == [None] * 3
    assert loose(-0.2, 2.4) is None  # it settles
    moved = loose(-0.1, 2.5)
    assert isinstance(moved, Astray)
    assert "joint2 lay still without torque and has moved by 11 deg" in str(moved)


def test_a_servo_slower_than_its_model_that_has_not_arrived_yet_is_not_astray(monitor: FollowMonitor) -> None:
    lags = [0.24, 0.20, 0.16, 0.09, 0.02]  # never seen at its target before the last readings
    reports = [
        monitor.check(0, round(2000 - 700 * lag), lag, 700 * lag, False, i * S // 10) for i, lag in enumerate(lags)
    ]
    assert not any(reports)


def test_the_gripper_may_be_moved_by_what_it_holds(monitor: FollowMonitor) -> None:
    assert monitor.check(GRIPPER, 2000, 0.0, 0.0, False, 0) is None
    assert monitor.check(GRIPPER, 1700, 0.24, 300.0, False, S // 4) is None


def felt(guard: VitalsGuard, *vitals: ServoVitals) -> list[HardwareError | None]:
    return [guard.check(3, v) for v in vitals]


def test_a_hot_servo_warns_first_and_stops_at_the_second_reading() -> None:
    guard = VitalsGuard(NAMES, LX16A_LIMITS)
    assert felt(guard, ServoVitals(69.0), ServoVitals(70.0)) == [None, None]
    assert "joint4 is 70 C warm" in guard.warning
    first, second = felt(guard, ServoVitals(80.0), ServoVitals(81.0))
    assert first is None
    assert isinstance(second, Overheated)
    assert "joint4 is 81 C hot" in str(second)


def test_one_wild_reading_stops_nothing_and_is_asked_again() -> None:
    guard = VitalsGuard(NAMES, LX16A_LIMITS)
    assert felt(guard, ServoVitals(125.0)) == [None]
    assert guard.is_suspicious(3)
    assert felt(guard, ServoVitals(40.0), ServoVitals(125.0)) == [None, None]
    assert guard.warning != ""
    assert felt(guard, ServoVitals(40.0)) == [None]
    assert not guard.is_suspicious(3)
    assert guard.warning == ""


@pytest.mark.parametrize("volts", [4.2, 13.4])
def test_a_supply_outside_its_window_stops(volts: float) -> None:
    guard = VitalsGuard(NAMES, STS_LIMITS)
    assert isinstance(felt(guard, ServoVitals(30.0, volts), ServoVitals(30.0, volts))[1], Undervoltage)
    assert felt(guard, ServoVitals(30.0, 5.0), ServoVitals(30.0, 12.0)) == [None, None]


def test_a_servo_that_tells_nothing_is_taken_to_be_well() -> None:
    guard = VitalsGuard(NAMES, STS_LIMITS)
    assert felt(guard, ServoVitals(), ServoVitals()) == [None, None]


@pytest.mark.parametrize(("limits", "lets_go_c"), [(LX16A_LIMITS, 85.0), (STS_LIMITS, 70.0)])
def test_the_arm_stops_while_its_servos_can_still_set_it_down(limits: object, lets_go_c: float) -> None:
    assert limits in (LX16A_LIMITS, STS_LIMITS)
    stop_c = LX16A_LIMITS.stop_c if limits is LX16A_LIMITS else STS_LIMITS.stop_c
    assert lets_go_c - stop_c >= 5.0
