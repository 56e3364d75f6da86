"""What is hidden about a lab: how this unit, its camera and its block differ from the training world."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import msgspec
import numpy as np

from bridge.ports import Intrinsics
from calibration.actuator import SERVO_SPEED_RAD_S, ActuatorModel, ServoErrors
from calibration.artifacts import write_atomic
from calibration.boards import GRIPPER
from sim.lab_levels import Between, gap_level
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

Three = tuple[float, float, float]


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What really happened in one attempt, judged from physics."""

    attempt: int
    desk_xy_m: tuple[float, float]
    yaw_rad: float
    highest_m: float
    held_s: float
    success: bool


class CameraTruth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a camera's lens, sensor and light differ from what it says of itself; `distortion` is k1 k2 p1 p2 k3."""

    focal: float = 1.0
    center_px: tuple[float, float] = (0.0, 0.0)
    distortion: tuple[float, ...] = (0.0,) * 5
    noise_rgb: float = 2.0
    blur_px: float = 0.0
    light_rgb: Three = (1.0, 1.0, 1.0)
    light_fall: tuple[float, float] = (0.0, 0.0)

    def intrinsics(self, nominal: Intrinsics) -> Intrinsics:
        """Return the lens as it really is."""
        return dataclasses.replace(
            nominal,
            fx_px=nominal.fx_px * self.focal,
            fy_px=nominal.fy_px * self.focal,
            cx_px=nominal.cx_px + self.center_px[0],
            cy_px=nominal.cy_px + self.center_px[1],
            distortion=self.distortion,
        )


class LabTruth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hidden numbers. A joint stands at `servo_scale * servo + servo_zero_rad`, and sags and sticks besides.

    The gripper's horn was put on with the jaws open: there its servo is right, whatever its scale.
    """

    seed: int
    servo_zero_rad: tuple[float, ...]
    dead_time_s: float
    camera_shift_m: Three
    camera_turn_rad: Three
    block_mass_kg: float
    block_friction: float
    level: str = "mild"
    servo_scale: tuple[float, ...] = ()
    backlash_rad: tuple[float, ...] = ()
    #: How far a joint gives way to each newton metre that its own arm's weight puts on it, unseen by its servo.
    sag_rad_per_nm: tuple[float, ...] = ()
    #: How far a servo may move before its joint follows, either way round: the joint stays on the side it came from.
    stick_rad: tuple[float, ...] = ()
    marker_shift_m: Three = (0.0, 0.0, 0.0)
    marker_turn_rad: Three = (0.0, 0.0, 0.0)
    camera: CameraTruth = CameraTruth()
    wrist_shift_m: Three = (0.0, 0.0, 0.0)
    wrist_turn_rad: Three = (0.0, 0.0, 0.0)
    depth_scale: float = 1.0

    @staticmethod
    def draw(seed: int, joint_count: int, level: str = "mild") -> LabTruth:
        """Return the truth that belongs to a seed at a level; raises UnknownName."""
        gap, rng = gap_level(level), np.random.default_rng(seed)
        off = [float(v) for v in rng.uniform(-1.0, 1.0, joint_count)]
        drawn = {
            "dead_time_s": float(rng.uniform(*gap.dead_time_s)),
            "camera_shift_m": _somewhere(rng, gap.camera_m),
            "camera_turn_rad": _somewhere(rng, gap.camera_rad),
            "block_mass_kg": float(rng.uniform(*gap.mass_kg)),
            "block_friction": float(rng.uniform(*gap.friction)),
        }
        scale = [1.0 + gap.scale * float(v) for v in rng.uniform(-1.0, 1.0, joint_count)]
        zero = [gap.zero_rad * v for v in off]
        return LabTruth(
            seed=seed,
            servo_zero_rad=tuple(zero),
            **drawn,
            level=level,
            servo_scale=tuple(scale),
            backlash_rad=_each(rng, gap.backlash_rad, joint_count),
            sag_rad_per_nm=_each(rng, gap.sag_rad_per_nm, joint_count),
            stick_rad=_each(rng, gap.stick_rad, joint_count),
            marker_shift_m=_somewhere(rng, gap.marker_m),
            marker_turn_rad=_somewhere(rng, gap.marker_rad),
            camera=_draw_camera(rng, level),
            wrist_shift_m=_somewhere(rng, gap.wrist_m),
            wrist_turn_rad=_somewhere(rng, gap.wrist_rad),
            depth_scale=1.0 + gap.depth_scale * float(rng.uniform(-1.0, 1.0)),
        )

    def servos(self, open_rad: float) -> ServoErrors:
        """Return how the servos misjudge their joints; `open_rad` is the gripper's angle with its jaws open."""
        zero, scale = np.array(self.servo_zero_rad), np.array(self.servo_scale or (1.0,) * len(self.servo_zero_rad))
        if scale[-1] != 1.0:
            zero[-1] = open_rad * (1.0 - scale[-1])
        return ServoErrors(zero, scale)

    def actuator(self, description: ArmDescription) -> ActuatorModel:
        """Return how the servos follow their commands."""
        count = len(description.joint_names)
        return ActuatorModel((SERVO_SPEED_RAD_S,) * count, dead_time_s=self.dead_time_s, backlash_rad=self.backlash_rad)

    def desk_from_camera(self, nominal: Pose) -> Pose:
        """Return where the camera really hangs: shifted and turned about itself."""
        return Pose(nominal.position_m + np.array(self.camera_shift_m), nominal.quat_xyzw) @ Pose.from_rotvec(
            [0.0, 0.0, 0.0], self.camera_turn_rad
        )

    def tool_from_marker(self, nominal: Pose) -> Pose:
        """Return how the gripper's marker was really stuck on: never sunk into what it sticks on."""
        x, y, z = self.marker_shift_m
        turned = Pose.from_rotvec(
            [x, y, abs(z) + GRIPPER.size_m[0] / 2 * math.hypot(*self.marker_turn_rad[:2])], self.marker_turn_rad
        )
        return nominal @ turned


def _draw_camera(rng: np.random.Generator, level: str) -> CameraTruth:
    gap = gap_level(level)
    focal, x_px, y_px, p1, p2, fall_x, fall_y = (float(v) for v in rng.uniform(-1.0, 1.0, 7))
    distortion = (
        *(float(rng.uniform(*between)) for between in (gap.k1, gap.k2)),
        gap.tangential * p1, gap.tangential * p2, 0.0,
    )  # fmt: skip
    gain = float(rng.uniform(*gap.light_gain))
    red, green, blue = (gain * (1.0 + gap.light_tint * float(v)) for v in rng.uniform(-1.0, 1.0, 3))
    return CameraTruth(
        focal=1.0 + gap.focal * focal,
        center_px=(gap.center_px * x_px, gap.center_px * y_px),
        distortion=distortion,
        noise_rgb=float(rng.uniform(*gap.noise_rgb)),
        blur_px=float(rng.uniform(*gap.blur_px)),
        light_rgb=(red, green, blue),
        light_fall=(gap.light_fall * fall_x, gap.light_fall * fall_y),
    )


def _each(rng: np.random.Generator, between: Between, count: int) -> tuple[float, ...]:
    return tuple(float(v) for v in rng.uniform(*between, count))


def _somewhere(rng: np.random.Generator, reach: float) -> Three:
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
