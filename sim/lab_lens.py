"""What a real camera does to a picture: lens, light, blur and grain. Rendering is done through a perfect pinhole."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.lens import undistort
from sim.lab_truth import CameraTruth

Image = NDArray[np.uint8]

_ALONG_EDGE = 33


class LabLens:
    """Takes a picture of `pinhole`, a wider camera without distortion, to what `truth` makes of it."""

    def __init__(self, nominal: Intrinsics, truth: CameraTruth) -> None:
        self.real = truth.intrinsics(nominal)
        self._truth = truth
        self._maps: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self.pinhole = self.real
        if any(truth.distortion):
            margin = self._margin_px()
            self.pinhole = dataclasses.replace(
                self.real,
                width_px=self.real.width_px + 2 * margin,
                height_px=self.real.height_px + 2 * margin,
                cx_px=self.real.cx_px + margin,
                cy_px=self.real.cy_px + margin,
                distortion=(0.0,) * 5,
            )
            self._maps = self._through()
        self._light = self._light_map()

    def expose(self, picture: Image) -> Image:
        """Return the picture (H, W, 3) that comes out of the camera, without grain."""
        if self._maps is not None:
            # Cubic: a linear lookup would blur by up to half a pixel, and differently from place to place.
            picture = np.asarray(cv2.remap(picture, *self._maps, cv2.INTER_CUBIC), dtype=np.uint8)
        if self._truth.blur_px > 0:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self._truth.blur_px), dtype=np.uint8)
        if self._light is not None:
            picture = np.clip(picture * self._light, 0, 255).astype(np.uint8)
        return picture

    def _margin_px(self) -> int:
        """Return how far the straight rays of the picture's edge reach beyond it."""
        c = self.real
        u, v = np.linspace(0, c.width_px - 1, _ALONG_EDGE), np.linspace(0, c.height_px - 1, _ALONG_EDGE)
        edge = [np.column_stack([u, np.full_like(u, y)]) for y in (0, c.height_px - 1)]
        edge += [np.column_stack([np.full_like(v, x), v]) for x in (0, c.width_px - 1)]
        straight = self._straight_px(np.concatenate(edge))
        beyond = np.maximum(-straight, straight - (c.width_px - 1, c.height_px - 1))
        return max(0, math.ceil(float(np.nanmax(beyond))) + 2)

    def _straight_px(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        c = self.real
        return undistort(pixels, c) * (c.fx_px, c.fy_px) + (c.cx_px, c.cy_px)

    def _through(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        c, offset = self.real, (self.pinhole.cx_px - self.real.cx_px)
        grid = np.stack(np.meshgrid(np.arange(c.width_px), np.arange(c.height_px)), axis=-1).astype(np.float64)
        straight = (self._straight_px(grid.reshape(-1, 2)) + offset).reshape(grid.shape).astype(np.float32)
        return np.ascontiguousarray(straight[..., 0]), np.ascontiguousarray(straight[..., 1])

    def _light_map(self) -> NDArray[np.float32] | None:
        truth, c = self._truth, self.real
        if truth.light_rgb == (1.0, 1.0, 1.0) and truth.light_fall == (0.0, 0.0):
            return None
        x = np.linspace(-0.5, 0.5, c.width_px)[None, :, None]
        y = np.linspace(-0.5, 0.5, c.height_px)[:, None, None]
        fall = 1.0 + truth.light_fall[0] * x + truth.light_fall[1] * y
        return np.asarray(fall * np.array(truth.light_rgb), dtype=np.float32)
