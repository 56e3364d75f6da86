"""Jogger: moves a servo arm by small raw steps, without any calibration. Slow on purpose, and never far ahead.

Servos that cannot be read - a PCA9685 only sends pulses - are moved blindly: each must be sent to a first count by
`start`, which it goes to at full speed from wherever it is, and nothing notices an obstacle.
"""

from __future__ import annotations

from collections.abc import Mapping

from bridge.ports import Clock
from hardware.errors import BadCommand, NotMeasured
from hardware.servo_bus import Reading, ServoBus, find_servos

#: A step lasts this long, and the next one is not begun before: 10 counts of a Dofbot in 0.1 s are 8 degrees a second.
STEP_S = 0.1
#: Shares of a servo's range. Of a Dofbot's 3904 counts they are 10, 25 and 50; of an LX-16A's 1000, 3, 6 and 13.
_STEP_OF_RANGE, _MAX_STEP_OF_RANGE = 1 / 390, 1 / 156
#: A target further than this from the last reading is refused. A servo that presses 60 of 3904 counts away from its
#: target for 3 s cuts its own torque (Ref: DS-SY15A sheet).
_MAX_LEAD_OF_RANGE = 1 / 78


def check_step(bus: ServoBus, step_ticks: int) -> None:
    """Raise BadCommand for a step that is not small on this bus; 0 is the usual one. Sends nothing."""
    lowest, highest = bus.ticks_range
    most = max(round((highest - lowest) * _MAX_STEP_OF_RANGE), 1)
    if not 0 <= step_ticks <= most:
        raise BadCommand(f"a jog step is 1 to {most} ticks on this bus, got {step_ticks}")


class Jogger:
    """Holds the arm where it stands and moves one servo at a time by relative counts."""

    def __init__(self, bus: ServoBus, clock: Clock, step_ticks: int = 0) -> None:
        """Read every servo and switch the torque on right there; raises WrongServo, BadCommand or BusLost.

        Where servos cannot be read nothing is sent yet. `step_ticks` 0 is a 390th of a servo's range.
        """
        check_step(bus, step_ticks)
        self._lowest, self._highest = bus.ticks_range
        width = self._highest - self._lowest
        self._bus, self._clock = bus, clock
        self.step_ticks = step_ticks or max(round(width * _STEP_OF_RANGE), 1)
        self._max_lead_ticks = max(round(width * _MAX_LEAD_OF_RANGE), 1)
        self._free_at_ns = clock.now_ns()
        self._readings: dict[int, Reading] = {}
        self._targets: dict[int, int] = {}
        self._torque_on = self._released = False
        try:
            readings = find_servos(bus, bus.servo_ids, alone=False)
        except NotMeasured:
            self.is_blind = True
            return
        self.is_blind = False
        self._readings = {r.servo_id: r for r in readings}
        self._targets = {r.servo_id: min(max(r.ticks, self._lowest), self._highest) for r in readings}
        self._write_all()  # torque pulls to the last target: make that the present position
        bus.set_torque(True)
        self._write_all()
        self._torque_on = True

    @property
    def torque_on(self) -> bool:
        """Whether the servos hold."""
        return self._torque_on

    @property
    def readings(self) -> Mapping[int, Reading]:
        """The last reading of each servo by id; empty where servos cannot be read."""
        return self._readings

    @property
    def middle_ticks(self) -> int:
        """The middle of a servo's range."""
        return (self._lowest + self._highest) // 2

    def target_ticks(self, servo_id: int) -> int | None:
        """Return where a servo has been sent; None where it cannot be read and has not been started."""
        return self._targets.get(servo_id)

    def start(self, servo_id: int) -> bool:
        """Send a servo that cannot be read to its middle, AT FULL SPEED from wherever it is; then it can be stepped.

        Returns False where that is not to be done: it can be read, it has been started, or the torque was switched off.
        """
        if not self.is_blind or self._released or servo_id in self._targets:
            return False
        self._bus.write_one(servo_id, self.middle_ticks, STEP_S)
        self._targets[servo_id] = self.middle_ticks
        if not self._torque_on:
            self._bus.set_torque(True)
            self._torque_on = True
        return True

    def step(self, servo_id: int, direction: int) -> bool:
        """Move one servo one step up (+1) or down (-1), no sooner than the last step's end.

        Returns False where the servo does not follow, stands at the end of its travel or has not been started; then
        nothing is sent.
        """
        before = self._targets.get(servo_id)
        if before is None or not self._torque_on:
            return False
        target = before + (self.step_ticks if direction > 0 else -self.step_ticks)
        if not self._lowest <= target <= self._highest or self._leads_too_far(servo_id, before, target):
            return False
        self._clock.sleep_until(self._free_at_ns)
        self._bus.write_one(servo_id, target, STEP_S)
        self._targets[servo_id] = target
        self._free_at_ns = self._clock.now_ns() + round(STEP_S * 1e9)
        return True

    def refresh(self, servo_id: int) -> None:
        """Read one servo, where that is possible; raises NoReply, BadChecksum or BusLost."""
        if not self.is_blind:
            self._readings[servo_id] = self._bus.read_ticks(servo_id)

    def hold(self) -> None:
        """Stand still: no step is under way for longer than a tenth of a second, so the targets are sent once more."""
        if self._torque_on:
            self._write_all()

    def release(self) -> None:
        """Switch the torque off, for this jogger's life: a raised arm falls unless someone supports it."""
        self._bus.set_torque(False)
        self._torque_on = False
        self._released = True

    def _leads_too_far(self, servo_id: int, before: int, target: int) -> bool:
        if self.is_blind:
            return False
        reading = self._readings[servo_id].ticks
        lead = abs(target - reading)
        return lead > self._max_lead_ticks and lead >= abs(before - reading)

    def _write_all(self) -> None:
        if self.is_blind:  # those that have not been started stay limp
            for servo_id, ticks in self._targets.items():
                self._bus.write_one(servo_id, ticks, STEP_S)
        else:
            self._bus.write_ticks([self._targets[i] for i in self._bus.servo_ids], STEP_S)
