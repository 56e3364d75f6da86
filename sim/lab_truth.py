"""What is hidden about a lab: how this unit, its camera and its block differ from the training world."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np

from calibration.artifacts import write_atomic
from urdf.pose import Array, Pose

_ZERO_RAD = math.radians(1.0)
_DEAD_TIME_S = (0.060, 0.120)
_CAMERA_M, _CAMERA_RAD = 0.005, math.radians(2.0)
_MASS_KG = (0.020, 0.050)
_FRICTION = (0.6, 1.0)


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What really happened in one attempt, judged from physics."""

    attempt: int
    desk_xy_m: tuple[float, float]
    yaw_rad: float
    highest_m: float
    held_s: float
    success: bool


class LabTruth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hidden numbers. A servo at its own zero stands `servo_zero_rad` away from the joint's."""

    seed: int
    servo_zero_rad: tuple[float, ...]
    dead_time_s: float
    camera_shift_m: tuple[float, float, float]
    camera_turn_rad: tuple[float, float, float]
    block_mass_kg: float
    block_friction: float

    @staticmethod
    def draw(seed: int, joint_count: int) -> LabTruth:
        """Return the truth that belongs to a seed."""
        rng = np.random.default_rng(seed)
        return LabTruth(
            seed=seed,
            servo_zero_rad=tuple(float(v) for v in rng.uniform(-_ZERO_RAD, _ZERO_RAD, joint_count)),
            dead_time_s=float(rng.uniform(*_DEAD_TIME_S)),
            camera_shift_m=_somewhere(rng, _CAMERA_M),
            camera_turn_rad=_somewhere(rng, _CAMERA_RAD),
            block_mass_kg=float(rng.uniform(*_MASS_KG)),
            block_friction=float(rng.uniform(*_FRICTION)),
        )

    def desk_from_camera(self, nominal: Pose) -> Pose:
        """Return where the camera really hangs: shifted and turned about itself."""
        return Pose(nominal.position_m + np.array(self.camera_shift_m), nominal.quat_xyzw) @ Pose.from_rotvec(
            [0.0, 0.0, 0.0], self.camera_turn_rad
        )


def _somewhere(rng: np.random.Generator, reach: float) -> tuple[float, float, float]:
    """Return a vector of random direction, its length uniform up to `reach`."""
    direction: Array = rng.normal(size=3)
    x, y, z = direction / np.linalg.norm(direction) * rng.uniform(0.0, reach)
    return float(x), float(y), float(z)


class TruthFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`truth.json`: only the final report reads it."""

    truth: LabTruth
    outcomes: tuple[Outcome, ...] = ()

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n", mode=0o600)

    @staticmethod
    def load(path: Path) -> TruthFile:
        """Read the file strictly; raises msgspec.ValidationError or OSError."""
        return msgspec.json.decode(path.read_bytes(), type=TruthFile)
