"""What a camera found out about the servos, on disk: the new calibration, and a report of how well it is known."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from calibration.artifacts import SCHEMA_VERSION, Artifact, save_artifact, utc_now
from calibration.errors import BadArtifact
from calibration.servo import JointServo, ServoCalibration
from calibration.servo_vision import ServoVisionFit
from urdf.description import ArmDescription
from urdf.pose import Pose

REPORT_NAME = "servo_vision"
METHOD = "camera and gripper marker"


class PoseRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pose as numbers: position [m] and quaternion x y z w."""

    position_m: tuple[float, float, float]
    quat_xyzw: tuple[float, float, float, float]

    @staticmethod
    def of(pose: Pose) -> PoseRecord:
        """Return the record of a pose."""
        x, y, z = pose.position_m.tolist()
        qx, qy, qz, qw = pose.quat_xyzw.tolist()
        return PoseRecord((x, y, z), (qx, qy, qz, qw))


class SightedJoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One arm joint: by how much its servo was corrected, and the standard deviations.

    What is held was not determined by the data and stays as the calibration before had it.
    """

    joint: str
    zero_rad: float
    zero_std_rad: float
    zero_held: bool
    scale: float
    scale_std: float
    scale_held: bool
    play_rad: float

    def __post_init__(self) -> None:
        numbers = (self.zero_rad, self.zero_std_rad, self.scale, self.scale_std, self.play_rad)
        if not all(map(math.isfinite, numbers)) or min(self.zero_std_rad, self.scale_std, self.play_rad) < 0:
            raise BadArtifact(f"{self.joint}: every number must be finite, deviations and play not negative")


class ServoVisionReport(
    Artifact, frozen=True, kw_only=True, tag="servo_vision", tag_field="kind", forbid_unknown_fields=True
):
    """How well the servos are known. Corrections are relative to the calibration that was in force before.

    `residual` is the RMS error of a corner's coordinate, `unexplained_rad` what joints err besides zero, scale, step.
    """

    joints: tuple[SightedJoint, ...]
    base_from_camera: PoseRecord
    tool_from_marker: PoseRecord
    samples: int
    dropped: tuple[int, ...]
    unexplained_rad: float

    @staticmethod
    def of(fit: ServoVisionFit, serial: str, description: ArmDescription, focal_px: float) -> ServoVisionReport:
        """Return the report of a fit, made now."""
        joints = tuple(
            SightedJoint(
                joint=name,
                zero_rad=float(fit.errors.zero_rad[k]),
                zero_std_rad=float(fit.zero_std_rad[k]),
                zero_held=f"{name} zero" in fit.held,
                scale=float(fit.errors.scale[k]),
                scale_std=float(fit.scale_std[k]),
                scale_held=f"{name} scale" in fit.held,
                play_rad=float(fit.play_rad[k]),
            )
            for k, name in enumerate(description.joint_names[:-1])
        )
        return ServoVisionReport(
            schema_version=SCHEMA_VERSION,
            robot_serial=serial,
            arm=description.name,
            arm_sha256=description.sha256,
            created_utc=utc_now(),
            method=METHOD,
            residual=fit.kept_residual * focal_px,
            residual_unit="px",
            joints=joints,
            base_from_camera=PoseRecord.of(fit.placing.base_from_camera),
            tool_from_marker=PoseRecord.of(fit.placing.tool_from_marker),
            samples=len(fit.residual),
            dropped=fit.dropped,
            unexplained_rad=fit.unexplained_rad,
        )

    def save(self, data_root: Path) -> Path:
        """Write to data/robots/<serial>/calibration/servo_vision.json (and history/); return the path."""
        return save_artifact(self, REPORT_NAME, data_root)


def recalibrated(
    before: ServoCalibration, fit: ServoVisionFit, description: ArmDescription, ticks_range: tuple[int, int],
    residual_px: float,
) -> ServoCalibration:  # fmt: skip
    """Return the calibration with the fit's zeros and scales; the gripper's servo, which nobody saw, stays as it was.

    A joint's range becomes the counts at its limits, inside the bus's `ticks_range`.
    """
    seen = tuple(
        _corrected(servo, float(zero), float(scale), tuple(map(float, ends)), ticks_range)
        for servo, zero, scale, ends in zip(
            before.joints,
            fit.errors.zero_rad,
            fit.errors.scale,
            zip(description.lower_rad, description.upper_rad, strict=True),
            strict=False,
        )
    )
    method = METHOD + (f"; held: {', '.join(fit.held)}" if fit.held else "")
    return msgspec.structs.replace(
        before,
        created_utc=utc_now(),
        method=method,
        residual=residual_px,
        residual_unit="px",
        joints=(*seen, before.joints[-1]),
    )


def _corrected(
    servo: JointServo, zero_rad: float, scale: float, limits_rad: tuple[float, ...], ticks_range: tuple[int, int]
) -> JointServo:
    """Return the servo of which joint = scale * before + zero_rad."""
    per_rad = servo.ticks_per_rad / scale
    zero_ticks = servo.zero_ticks - per_rad * zero_rad
    ends = sorted(zero_ticks + per_rad * limit for limit in limits_rad)
    return msgspec.structs.replace(
        servo,
        zero_ticks=zero_ticks,
        ticks_per_rad=per_rad,
        lower_ticks=max(ticks_range[0], round(ends[0])),
        upper_ticks=min(ticks_range[1], round(ends[1])),
    )
