"""A camera in the hand of the lab's arm, a printed board on its desk: pictures through a known lens, truth known."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import StaleFrame
from bridge.ports import Frame, Intrinsics
from calibration.board_file import PAPER_MM
from scripts.programs.board_show import PAPER, sheet_print
from scripts.programs.quick_lab import QuickLab
from urdf.pose import Pose

LENS = Intrinsics(640, 480, 420.0, 420.0, 321.0, 238.0)
_FINER = 2
_PERIOD_NS = 100_000_000


class HandCamera:
    """A Camera on the tool of a lab's arm. The printed sheet lies flat, its middle at a place of the base frame."""

    def __init__(self, lab: QuickLab, tool_from_camera: Pose, base_from_sheet: Pose, seed: int = 0) -> None:
        self._lab, self._tool_from_camera, self._base_from_sheet = lab, tool_from_camera, base_from_sheet
        self._print, self._px_per_m = sheet_print("charuco")
        self._rng = np.random.default_rng(seed)
        #: How far the picture is smeared sideways: a hand that trembles.
        self.smear_px = 0

    def read(self, max_age_s: float) -> Frame:
        """Return the picture of now; a new one every tenth of a second."""
        seq = self._lab.clock.now_ns() // _PERIOD_NS
        if max_age_s <= 0:
            raise StaleFrame("no picture is that new")
        return Frame("hand", seq, seq * _PERIOD_NS, self._picture(), LENS)

    def close(self) -> None:
        """There is nothing to release."""

    def _picture(self) -> NDArray[np.uint8]:
        """Return what the camera sees of the sheet: drawn finer, averaged, with a sensor's noise."""
        angles, _ = self._lab.world.scene()
        joints = [angles[name] for name in self._lab.description.joint_names[:-1]]
        camera = self._lab.description.base_from_tool(joints) @ self._tool_from_camera
        seen = (camera.inverse() @ self._base_from_sheet).as_matrix()
        width_m, height_m = (v / 1000 for v in PAPER_MM[PAPER])
        # Sheet pixels to the sheet's frame: its middle, x right, y up.
        scale = 1 / self._px_per_m
        to_sheet = np.array([[scale, 0, -width_m / 2 + scale / 2], [0, -scale, height_m / 2 - scale / 2], [0, 0, 1.0]])
        finer = np.array([[_FINER, 0, (_FINER - 1) / 2], [0, _FINER, (_FINER - 1) / 2], [0, 0, 1.0]])
        through = finer @ LENS.matrix() @ seen[:3, [0, 1, 3]] @ to_sheet
        size = (LENS.width_px * _FINER, LENS.height_px * _FINER)
        desk = cv2.warpPerspective(
            self._print,
            through,
            size,
            flags=cv2.INTER_AREA,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(150, 160, 170),
        )
        picture = cv2.resize(desk, (LENS.width_px, LENS.height_px), interpolation=cv2.INTER_AREA).astype(np.float64)
        if self.smear_px:
            picture = cv2.blur(picture, (self.smear_px, 1))
        noisy = cv2.GaussianBlur(picture, (0, 0), 0.6) + self._rng.normal(0.0, 2.0, picture.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)


def looking_down(lab: QuickLab, start_rad: NDArray[np.float64], height_m: float) -> tuple[Pose, Pose]:
    """Return tool_from_camera and base_from_sheet: at the start the camera looks down at the sheet from a height."""
    tool = lab.description.base_from_tool(start_rad)
    eye = Pose.from_rpy(tool.apply([[0.0, 0.045, -0.060]])[0], [math.pi, 0.0, 0.0])
    sheet = Pose.from_rpy([*eye.position_m[:2], eye.position_m[2] - height_m], [0.0, 0.0, 0.3])
    off = Pose.from_rotvec([0.004, -0.006, 0.003], [0.05, -0.04, 0.08])
    return tool.inverse() @ eye @ off, sheet
