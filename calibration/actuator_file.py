"""ActuatorCalibration: the identified servos of one robot on disk, and the choice between them and the data sheet's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_fit import FittedActuator
from calibration.artifacts import SCHEMA_VERSION, Artifact, check_joints, load_artifact, save_artifact, utc_now
from calibration.errors import BadArtifact, NotCalibrated
from urdf.description import ArmDescription

ARTIFACT_NAME = "actuator"
HOW_TO_IDENTIFY = "Identify the servos again: fit_actuator makes one from a log of the arm's own motion."
METHOD = "least squares over the actuator model"


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
