"""ActuatorCalibration: the identified servos of one robot on disk, and the choice between them and the data sheet's.

The simulator takes `model()` (SimRobot, ArmEnv), and `ranges` say how far to randomise around it.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import msgspec

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_fit import FittedActuator
from calibration.artifacts import SCHEMA_VERSION, Artifact, check_joints, load_artifact, save_artifact, utc_now
from calibration.errors import BadArtifact, NotCalibrated
from urdf.description import ArmDescription

ARTIFACT_NAME = "actuator"
HOW_TO_IDENTIFY = "Measure the servos' motion: `tandem calibrate actuator`."
METHOD = "least squares over the actuator model"


#: What one unit's servos vary by from day to day, though they have been measured: supply and load change the speed, the
#: board's polling the dead time, temperature and wear the play. Our estimates; training meets at least this much.
_SPEED_VARIES, _DEAD_TIME_VARIES_S, _PLAY_VARIES_RAD = 0.05, 0.005, math.radians(0.1)
_DEVIATIONS = 2.0


class ActuatorRanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far training shall vary the servos around this unit's model: (low, high) of what is drawn.

    A factor on every joint's speed limit, what is added to the dead time, and what is added to the play.
    """

    speed_factor: tuple[float, float]
    dead_time_s: tuple[float, float]
    backlash_rad: tuple[float, float]

    def __post_init__(self) -> None:
        for low, high in (self.speed_factor, self.dead_time_s, self.backlash_rad):
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise BadArtifact(f"ranges: expected finite low <= high, got {low} and {high}")
        if self.speed_factor[0] <= 0 or self.backlash_rad[0] < 0:
            raise BadArtifact("ranges: speed_factor must be above 0, backlash_rad not negative")

    @staticmethod
    def of(fitted: FittedActuator) -> ActuatorRanges:
        """Return two standard errors of the fit around it, and no less than what varies from day to day."""
        errors, model = fitted.errors, fitted.model
        shares = [e / v for e, v in zip(errors.speed_rad_s, model.max_speed_rad_s, strict=True)]
        speed = max(_SPEED_VARIES, _DEVIATIONS * max(shares))
        dead_time_s = max(_DEAD_TIME_VARIES_S, _DEVIATIONS * errors.dead_time_s)
        play_rad = max(_PLAY_VARIES_RAD, _DEVIATIONS * max(errors.backlash_rad))
        return ActuatorRanges(
            speed_factor=(1.0 - speed, 1.0 + speed),
            dead_time_s=(-min(dead_time_s, model.dead_time_s), dead_time_s),
            backlash_rad=(0.0, play_rad),
        )


class JointActuator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One joint's servo: its speed limit, gap, dead band and reading step; reading = scale * commanded + zero."""

    joint: str
    max_speed_rad_s: float
    backlash_rad: float
    dead_band_rad: float
    readback_rad: float
    scale: float
    zero_rad: float


class ActuatorCalibration(
    Artifact, frozen=True, kw_only=True, tag="actuator", tag_field="kind", forbid_unknown_fields=True
):
    """All servos of one arm, in the order of `ArmDescription.joint_names`. The residual is the RMS of the readings."""

    dead_time_s: float
    skew_s: float
    min_move_s: float
    joints: tuple[JointActuator, ...]
    ranges: ActuatorRanges

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.model()
            self.servo()
        except ValueError as error:
            raise BadArtifact(str(error)) from error

    @staticmethod
    def of(fitted: FittedActuator, serial: str, description: ArmDescription) -> ActuatorCalibration:
        """Return what was fitted as the calibration of one robot, made now."""
        model, servo = fitted.model, fitted.servo
        joints = tuple(
            JointActuator(
                joint=name,
                max_speed_rad_s=model.max_speed_rad_s[j],
                backlash_rad=model.backlash_rad[j],
                dead_band_rad=model.dead_band_rad[j],
                readback_rad=model.readback_rad[j],
                scale=float(servo.scale[j]),
                zero_rad=float(servo.zero_rad[j]),
            )
            for j, name in enumerate(description.joint_names)
        )
        return ActuatorCalibration(
            schema_version=SCHEMA_VERSION,
            robot_serial=serial,
            arm=description.name,
            arm_sha256=description.sha256,
            created_utc=utc_now(),
            method=METHOD,
            residual=fitted.residual_rad,
            residual_unit="rad",
            dead_time_s=model.dead_time_s,
            skew_s=model.skew_s,
            min_move_s=model.min_move_s,
            joints=joints,
            ranges=ActuatorRanges.of(fitted),
        )

    def model(self) -> ActuatorModel:
        """Return the identified model; raises ValueError on numbers that no servo has."""
        return ActuatorModel(
            max_speed_rad_s=tuple(j.max_speed_rad_s for j in self.joints),
            dead_time_s=self.dead_time_s,
            skew_s=self.skew_s,
            min_move_s=self.min_move_s,
            backlash_rad=tuple(j.backlash_rad for j in self.joints),
            dead_band_rad=tuple(j.dead_band_rad for j in self.joints),
            readback_rad=tuple(j.readback_rad for j in self.joints),
        )

    def servo(self) -> ServoErrors:
        """Return how the readings relate to the commands; raises ValueError on a scale that is not positive."""
        return ServoErrors.of([j.zero_rad for j in self.joints], [j.scale for j in self.joints])

    def save(self, data_root: Path) -> Path:
        """Write to data/robots/<serial>/calibration/actuator.json (and history/); return the path."""
        return save_artifact(self, ARTIFACT_NAME, data_root)

    @staticmethod
    def load(serial: str, description: ArmDescription, data_root: Path) -> ActuatorCalibration:
        """Read the identified servos of one robot; raises NotCalibrated, BadArtifact or ForeignCalibration."""
        calibration = load_artifact(ActuatorCalibration, ARTIFACT_NAME, serial, data_root, HOW_TO_IDENTIFY)
        calibration.check_belongs(serial, description)
        check_joints(tuple(j.joint for j in calibration.joints), description, HOW_TO_IDENTIFY)
        return calibration


def actuator_for(serial: str, description: ArmDescription, data_root: Path) -> ActuatorModel:
    """Return a robot's identified model, or the arm's nominal one where none was ever identified.

    Nobody has measured the play and the dead band of such a unit: an estimate that assumed them would be off by them.
    A file that cannot be read or is another robot's raises: BadArtifact or ForeignCalibration.
    """
    try:
        return ActuatorCalibration.load(serial, description, data_root).model()
    except NotCalibrated:
        return dataclasses.replace(ActuatorModel.nominal(description), backlash_rad=(), dead_band_rad=())
