"""ActuatorCalibration: the identified servos of one robot on disk, and the choice between them and the data sheet's."""

from __future__ import annotations

import math
from pathlib import Path

from calibration.actuator import ActuatorModel, ServoErrors
from calibration.actuator_fit import FittedActuator
from calibration.artifacts import SCHEMA_VERSION, Artifact, load_artifact, save_artifact, utc_now
from calibration.errors import BadArtifact, NotCalibrated
from urdf.description import ArmDescription

ARTIFACT_NAME = "actuator"
HOW_TO_IDENTIFY = "Fit one with calibration.actuator_fit.fit_actuator from a log of the arm's own motion."
METHOD = "least squares over the actuator model"


class JointActuator(Artifact.__base__, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One joint's servo: its speed, backlash, dead band, reading step, and how its reading relates to its command."""

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
    """All servos of one arm, in the order of `ArmDescription.joint_names`."""

    dead_time_s: float
    skew_s: float
    min_move_s: float
    joints: tuple[JointActuator, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
