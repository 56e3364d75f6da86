"""ServoJoints: the servos of a bus as the joints of an arm, in joint order. Radians here, counts below."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.servo import ServoCalibration
from hardware.errors import NotMeasured, WrongServo
from hardware.servo_bus import Reading, ServoBus, ServoVitals, find_servos
from urdf.pose import Array

HOLD_S = 0.1


class ServoJoints:
    """Remembers the counts last written: a servo found outside its range may stay there, but goes no further."""

    def __init__(self, bus: ServoBus, calibration: ServoCalibration, position_rad: Array) -> None:
        """Start from where the joints stand (n,)."""
        self.bus = bus
        self._joints = calibration.joints
        self._calibration = calibration
        self._sent_ticks: list[int] = []
        self.stand(position_rad)

    @staticmethod
    def find(bus: ServoBus, calibration: ServoCalibration, assume_rad: Array | None) -> list[Reading] | None:
        """Read every servo, in joint order; None on a bus that reads none and where `assume_rad` stands in for it.

        Raises WrongServo with every missing and unexpected id, and NotMeasured where nobody says how the arm stands.
        """
        try:
            readings = find_servos(bus, calibration.servo_ids)
        except NotMeasured as error:
            if assume_rad is None:
                raise NotMeasured(f"{error}; say how the arm stands (assume_rad): it jumps there") from error
            _check_present(bus, calibration.servo_ids)
            return None
        if assume_rad is not None:
            raise ValueError(f"{bus.port}: the servos tell where they stand: assume_rad must be None")
        return readings

    def check_present(self) -> None:
        """Raise WrongServo with every servo that nothing answers for."""
        _check_present(self.bus, self._calibration.servo_ids)

    @property
    def count(self) -> int:
        """The number of joints."""
        return len(self._joints)

    def servo_id(self, joint: int) -> int:
        """Return the id of one joint's servo."""
        return self._joints[joint].servo_id

    def to_rad(self, readings: Sequence[Reading]) -> Array:
        """Return the joint angles (n,) of readings in joint order."""
        return self._calibration.to_rad([r.ticks for r in readings])

    def angle_rad(self, joint: int, ticks: int) -> float:
        """Return one joint's angle at a count."""
        return self._joints[joint].to_rad(ticks)

    def ticks_per_rad(self, joint: int) -> float:
        """Return one joint's scale, with its sign."""
        return self._joints[joint].ticks_per_rad

    def read(self, joint: int) -> Reading:
        """Read one joint's servo; raises as the bus does."""
        return self.bus.read_ticks(self._joints[joint].servo_id)

    def read_vitals(self, joint: int) -> ServoVitals:
        """Read how one joint's servo is; raises as the bus does."""
        return self.bus.read_vitals(self._joints[joint].servo_id)

    def stand(self, position_rad: Array) -> None:
        """Take note that the joints stand at `position_rad` (n,), inside their ranges or not."""
        lowest, highest = self.bus.ticks_range
        pairs = zip(self._joints, position_rad, strict=True)
        found = [round(joint.zero_ticks + joint.ticks_per_rad * float(angle)) for joint, angle in pairs]
        self._sent_ticks = [min(max(t, lowest), highest) for t in found]

    def write(self, position_rad: Array, duration_s: float) -> Array:
        """Write a pose (n,) in counts; return the pose that those counts mean. Raises BusLost."""
        lowest, highest = self.bus.ticks_range
        triples = zip(self._joints, position_rad, self._sent_ticks, strict=True)
        nearest = [joint.nearest_ticks(float(angle), before) for joint, angle, before in triples]
        ticks = [min(max(t, lowest), highest) for t in nearest]
        self.bus.write_ticks(self._by_servo(ticks), duration_s)
        self._sent_ticks = ticks
        return self._calibration.to_rad(ticks)

    def take_hold(self) -> Array:
        """Switch torque on where the joints stand; return that pose (n,).

        Written before, since torque pulls to the last target, and after, since a servo may take no target without it.
        """
        self.bus.write_ticks(self._by_servo(self._sent_ticks), HOLD_S)
        self.bus.set_torque(True)
        self.bus.write_ticks(self._by_servo(self._sent_ticks), HOLD_S)
        return self._calibration.to_rad(self._sent_ticks)

    def _by_servo(self, ticks: Sequence[int]) -> list[int]:
        """Return counts in the bus's order of servos from counts in joint order."""
        by_id = dict(zip(self._calibration.servo_ids, ticks, strict=True))
        return [by_id[servo_id] for servo_id in self.bus.servo_ids]


def _check_present(bus: ServoBus, servo_ids: Sequence[int]) -> None:
    missing = [servo_id for servo_id in servo_ids if not bus.ping(servo_id)]
    if missing:
        raise WrongServo(missing, (), bus.port)
