"""A real camera's picture as the picture that a policy was trained on: its own field of view, its own pixels."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bridge.observation import CameraView, ImageKind, Part
from bridge.ports import Frame, Intrinsics
from calibration.lens import project_camera
from perception.cloud import depth_of, rays
from perception.errors import ViewTooNarrow
from urdf.description import CameraMount

#: What is outside the camera's picture reads as a hole; training has met holes, but not half a picture of them.
MOST_UNSEEN = 0.25
#: ITU-R BT.601, as the simulator's grey pictures.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def view_intrinsics(mount: CameraMount, view: CameraView) -> Intrinsics:
    """Return the lens that made a policy's pictures in simulation: a pinhole with square pixels."""
    focal_px = view.height_px / 2 / math.tan(mount.fov_y_rad / 2)
    return Intrinsics(
        view.width_px, view.height_px, focal_px, focal_px, (view.width_px - 1) / 2, (view.height_px - 1) / 2
    )


@lru_cache(maxsize=8)
def _sources(wanted: Intrinsics, given: Intrinsics) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return row and column of the given picture for every pixel of the wanted one (h, w), and whether it has one."""
    pixels = np.rint(np.nan_to_num(project_camera(rays(wanted), given), nan=-1.0)).astype(np.int64)
    columns, rows = pixels[..., 0], pixels[..., 1]
    seen = (columns >= 0) & (rows >= 0) & (columns < given.width_px) & (rows < given.height_px)
    return np.where(seen, rows, 0), np.where(seen, columns, 0), seen


def check_view(view: CameraView, mount: CameraMount, given: Intrinsics) -> None:
    """Raise ViewTooNarrow where a camera with this lens cannot show what a view asks for."""
    unseen = 1.0 - float(_sources(view_intrinsics(mount, view), given)[2].mean())
    if unseen > MOST_UNSEEN:
        wide = [math.degrees(2 * math.atan(side / 2 / f)) for side, f in _sides(given)]
        raise ViewTooNarrow(
            f"the policy's camera {view.camera!r} sees {math.degrees(mount.fov_y_rad):.0f} degrees in "
            f"{view.width_px}x{view.height_px} px; this one sees {wide[0]:.0f} x {wide[1]:.0f} degrees, and "
            f"{100 * unseen:.0f} % of the picture would be empty ({100 * MOST_UNSEEN:.0f} % at most): use a wider lens "
            "or mode, or train for this camera (fov_y_deg in arm.toml)"
        )


def _sides(given: Intrinsics) -> tuple[tuple[int, float], tuple[int, float]]:
    return (given.width_px, given.fx_px), (given.height_px, given.fy_px)


def picture_for(frame: Frame, view: CameraView, mount: CameraMount) -> Part:
    """Return a frame as the picture (C, H, W) of a view: float16 metres along the optical axis, or uint8.

    Each pixel takes the value of the one nearest to its ray: depth is not averaged, for between near and far there is
    nothing. What is farther than `mount.far_m` reads as that, as in the simulator; holes stay 0.
    Raises NoDepth where the camera has none, ViewTooNarrow where it does not see what the view does.
    """
    check_view(view, mount, frame.intrinsics)
    rows, columns, seen = _sources(view_intrinsics(mount, view), frame.intrinsics)
    if view.kind is ImageKind.DEPTH:
        depth = np.where(seen, depth_of(frame)[rows, columns], np.float32(0.0))
        return np.minimum(depth, np.float32(mount.far_m)).astype(np.float16)[None]
    rgb = np.where(seen[..., None], frame.rgb[rows, columns], np.uint8(0))
    if view.kind is ImageKind.GRAY:
        return np.rint(rgb.astype(np.float32) @ _LUMA).astype(np.uint8)[None]
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))
