"""Servo counts <-> joint angles of one physical arm, the gripper's law included.

    ticks = zero_ticks + ticks_per_rad * angle

`ticks_per_rad` is negative where the servo turns against the joint. Counts are rounded, never truncated: truncating,
as the vendor's library does, reads 160 of 181 whole degrees back one degree off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from calibration.artifacts import SCHEMA_VERSION, Artifact, check_joints, load_artifact, save_artifact, utc_now
from calibration.errors import BadArtifact, CalibrationError
from urdf.description import ArmDescription
from urdf.pose import Array

#: What any servo's count can be: 12 bits at most. What the servos of one bus take is the bus's to say.
MIN_TICKS, MAX_TICKS = 0, 4095
#: What the Dofbot's take. Ref: vendor register sheet i2c_register_map.xlsx, registers 0x11-0x16.
_DOFBOT_MIN_TICKS, _DOFBOT_MAX_TICKS = 96, 4000
ARTIFACT_NAME = "servo"
HOW_TO_CALIBRATE = "Run `tandem calibrate servos`; until then only `tandem jog` moves this arm."

# The vendor library's scales: ticks = 900 + 2200 deg / 180, for joint 5 ticks = 380 + 3320 deg / 270.
# Ref: KNDG01001/Dofbot-Serial_i2c Arm_Lib.py, Arm_serial_servo_write6.
_TICKS_PER_DEG, _TICKS_AT_0_DEG = 2200 / 180, 900.0
_TICKS_PER_DEG_5, _TICKS_AT_0_DEG_5 = 3320 / 270, 380.0
#: Servo degrees per radian of the gripper angle, and the gripper angle at 0 degrees (open).
_GRIPPER_DEG_PER_RAD, _GRIPPER_AT_0_DEG_RAD = 101.0, -1.57


def is_servo_scale(ticks_per_rad: float) -> bool:
    """Return whether a servo can have this scale: the vendor's are 637 to 1,273, either way round."""
    return 100.0 <= abs(ticks_per_rad) <= 5000.0


class JointServo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One joint's servo. The range is in counts, `lower_ticks < upper_ticks` whatever the direction."""

    joint: str
    servo_id: int
    zero_ticks: float
    ticks_per_rad: float
    lower_ticks: int
    upper_ticks: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.zero_ticks) and math.isfinite(self.ticks_per_rad)):
            raise BadArtifact(f"{self.joint}: zero_ticks and ticks_per_rad must be finite")
        if not is_servo_scale(self.ticks_per_rad):
            raise BadArtifact(f"{self.joint}: ticks_per_rad {self.ticks_per_rad} is no servo's scale (100 to 5000)")
        if not MIN_TICKS <= self.lower_ticks < self.upper_ticks <= MAX_TICKS:
            raise BadArtifact(
                f"{self.joint}: range {self.lower_ticks}..{self.upper_ticks} ticks, "
                f"expected {MIN_TICKS} <= lower < upper <= {MAX_TICKS}"
            )

    def to_ticks(self, angle_rad: float) -> int:
        """Return the nearest count inside the servo's range; raises CalibrationError where the angle is not finite."""
        return self.nearest_ticks(angle_rad, self.lower_ticks)

    def nearest_ticks(self, angle_rad: float, from_ticks: int) -> int:
        """Return the nearest count; a servo found outside its range at `from_ticks` may stay there, but go no further.

        Clamping it to the range at once would make it jump.
        """
        if not math.isfinite(angle_rad):
            raise CalibrationError(f"{self.joint}: an angle must be finite, got {angle_rad}")
        ticks = math.floor(self.zero_ticks + self.ticks_per_rad * angle_rad + 0.5)
        ticks = min(max(ticks, min(self.lower_ticks, from_ticks)), max(self.upper_ticks, from_ticks))
        return min(max(ticks, MIN_TICKS), MAX_TICKS)

    def to_rad(self, ticks: float) -> float:
        """Return the joint angle at a count."""
        return (ticks - self.zero_ticks) / self.ticks_per_rad


class ServoCalibration(Artifact, frozen=True, kw_only=True, tag="servo", tag_field="kind", forbid_unknown_fields=True):
    """All servos of one arm, in the order of `ArmDescription.joint_names`: the arm's joints, the gripper last."""

    joints: tuple[JointServo, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        ids = self.servo_ids
        if not ids or len(set(ids)) != len(ids) or not all(1 <= i <= 250 for i in ids):
            raise BadArtifact(f"servo ids {ids}: expected distinct numbers from 1 to 250")

    @staticmethod
    def nominal(description: ArmDescription, serial: str) -> ServoCalibration:
        """Return the vendor library's scales: right for the virtual arm, a few degrees off on a real one.

        Real units differ by up to 6 % in scale and several degrees in zero, so this is never used in place of a
        missing calibration.
        """
        if description.arm_joint_count != 5:
            raise CalibrationError(f"the vendor's scales are those of a Dofbot (5 joints), not of {description.name!r}")
        joints = tuple(_nominal_joint(description, index) for index in range(6))
        return ServoCalibration(
            schema_version=SCHEMA_VERSION,
            robot_serial=serial,
            arm=description.name,
            arm_sha256=description.sha256,
            created_utc=utc_now(),
            method="vendor library scales",
            residual=0.0,
            residual_unit="ticks",
            joints=joints,
        )

    @property
    def servo_ids(self) -> tuple[int, ...]:
        """The servos' ids in joint order."""
        return tuple(j.servo_id for j in self.joints)

    def to_ticks(self, position_rad: ArrayLike) -> tuple[int, ...]:
        """Return the counts of all joints (n,), rounded and inside each servo's range."""
        values = np.asarray(position_rad, dtype=np.float64)
        return tuple(j.to_ticks(float(v)) for j, v in zip(self.joints, values, strict=True))

    def to_rad(self, ticks: Sequence[float] | Array) -> Array:
        """Return the joint angles (n,) of counts (n,)."""
        return np.array([j.to_rad(float(t)) for j, t in zip(self.joints, ticks, strict=True)])

    def save(self, data_root: Path) -> Path:
        """Write to data/robots/<serial>/calibration/servo.json (and history/); return the path."""
        return save_artifact(self, ARTIFACT_NAME, data_root)

    @staticmethod
    def load(serial: str, description: ArmDescription, data_root: Path) -> ServoCalibration:
        """Read the calibration of one robot; raises NotCalibrated, BadArtifact or ForeignCalibration."""
        calibration = load_artifact(ServoCalibration, ARTIFACT_NAME, serial, data_root, HOW_TO_CALIBRATE)
        calibration.check_belongs(serial, description)
        check_joints(tuple(j.joint for j in calibration.joints), description, HOW_TO_CALIBRATE)
        return calibration


def _nominal_joint(description: ArmDescription, index: int) -> JointServo:
    zero, per_rad = _nominal_scale(index)
    ends = [zero + per_rad * float(bound[index]) for bound in (description.lower_rad, description.upper_rad)]
    return JointServo(
        joint=description.joint_names[index],
        servo_id=index + 1,
        zero_ticks=zero,
        ticks_per_rad=per_rad,
        lower_ticks=max(_DOFBOT_MIN_TICKS, math.floor(min(ends) + 0.5)),
        upper_ticks=min(_DOFBOT_MAX_TICKS, math.floor(max(ends) + 0.5)),
    )


def _nominal_scale(index: int) -> tuple[float, float]:
    """Return (zero_ticks, ticks_per_rad) of the vendor's scale; joint angle 0 is servo degree 90."""
    per_rad = math.degrees(_TICKS_PER_DEG)
    if index == 5:
        per_gripper_rad = _TICKS_PER_DEG * _GRIPPER_DEG_PER_RAD
        return _TICKS_AT_0_DEG - per_gripper_rad * _GRIPPER_AT_0_DEG_RAD, per_gripper_rad
    if index == 4:
        return _TICKS_AT_0_DEG_5 + 90 * _TICKS_PER_DEG_5, math.degrees(_TICKS_PER_DEG_5)
    return _TICKS_AT_0_DEG + 90 * _TICKS_PER_DEG, (-per_rad if index in (1, 2, 3) else per_rad)
