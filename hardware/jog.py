"""Jogger: moves a servo arm by small raw steps, without any calibration. Slow on purpose, and never far ahead."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.ports import Clock
from calibration.servo import MAX_TICKS, MIN_TICKS
from hardware.errors import BadCommand
from hardware.servo_bus import Reading, ServoBus, find_servos

#: A step lasts this long, and the next one is not begun before: 10 counts in 0.1 s are 8 degrees a second.
STEP_S = 0.1
MAX_STEP_TICKS = 25
#: A target further than this from the last reading is refused. A servo that presses 60 counts away from its target
#: for 3 s cuts its own torque (Ref: DS-SY15A sheet).
MAX_LEAD_TICKS = 50


class Jogger:
    """Holds the arm where it stands and moves one servo at a time by relative counts."""

    def __init__(self, bus: ServoBus, clock: Clock, step_ticks: int = 10) -> None:
        """Read every servo and switch the torque on right there; raises WrongServo, BadCommand or BusLost."""
        if not 1 <= step_ticks <= MAX_STEP_TICKS:
            raise BadCommand(f"a jog step is 1 to {MAX_STEP_TICKS} ticks, got {step_ticks}")
        self._bus, self._clock, self._step_ticks = bus, clock, step_ticks
        self._free_at_ns = clock.now_ns()
        readings = find_servos(bus, bus.servo_ids)
        self._readings = {r.servo_id: r for r in readings}
        self._targets = {r.servo_id: min(max(r.ticks, MIN_TICKS), MAX_TICKS) for r in readings}
        self._write_all()  # torque pulls to the last target: make that the present position
        bus.set_torque(True)
        self._write_all()
        self._torque_on = True

    @property
    def torque_on(self) -> bool:
        """Whether the servos hold."""
        return self._torque_on

    @property
    def readings(self) -> Sequence[Reading]:
        """The last reading of each servo."""
        return [self._readings[i] for i in self._bus.servo_ids]

    def target_ticks(self, servo_id: int) -> int:
        """Return where a servo has been sent."""
        return self._targets[servo_id]

    def step(self, servo_id: int, direction: int) -> bool:
        """Move one servo one step up (+1) or down (-1), no sooner than the last step's end.

        Returns False where the servo does not follow or stands at the end of its travel; then nothing is sent.
        """
        target = self._targets[servo_id] + (self._step_ticks if direction > 0 else -self._step_ticks)
        lead = abs(target - self._readings[servo_id].ticks)
        receding = lead < abs(self._targets[servo_id] - self._readings[servo_id].ticks)
        if not self._torque_on or not MIN_TICKS <= target <= MAX_TICKS or (lead > MAX_LEAD_TICKS and not receding):
            return False
        self._clock.sleep_until(self._free_at_ns)
        self._bus.write_one(servo_id, target, STEP_S)
        self._targets[servo_id] = target
        self._free_at_ns = self._clock.now_ns() + round(STEP_S * 1e9)
        return True

    def refresh(self, servo_id: int) -> Reading:
        """Read one servo and return its reading; raises NoReply, BadChecksum or BusLost."""
        self._readings[servo_id] = self._bus.read_ticks(servo_id)
        return self._readings[servo_id]

    def hold(self) -> None:
        """Stand still: no step is under way for longer than a tenth of a second, so the targets are sent once more."""
        if self._torque_on:
            self._write_all()

    def release(self) -> None:
        """Switch the torque off: a raised arm falls unless someone supports it."""
        self._bus.set_torque(False)
        self._torque_on = False

    def _write_all(self) -> None:
        self._bus.write_ticks([self._targets[i] for i in self._bus.servo_ids], STEP_S)
