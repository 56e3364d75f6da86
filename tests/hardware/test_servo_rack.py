from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.actuator import ActuatorModel
from hardware.virtual.plant import FreePlant
from hardware.virtual.servo_rack import ServoManners, ServoRack
from tests.hardware.hand_clock import HandClock

START = (500.0, 500.0, 500.0, 500.0)
PER_RAD = 240.0


class Stage:
    """Four servos of a board that is not a Dofbot's, on a clock turned by hand; no dead time unless asked for."""

    def __init__(self, torque_on: bool = True, skew_s: float = 0.0, dead_time_s: float = 0.0) -> None:
        self.clock = HandClock()
        self.plant = FreePlant(self.clock, START, sagged_ticks=(500, 700, 500, 500))
        model = ActuatorModel((math.radians(200),) * 4, dead_time_s, skew_s)
        manners = ServoManners(stall_ticks=20.0, stall_s=2.0, still_ticks=2.0)
        now_ns = self.clock.now_ns()
        self.rack = ServoRack(self.plant, now_ns, np.full(4, PER_RAD), model, torque_on, manners)

    def run(self, duration_s: float, step_s: float = 0.01) -> None:
        for _ in range(round(duration_s / step_s)):
            self.clock.turn(step_s)
            self.rack.advance(self.clock.now_ns())

    def aim(self, index: int, ticks: float, move_s: float) -> None:
        self.rack.aim(index, ticks, move_s, self.clock.now_ns())

    def positions(self) -> list[float]:
        return self.rack.positions_ticks().round(6).tolist()


def test_a_servo_moves_at_constant_speed_and_arrives_on_time() -> None:
    stage = Stage()
    stage.aim(2, 600, 1.0)
    stage.run(0.25)
    assert stage.positions() == [500, 500, 525, 500]
    stage.run(1.0)
    assert stage.positions() == [500, 500, 600, 500]


def test_a_new_target_interrupts_the_move_where_it_is() -> None:
    stage = Stage()
    stage.aim(0, 600, 1.0)
    stage.run(0.5)
    stage.aim(0, 500, 0.5)
    assert stage.positions()[0] == 550
    stage.run(0.25)
    assert stage.positions()[0] == 525


def test_one_move_for_all_starts_servo_after_servo() -> None:
    stage = Stage(skew_s=0.12)
    stage.rack.aim_all([600] * 4, 1.0, stage.clock.now_ns())
    stage.run(0.5)
    assert stage.positions() == [550, 546, 542, 538]  # 0, 40, 80 and 120 ms late at 100 counts a second


def test_a_servo_aimed_alone_has_no_skew() -> None:
    stage = Stage(skew_s=0.12)
    stage.aim(3, 600, 1.0)
    stage.run(0.5)
    assert stage.positions()[3] == 550


def test_without_torque_a_target_is_only_remembered_and_torque_pulls_to_it_at_full_speed() -> None:
    stage = Stage(torque_on=False)
    stage.aim(0, 600, 10.0)
    stage.run(1.0)
    assert stage.positions()[0] == 500
    assert stage.rack.target_ticks[0] == 600
    stage.rack.set_torque(True, stage.clock.now_ns(), 0)
    assert stage.rack.torque_on == (True, False, False, False)
    stage.run(0.06)
    assert stage.positions()[0] == pytest.approx(500 + 0.06 * PER_RAD * math.radians(200))
    stage.run(0.2)
    assert stage.positions()[0] == 600


def test_a_joint_that_fell_is_pulled_back_from_where_it_lies() -> None:
    stage = Stage()
    stage.rack.set_torque(False, stage.clock.now_ns())
    stage.run(1.0)
    assert stage.positions()[1] == 700
    stage.rack.set_torque(True, stage.clock.now_ns())
    stage.run(0.02)
    assert 680 < stage.positions()[1] < 700
    stage.run(1.0)
    assert stage.positions()[1] == 500


def test_a_servo_that_presses_in_vain_cuts_its_own_torque_after_its_time_and_no_other() -> None:
    stage = Stage()
    stage.plant.blocked[2] = True
    stage.aim(2, 600, 0.1)
    stage.run(1.9)
    assert stage.rack.stalled_servos == ()
    stage.run(0.5)
    assert stage.rack.stalled_servos == (3,)
    assert stage.rack.torque_on == (True, True, False, True)
    stage.rack.set_torque(True, stage.clock.now_ns(), 2)
    assert stage.rack.stalled_servos == ()


def test_a_servo_that_presses_lightly_is_left_alone() -> None:
    stage = Stage()
    stage.plant.blocked[2] = True
    stage.aim(2, 515, 0.1)
    stage.run(10.0)
    assert stage.rack.stalled_servos == ()


def test_a_command_in_its_dead_time_moves_nothing() -> None:
    stage = Stage(dead_time_s=0.08)
    stage.aim(0, 600, 1.0)
    stage.run(0.08)
    assert stage.positions()[0] == 500
    stage.run(0.1)
    assert stage.positions()[0] == 510
