"""Footing: where an arm stands that may have been moved by anybody. It is read until it has come to rest."""

from __future__ import annotations

from bridge.ports import Clock
from hardware.errors import Astray, BadChecksum, BusLost, NoReply, NotMeasured, Stalled, WrongServo
from hardware.guards import VitalsGuard
from hardware.servo_bus import Reading
from hardware.servo_joints import ServoJoints
from urdf.pose import Array

#: Two readings of every joint in a row that differ by no more than this are those of a standing arm, if they lie so far
#: apart: a quick bus reads all six servos in 5 ms.
STILL_RAD, APART_S = 0.02, 0.1
#: A board that centres its arm, or an arm that falls, has come to rest by then.
PATIENCE_S = 4.0
#: A bus opens a lost port again at most twice a second: so long may it take to find out whether it is there.
REOPEN_S = 1.2


def find_footing(
    joints: ServoJoints, clock: Clock, assume_rad: Array | None = None, patience_s: float = PATIENCE_S
) -> tuple[Array, list[Reading] | None]:
    """Return where the joints stand (n,), and the readings that say so, once they stand still.

    On a bus that reads no servo it is `assume_rad`, and no readings. Raises WrongServo with every servo that does not
    answer, Astray where the arm does not come to rest, and BusLost.
    """
    _reopen(joints, clock)
    if assume_rad is not None:
        joints.check_present()
        return assume_rad, None
    return come_to_rest(joints, clock, joints.to_rad(_read_all(joints)), patience_s)


def come_to_rest(
    joints: ServoJoints, clock: Clock, before_rad: Array, patience_s: float = PATIENCE_S
) -> tuple[Array, list[Reading]]:
    """Return where the joints stand (n,), and the readings that say so; `before_rad` (n,) is where they just stood.

    An arm may still be on the way that another program sent it, or falling: torque that came on where it was would pull
    it back. Raises as `find_footing`.
    """
    deadline_ns = clock.now_ns() + round(patience_s * 1e9)
    before = before_rad
    while True:
        clock.sleep_until(clock.now_ns() + round(APART_S * 1e9))
        readings = _read_all(joints)
        now = joints.to_rad(readings)
        if float(abs(now - before).max()) <= STILL_RAD:
            return now, readings
        if clock.now_ns() >= deadline_ns:
            raise Astray(f"the arm moves and has not come to rest within {patience_s:g} s: who moves it?")
        before = now


def check_vitals(joints: ServoJoints, guard: VitalsGuard) -> None:
    """Ask every servo how it is; raises what the first that is unwell says, and nothing where no servo tells.

    One that has let go because it pressed in vain may be taken hold of again: it stands where nothing presses it.
    """
    for joint in range(joints.count):
        try:
            trouble = guard.judge(joint, joints.read_vitals(joint))
        except NotMeasured:
            return
        except Stalled:
            continue
        if trouble is not None:
            raise trouble


def _reopen(joints: ServoJoints, clock: Clock) -> None:
    """Return once the port is there; raises BusLost where it stays away."""
    deadline_ns = clock.now_ns() + round(REOPEN_S * 1e9)
    while True:
        try:
            joints.bus.ping(joints.servo_id(0))
            return
        except BusLost:
            if clock.now_ns() >= deadline_ns:
                raise
        clock.sleep_until(clock.now_ns() + 50_000_000)


def _read_all(joints: ServoJoints) -> list[Reading]:
    readings: list[Reading] = []
    missing: list[int] = []
    for joint in range(joints.count):
        try:
            readings.append(joints.read(joint))
        except (NoReply, BadChecksum):
            missing.append(joints.servo_id(joint))
    if missing:
        raise WrongServo(missing, (), joints.bus.port)
    return readings
