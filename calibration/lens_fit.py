"""A lens from views of a board: where to begin, and what is fitted after what."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bridge.ports import LENS_MODELS, Intrinsics
from calibration.errors import WeakViews
from calibration.flat_view import facing_pose, homography, pose_of
from calibration.lens import undistort
from calibration.lens_solver import LensFit, LensPoses, LensSolver, View, intrinsics_of, values_of
from urdf.pose import Array, Pose

#: Focal lengths tried at the start, in widths of the picture: fields of view from 127 down to 10 degrees across.
_FOCAL_WIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)
#: So many of the views are enough to choose among them.
_START_VIEWS = 6


def fit_lens(views: Sequence[View], size_px: tuple[int, int], model: str, start: LensFit | None = None) -> LensFit:
    """Return the camera of a lens model that fits the views best; views of at least four points each.

    Raises WeakViews where no camera explains them.
    """
    if start is None:
        camera, poses = _start(views, size_px, model)
    else:
        camera, poses = values_of(start.intrinsics), LensPoses.of(start.camera_from_board)
    solver = LensSolver(views, size_px, model)
    count = LENS_MODELS[model]
    if start is None:
        # One focal length's worth of freedom first: all at once, a far start may fold a strong lens over.
        first = np.zeros(4 + count, dtype=bool)
        first[[0, 1, 4]] = True
        camera, poses = solver.solve(camera, poses, first)
    camera, poses = solver.solve(camera, poses, np.ones(4 + count, dtype=bool))
    return solver.result(camera, poses)


def fit_poses(views: Sequence[View], intrinsics: Intrinsics) -> LensFit:
    """Return the pose of the board in each view for a known camera: what it leaves is the error on held-out views."""
    solver = LensSolver(views, (intrinsics.width_px, intrinsics.height_px), intrinsics.model)
    camera = values_of(intrinsics)
    poses = LensPoses.of([_flat_pose(view, intrinsics) for view in views])
    camera, poses = solver.solve(camera, poses, np.zeros(len(camera), dtype=bool))
    return solver.result(camera, poses)


def lens_of_one_view(view: View, size_px: tuple[int, int]) -> Intrinsics | None:
    """Return a lens under which the points of one view lie flat: enough to straighten what is printed between them.

    It is no measured camera: a flat board tells how a lens bends, and hardly what its focal length is. None where the
    points explain no such lens.
    """
    focal = float(size_px[0])
    camera = np.array([focal, focal, (size_px[0] - 1) / 2, (size_px[1] - 1) / 2, *(0.0,) * LENS_MODELS["pinhole"]])
    free = np.zeros(len(camera), dtype=bool)
    free[[0, 1, 4, 5]] = True
    try:
        poses = LensPoses.of([_flat_pose(view, intrinsics_of(camera, size_px, "pinhole"))])
        solver = LensSolver([view], size_px, "pinhole")
        camera, _ = solver.solve(camera, poses, free)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return intrinsics_of(camera, size_px, "pinhole") if np.isfinite(camera).all() else None


def _start(views: Sequence[View], size_px: tuple[int, int], model: str) -> tuple[Array, LensPoses]:
    """Try focal lengths without distortion and keep the one whose flat poses explain the views best."""
    best: tuple[float, Intrinsics] | None = None
    every = max(1, len(views) // _START_VIEWS)
    few = views[::every][:_START_VIEWS]
    for share in _FOCAL_WIDTHS:
        focal = share * size_px[0]
        camera = np.array([focal, focal, (size_px[0] - 1) / 2, (size_px[1] - 1) / 2, *(0.0,) * LENS_MODELS[model]])
        guess = intrinsics_of(camera, size_px, model)
        try:
            error = fit_poses(few, guess).rms_px
        except (ValueError, np.linalg.LinAlgError):
            continue  # this wide a field of view cannot have seen them
        if math.isfinite(error) and (best is None or error < best[0]):
            best = error, guess
    if best is None:
        raise WeakViews("no focal length explains the views: is every one of them a picture of this board?")
    return values_of(best[1]), LensPoses.of(fit_poses(views, best[1]).camera_from_board)


def _flat_pose(view: View, intrinsics: Intrinsics) -> Pose:
    rays = undistort(view.image_px, intrinsics)
    seen = np.isfinite(rays).all(axis=1)
    if seen.sum() < 4:
        raise ValueError(f"{view.name}: no ray of this lens reaches its points")
    flat = view.object_m[seen, :2]
    pose = pose_of(homography(flat, rays[seen]))
    # An unknown strong lens can bend a near board so that its own perspective seems to turn it through the camera.
    return pose if pose.apply(view.object_m)[:, 2].min() > 0 else facing_pose(flat, rays[seen])
