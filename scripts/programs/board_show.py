"""A person who shows a printed board to a camera: where they hold it, one picture after the other."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.board_file import PAPER_MM, Paper
from calibration.board_spec import find_board
from scripts.programs.board_sheet import printed
from urdf.pose import Array, Pose

BOARD = "charuco"
PAPER: Paper = "A4"
_SHRINK = 6  # 600 dots an inch are more than any camera here sees
_NEAR_M, _FAR_M = 0.20, 0.34
_TILT_RAD, _ROLL_RAD = (math.radians(10.0), math.radians(42.0)), math.radians(25.0)


def sheet_print(name: str) -> tuple[NDArray[np.uint8], float]:
    """Return the printed sheet of a standard board (H, W, 3), and its pixels per metre; raises UnknownName."""
    grey, px_per_m = printed(find_board(name), _SHRINK, PAPER)
    return np.repeat(grey[:, :, None], 3, axis=2), px_per_m


def held_poses(count: int, lens: Intrinsics, rng: np.random.Generator) -> list[Pose]:
    """Return `camera_from_sheet` for so many pictures: near and far, tilted to every side, out to the picture's edges.

    `lens` is about the camera's; the sheet's frame has its origin at its top left, x right, y down.
    """
    width_m, height_m = (v / 1000 for v in PAPER_MM[PAPER])
    middle = np.array([width_m / 2, height_m / 2, 0.0])
    poses: list[Pose] = []
    for k in range(count):
        across, down = (k % 4 + 0.5) / 4, (k // 4 % 3 + 0.5) / 3
        pixel = np.array([across * lens.width_px, down * lens.height_px])
        depth_m = float(rng.uniform(_NEAR_M, _FAR_M))
        ray = np.array([(pixel[0] - lens.cx_px) / lens.fx_px, (pixel[1] - lens.cy_px) / lens.fy_px, 1.0])
        aim = 0.75 * ray * depth_m + 0.25 * np.array([0.0, 0.0, depth_m])
        turned = Pose.from_rotvec([0.0, 0.0, 0.0], _tilt(rng)) @ Pose.from_rotvec(
            [0.0, 0.0, 0.0], [0.0, 0.0, float(rng.uniform(-_ROLL_RAD, _ROLL_RAD)) + math.pi / 2 * (k % 2)]
        )
        poses.append(Pose(aim - turned.apply(middle), turned.quat_xyzw))
    return poses


def _tilt(rng: np.random.Generator) -> Array:
    angle, towards = rng.uniform(*_TILT_RAD), rng.uniform(-math.pi, math.pi)
    return float(angle) * np.array([math.cos(towards), math.sin(towards), 0.0])
