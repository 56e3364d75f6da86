"""What the readings say of the arm's health: whether it follows its commands, and how warm and how well fed it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hardware.errors import Astray, HardwareError, Overheated, Stalled, Undervoltage
from hardware.servo_bus import ServoVitals


class FollowMonitor:
    """Notices a servo that no longer follows: an obstacle, its own protection, a person or a button has stopped it.

    Stalled. An arm joint that stands still 0.12 rad from where it should be for 0.5 s presses against something
    (Ref: Practitioner108/dofbot_sci_ws stops at 0.12 rad for 0.4 s). The gripper is meant to press and is exempt, until
    it has pressed so hard and so long that its servo cuts its own torque: more than 60 of a Dofbot's 3,905 counts, for
    3 s (Ref: DS-SY15A sheet).

    Astray. An arm joint that was standing where it was left and has moved with no command, or that stands far from
    where it was sent although its motion should be over, on two readings in a row: a bus without checksums spoils one
    now and then. Or, without torque, any joint that lay still and moves again: the board's button that centres the arm
    switches the torque on first.
    """

    STALL_RAD, STALL_S = 0.12, 0.5
    PRESS_SPAN, PRESS_S = 60.0 / 3905.0, 3.0
    STILL_SPAN = 8.0 / 3905.0
    LEFT_RAD, FAR_RAD = 0.15, 0.25
    #: A joint counts as arrived this near to where it was sent: sag and backlash are less.
    ARRIVED_RAD = 0.08
    #: A joint without torque lies still when it has moved by no more for so long.
    RESTS_RAD, RESTS_S = 0.02, 1.0

    def __init__(self, joint_names: tuple[str, ...], ticks_range: tuple[int, int], now_ns: int) -> None:
        """`ticks_range`: what the servos' counts can be, which says how much angle a count is."""
        count, span = len(joint_names), ticks_range[1] - ticks_range[0] + 1
        self._names = joint_names
        self._press_ticks, self._still_ticks = self.PRESS_SPAN * span, self.STILL_SPAN * span
        self._pressing_since_ns = [now_ns] * count
        self._still_at_ticks: list[float] = [math.nan] * count
        self._pulled = [False] * count
        self._far_readings = [0] * count
        self._moved_readings = [0] * count
        self._left_at_ticks: list[float] = [math.nan] * count
        self._rests_at_rad: list[float] = [math.nan] * count
        self._rests_since_ns = [now_ns] * count
        self._rests = [False] * count

    def check(
        self, joint: int, ticks: int, lag_rad: float, lag_ticks: float, moving: bool, stamp_ns: int
    ) -> HardwareError | None:
        """Return what is wrong with a joint after a reading: Astray or Stalled, None when nothing is.

        `lag` is by how much it lags where its commands should have it (model less measured); `moving` says whether they
        should have it move.
        """
        is_gripper = joint == len(self._names) - 1
        where = f"{self._names[joint]} stands {math.degrees(abs(lag_rad)):.1f} deg from where it was sent"
        moved = self._moved_alone(joint, ticks, lag_rad, lag_ticks, moving)
        self._moved_readings[joint] = self._moved_readings[joint] + 1 if moved else 0
        far = abs(lag_rad) > self.FAR_RAD and not moving
        self._far_readings[joint] = self._far_readings[joint] + 1 if far else 0
        pressed_s = self._pressed_s(joint, ticks, lag_rad, lag_ticks, is_gripper, stamp_ns)
        if is_gripper:
            if pressed_s < self.PRESS_S:
                return None
            return Stalled(f"{where} for {self.PRESS_S:g} s, so its servo has cut its torque: it is stalled")
        if self._moved_readings[joint] >= 2:
            return Astray(
                f"{where} and had arrived: torque is off, a button of the board was pressed, or it was pushed"
            )
        if self._far_readings[joint] >= 2:
            return Astray(f"{where} and does not follow: torque is off or something blocks it")
        if pressed_s >= self.STALL_S:
            return Stalled(f"{where} for {self.STALL_S:g} s: something blocks it")
        return None

    def is_suspicious(self, joint: int) -> bool:
        """Return whether the last reading alone says that a joint has moved by itself: it should be read again now."""
        return self._moved_readings[joint] == 1 and joint != len(self._names) - 1

    def check_loose(self, joint: int, at_rad: float, stamp_ns: int) -> Astray | None:
        """Return what is wrong with a joint that has no torque, after a reading; None when nothing is."""
        moved_rad = abs(at_rad - self._rests_at_rad[joint])
        if self._rests[joint] and moved_rad > self.LEFT_RAD:
            return Astray(
                f"{self._names[joint]} lay still without torque and has moved by {math.degrees(moved_rad):.0f} deg: a "
                "hand, or a button of the board, which switches the torque on. Keep clear of the arm"
            )
        if not self._rests[joint] and not moved_rad <= self.RESTS_RAD:  # true for NaN
            self._rests_at_rad[joint], self._rests_since_ns[joint] = at_rad, stamp_ns
        self._rests[joint] |= stamp_ns - self._rests_since_ns[joint] >= self.RESTS_S * 1e9
        return None

    def _moved_alone(self, joint: int, ticks: int, lag_rad: float, lag_ticks: float, moving: bool) -> bool:
        """Return whether a joint has left the place where it had arrived, its commands being the same."""
        sent_ticks, left_at = ticks + lag_ticks, self._left_at_ticks[joint]
        same = abs(sent_ticks - left_at) <= 1.0  # false for NaN
        if moving:
            self._left_at_ticks[joint] = math.nan
        elif abs(lag_rad) <= self.ARRIVED_RAD:
            self._left_at_ticks[joint] = sent_ticks
        return same and not moving and abs(lag_rad) > self.LEFT_RAD

    def _pressed_s(
        self, joint: int, ticks: int, lag_rad: float, lag_ticks: float, is_gripper: bool, stamp_ns: int
    ) -> float:
        """Return for how long a joint has stood still although its servo pulls."""
        stands = abs(ticks - self._still_at_ticks[joint]) <= self._still_ticks
        pulls = abs(lag_ticks) > self._press_ticks if is_gripper else abs(lag_rad) > self.STALL_RAD
        if not stands or not pulls or not self._pulled[joint]:
            # From the first reading that shows it pull: the one before may be long past, and a joint that is only about
            # to follow a new command lags for the length of its dead time.
            self._pressing_since_ns[joint] = stamp_ns
            self._still_at_ticks[joint] = ticks
        self._pulled[joint] = pulls
        return (stamp_ns - self._pressing_since_ns[joint]) * 1e-9


@dataclass(frozen=True, slots=True)
class VitalsLimits:
    """When to warn and when to stop: degrees Celsius and volts."""

    warn_c: float
    stop_c: float
    lowest_v: float
    highest_v: float


#: The servo itself lets go at 85 C (register 24, its default; 50 to 100 can be set), and works from 6 to 8.4 V. Ours is
#: earlier, so that the arm can still be set down. Ref: LX-16A bus protocol; maximkulkin/lewansoul-lx16a.
LX16A_LIMITS = VitalsLimits(warn_c=70.0, stop_c=80.0, lowest_v=5.5, highest_v=9.0)
#: The servo itself lets go at 70 C (register 13, as it leaves the factory). Two models, 7.4 and 12 V, of which the
#: first is often fed with 5 V. Ref: Feetech STS3215 memory table; huggingface/lerobot motors/feetech/tables.py.
STS_LIMITS = VitalsLimits(warn_c=55.0, stop_c=65.0, lowest_v=4.5, highest_v=13.0)
#: For any servo that tells: the strictest of these temperatures, the widest of these supplies.
ANY_SERVO_LIMITS = VitalsLimits(warn_c=55.0, stop_c=65.0, lowest_v=4.5, highest_v=13.0)


class VitalsGuard:
    """Warns, and stops after two readings in a row: a servo that starts pulls the supply down for a moment."""

    def __init__(self, joint_names: tuple[str, ...], limits: VitalsLimits) -> None:
        self._names, self._limits = joint_names, limits
        self._bad_readings = [0] * len(joint_names)
        self._warnings = [""] * len(joint_names)

    @property
    def warning(self) -> str:
        """What is too warm already, or empty."""
        return "; ".join(w for w in self._warnings if w)

    def is_suspicious(self, joint: int) -> bool:
        """Return whether the last reading of a joint was bad: it should be asked again soon."""
        return self._bad_readings[joint] > 0

    def check(self, joint: int, vitals: ServoVitals) -> HardwareError | None:
        """Return Overheated or Undervoltage after the second bad reading of a joint in a row, else None."""
        trouble = self.judge(joint, vitals)
        self._bad_readings[joint] = self._bad_readings[joint] + 1 if trouble else 0
        warm = vitals.temperature_c is not None and vitals.temperature_c >= self._limits.warn_c
        self._warnings[joint] = (
            f"{self._names[joint]} is {vitals.temperature_c:g} C warm; the arm stops at {self._limits.stop_c:g} C"
            if warm
            else ""
        )
        return trouble if self._bad_readings[joint] >= 2 else None

    def judge(self, joint: int, vitals: ServoVitals) -> HardwareError | None:
        """Return what one reading alone says."""
        name, limits = self._names[joint], self._limits
        if vitals.temperature_c is not None and vitals.temperature_c >= limits.stop_c:
            return Overheated(
                f"{name} is {vitals.temperature_c:g} C hot, and {limits.stop_c:g} C is the most: let it cool"
            )
        volts = vitals.voltage_v
        if volts is not None and not limits.lowest_v <= volts <= limits.highest_v:
            return Undervoltage(
                f"{name} is fed with {volts:g} V instead of {limits.lowest_v:g} to {limits.highest_v:g} V: "
                "check the supply and its cable"
            )
        return None
