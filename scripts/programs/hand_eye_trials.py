"""Made-up hand-eye calibrations with a known answer: an arm, a camera, a board of dots, and noise of both.

What FIELD measurements of such arms were made with: a Dofbot's own chain, a camera in the hand, a 6 x 4 board of 20 mm
at about 0.2 m, corners off by 0.3 px, joints read in counts or in whole degrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.ports import Intrinsics
from calibration.hand_eye_sample import HandEyeSample, Mount, mount_from_carrier
from calibration.lens import project
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

#: The kit's own camera is a wide one.
INTRINSICS = Intrinsics(640, 480, 350.0, 350.0, 319.5, 239.5)
BOARD_M = np.array(
    [[0.02 * x, 0.02 * y, 0.0] for y in (-1.5, -0.5, 0.5, 1.5) for x in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)]
)
_EDGE_PX = 8.0
#: Where a bracket holds camera or board, from the grip point; how far below the camera the board lies, and how far
#: before the board the camera stands.
_BRACKET_M, _HEIGHT_M, _AWAY_M = np.array([0.0, 0.045, -0.060]), 0.20, 0.28
_NEAR_M, _FAR_M = 0.12, 0.32
_STEEP = math.cos(math.radians(60.0))

Reading = Callable[[Array], Array]


def read_counts(joints_rad: Array) -> Array:
    """Return joints as a servo's counts tell them: to the nearest 180/2200 of a degree."""
    step_rad = math.radians(180 / 2200)
    return np.round(joints_rad / step_rad) * step_rad


def read_degrees(joints_rad: Array) -> Array:
    """Return joints as a library tells them that cuts off below the whole degree, half a degree put back."""
    return np.radians(np.floor(np.degrees(joints_rad)) + 0.5)


@dataclass(frozen=True, slots=True)
class Trial:
    """One made-up calibration: its samples and the truth. `joints_rad` are where the arm really stood."""

    mount: Mount
    samples: tuple[HandEyeSample, ...]
    camera: Pose
    board: Pose
    joints_rad: Array

    def errors(self, camera: Pose) -> tuple[float, float]:
        """Return how far off a camera is: millimetres and degrees."""
        apart = self.camera.inverse() @ camera
        way_mm = 1000 * float(np.linalg.norm(camera.position_m - self.camera.position_m))
        return way_mm, math.degrees(float(np.linalg.norm(apart.rotvec_rad())))


@dataclass(frozen=True, slots=True)
class TrialMaker:
    """Draws trials. The camera is up to 10 mm and 6 degrees about each axis from its bracket."""

    description: ArmDescription
    reading: Reading = read_counts
    pixel_px: float = 0.3
    mount: Mount = Mount.EYE_IN_HAND
    range_rad: float = math.radians(16.0)

    @property
    def home_rad(self) -> Array:
        """The Dofbot's joints (n,) with the camera above the board, looking straight down at it."""
        return np.radians([0.0, 10.0, -55.0, -75.0, 0.0])

    def draw(self, count: int, rng: np.random.Generator) -> Trial:
        """Return a trial of `count` random poses in which the whole board is seen."""
        camera, board = self._truth(rng)
        joints = np.array([self._pose(camera, board, rng) for _ in range(count)])
        return self.seen_from(joints, camera, board, rng)

    def seen_from(self, joints_rad: Array, camera: Pose, board: Pose, rng: np.random.Generator) -> Trial:
        """Return the trial of an arm that stood at `joints_rad` (samples, n)."""
        samples: list[HandEyeSample] = []
        for k, joints in enumerate(joints_rad):
            pixels = project(BOARD_M, self._camera_from_board(joints, camera, board), INTRINSICS)
            noisy = pixels + rng.normal(0.0, self.pixel_px, pixels.shape)
            samples.append(HandEyeSample(f"{k + 1:02d}", self.reading(joints), BOARD_M, noisy))
        return Trial(self.mount, tuple(samples), camera, board, joints_rad)

    def _truth(self, rng: np.random.Generator) -> tuple[Pose, Pose]:
        off = Pose.from_rotvec(rng.uniform(-0.01, 0.01, 3), rng.uniform(-0.1, 0.1, 3))
        if self.mount is Mount.EYE_IN_HAND:
            tool = self.description.base_from_tool(self.home_rad)
            eye = Pose.from_rpy(tool.apply([_BRACKET_M])[0], [math.pi, 0.0, 0.0])
            board = Pose.from_rpy(eye.position_m - [0.0, 0.0, _HEIGHT_M], [0.0, 0.0, rng.uniform(-math.pi, math.pi)])
            return tool.inverse() @ eye @ off, board
        board = Pose.from_rpy(_BRACKET_M, [-math.pi / 2, 0.0, 0.0]) @ off
        opposite = Pose.from_rpy([0.0, 0.0, _AWAY_M], [math.pi, 0.0, 0.0])
        return self.description.base_from_tool(self.home_rad) @ board @ opposite, board

    def _pose(self, camera: Pose, board: Pose, rng: np.random.Generator) -> Array:
        """Return a pose near home, as far from it as people dare, from which the whole board is seen."""
        count = self.description.arm_joint_count
        lower = self.description.lower_rad[:count] + self.description.margin_rad
        upper = self.description.upper_rad[:count] - self.description.margin_rad
        while True:
            joints = self.home_rad + rng.uniform(-self.range_rad, self.range_rad, count)
            inside = bool((joints > lower).all() and (joints < upper).all())
            if inside and self._sees(self._camera_from_board(joints, camera, board)):
                return joints

    def _camera_from_board(self, joints_rad: Array, camera: Pose, board: Pose) -> Pose:
        return camera.inverse() @ mount_from_carrier(self.description.base_from_tool(joints_rad), self.mount) @ board

    def _sees(self, camera_from_board: Pose) -> bool:
        distance_m = float(np.linalg.norm(camera_from_board.position_m))
        near, far = (_NEAR_M, _FAR_M) if self.mount is Mount.EYE_IN_HAND else (0.15, 0.6)
        if not near < distance_m < far:
            return False
        facing = -float(camera_from_board.rotation[:, 2] @ camera_from_board.position_m) / distance_m
        if facing < _STEEP:
            return False
        pixels = project(BOARD_M, camera_from_board, INTRINSICS)
        size = np.array([INTRINSICS.width_px, INTRINSICS.height_px])
        return bool(np.isfinite(pixels).all() and (pixels > _EDGE_PX).all() and (pixels < size - _EDGE_PX).all())
