"""Calibrations of servos that nobody measured: the counts of a Dofbot's joints by the servos' nominal scales."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.artifacts import SCHEMA_VERSION, utc_now
from calibration.servo import JointServo, ServoCalibration
from urdf.description import ArmDescription


def nominal_servos(
    description: ArmDescription, serial: str, servos: Sequence[tuple[float, float, int, int]]
) -> ServoCalibration:
    """Return the calibration of servos 1, 2, 3 ..., each told as zero, counts per rad and its range in counts."""
    joints = tuple(
        JointServo(joint=name, servo_id=i, zero_ticks=zero, ticks_per_rad=per_rad, lower_ticks=lower, upper_ticks=upper)
        for i, (name, (zero, per_rad, lower, upper)) in enumerate(
            zip(description.joint_names, servos, strict=True), start=1
        )
    )
    return ServoCalibration(
        schema_version=SCHEMA_VERSION,
        robot_serial=serial,
        arm=description.name,
        arm_sha256=description.sha256,
        created_utc=utc_now(),
        method="nominal scales of the servo",
        residual=0.0,
        residual_unit="ticks",
        joints=joints,
    )
