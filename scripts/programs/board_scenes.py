"""Pictures of a printed board through a lens, its place known exactly: every sub-pixel's ray meets the paper.

For tests, benches and the pictures of the documentation; what is measured is the whole way from pixels to numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.board_file import PAPER_MM, Paper
from calibration.board_spec import Board
from calibration.boards import Image
from calibration.lens import undistort
from scripts.programs.board_sheet import printed
from urdf.pose import Pose

_SHRINK = 3  # of 600 dots an inch
_FINER = 3
_PAPER: Paper = "A4"
_WHITE, _BLACK = 222.0, 26.0


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture comes out: blur of the lens and of motion [px], noise of the sensor [grey levels]."""

    blur_px: float = 0.6
    motion_px: tuple[float, float] = (0.0, 0.0)
    noise: float = 2.0


def board_picture(
    board: Board, lens: Intrinsics, camera_from_board: Pose, rng: np.random.Generator, look: Look | None = None
) -> Image:
    """Return the picture (H, W, 3) of an upright sheet with the board, on a dim cluttered background."""
    look = look or Look()
    texture, middle_px, px_per_m = _print_of(board)
    h, w = lens.height_px, lens.width_px
    rays = _rays(lens)
    finer = cv2.resize(rays, (w * _FINER, h * _FINER), interpolation=cv2.INTER_LINEAR)
    board_from_camera = camera_from_board.inverse()
    turn, origin = board_from_camera.rotation, board_from_camera.position_m
    direction = finer.reshape(-1, 2) @ turn[:, :2].T + turn[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = -origin[2] / direction[:, 2]
    hit = origin + along[:, None] * direction
    meets = np.isfinite(hit).all(axis=1) & (along > 0)
    x = np.where(meets, middle_px[0] + hit[:, 0] * px_per_m, -1.0).reshape(h * _FINER, w * _FINER).astype(np.float32)
    y = np.where(meets, middle_px[1] - hit[:, 1] * px_per_m, -1.0).reshape(h * _FINER, w * _FINER).astype(np.float32)
    ink = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=-1.0)
    on_paper = (x >= 0) & (y >= 0) & (x <= texture.shape[1] - 1) & (y <= texture.shape[0] - 1)
    fine = np.where(on_paper, _BLACK + (_WHITE - _BLACK) * ink, _clutter(h * _FINER, w * _FINER, rng)).astype(
        np.float32
    )
    soft = np.asarray(cv2.GaussianBlur(fine, (0, 0), max(0.1, look.blur_px * _FINER)), dtype=np.float32)
    fine = _moved(soft, look.motion_px)
    picture = cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA)
    shade = np.linspace(rng.uniform(0.8, 1.0), rng.uniform(0.8, 1.0), w)[None, :]
    noisy = picture * shade + look.noise * rng.standard_normal((h, w))
    return np.repeat(np.clip(np.rint(noisy), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@cache
def _print_of(board: Board) -> tuple[NDArray[np.float32], tuple[float, float], float]:
    """Return the sheet (0 black, 1 white), where the board's middle is on it [px], and pixels per metre."""
    grey, px_per_m = printed(board, _SHRINK, _PAPER)
    page, per_mm = grey.astype(np.float32) / np.float32(255), px_per_m / 1000
    width_mm, height_mm = PAPER_MM[_PAPER]
    # The foot of the sheet holds its rulers; pixel centres are whole.
    return page, (width_mm / 2 * per_mm - 0.5, (height_mm - 24.0) / 2 * per_mm - 0.5), px_per_m


@cache
def _rays(lens: Intrinsics) -> NDArray[np.float32]:
    u, v = np.meshgrid(np.arange(lens.width_px), np.arange(lens.height_px))
    rays = undistort(np.stack([u.ravel(), v.ravel()], axis=1).astype(np.float64), lens)
    return np.asarray(rays.reshape(lens.height_px, lens.width_px, 2), dtype=np.float32)


def _clutter(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    coarse = rng.uniform(55, 120, (9, 12)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _moved(fine: NDArray[np.float32], motion_px: tuple[float, float]) -> NDArray[np.float32]:
    steps = int(np.ceil(_FINER * np.hypot(*motion_px)))
    if steps < 2:
        return fine
    blurred = np.zeros_like(fine)
    for share in np.linspace(-0.5, 0.5, steps):
        shift = np.array(
            [[1, 0, share * motion_px[0] * _FINER], [0, 1, share * motion_px[1] * _FINER]], dtype=np.float32
        )
        blurred += cv2.warpAffine(fine, shift, fine.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    return blurred / np.float32(steps)
