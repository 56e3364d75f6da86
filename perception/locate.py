"""Where the camera is and where the block is, from the markers in one picture. Poses are in the desk frame.

Covariances are (6, 6): the errors x y z [m] of a pose's origin and of a small rotation about its parent's x y z [rad].
What they count is told in docs/perception.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, DESK_BOARD, Target
from calibration.edge_corners import PrintFit
from perception.errors import PoseUncertain, TargetNotSeen
from perception.markers import (
    CORNER_SIGMA_PX,
    Corners,
    PoseEstimate,
    Prior,
    estimate,
    polish,
    refine,
    residual_px,
    slopes,
    solve,
    turn_between,
)
from perception.systematic import EXACT, Systematic, lens_slopes, scale_slopes
from urdf.pose import Array, Pose

#: Markers of the board that a camera pose needs: two hold the planar twin off by their distance.
BOARD_MARKERS_NEEDED = 2
_BELIEVABLE_PX = 3.0
#: A block that stands on the desk is taken for lifted when that explains the corners better by this much (chi
#: squared; a board that lies 1 mm high costs a standing block 15, a lift of 10 mm gains 40).
_LIFTED_GAIN = 30.0
#: A gripped block may tilt with the gripper, but hardly ever by more than twice this.
_TILT_SIGMA_RAD = math.radians(12.0)
_FREE = math.inf
#: How flat a desk is, and how squarely a block stands on it.
_DESK_SIGMA_M, _DESK_SIGMA_RAD = 0.0003, math.radians(0.2)
_NUDGE = 1e-6
_NO_FITS: Mapping[int, PrintFit] = {}


@dataclass(frozen=True, slots=True)
class BlockFix:
    """Where the block is, whether it stands on the desk, which markers said so, how well they agree, how sure it is."""

    desk_from_block: Pose
    standing: bool
    marker_ids: tuple[int, ...]
    residual_px: float
    covariance: Array


@dataclass(frozen=True, slots=True)
class CameraFix:
    """Where the camera is, and how sure that is.

    `covariance` is what the corners leave open. `by_systematic` (6, k + 1): how the camera is found elsewhere where a
    number of the lens, or the scale of the board's print, is another; the same errors meet the block.
    """

    desk_from_camera: Pose
    covariance: Array
    by_systematic: Array

    @staticmethod
    def known(desk_from_camera: Pose, intrinsics: Intrinsics, covariance: Array | None = None) -> CameraFix:
        """Return that of a camera whose place is known from elsewhere, whatever its lens: exactly, or so well."""
        spread = np.zeros((6, 6)) if covariance is None else covariance
        return CameraFix(desk_from_camera, spread, np.zeros((6, 5 + len(intrinsics.distortion))))

    def whole_covariance(self, systematic: Systematic, intrinsics: Intrinsics) -> Array:
        """Return the covariance (6, 6) with what lens and print leave open."""
        unknown = systematic.covariance(1, intrinsics)
        return self.covariance + self.by_systematic @ unknown @ self.by_systematic.T


def _corners(
    target: Target, seen_px: Mapping[int, Array], needed: int, fits: Mapping[int, PrintFit] = _NO_FITS
) -> Corners:
    """Return the corners of a target, from `fits` where there are any; the others are `CORNER_SIGMA_PX` good."""
    best_px = {n: fits[n].corners_px if n in fits else c for n, c in seen_px.items()}
    ids, object_m, image_px = target.matches(best_px)
    if len(ids) < needed:
        raise TargetNotSeen(target.name, target.ids, ids, needed)
    usual = CORNER_SIGMA_PX**2 * np.eye(8)
    return Corners(ids, object_m, image_px, np.stack([fits[n].covariance_px2 if n in fits else usual for n in ids]))


def locate_free(
    seen_px: Mapping[int, Array],
    intrinsics: Intrinsics,
    fits: Mapping[int, PrintFit] = _NO_FITS,
    target: Target = BLOCK,
    expected: Pose | None = None,
    systematic: Systematic = EXACT,
) -> PoseEstimate:
    """Return `camera_from_target` of a thing that may be anywhere, turned as it likes: no desk, no board.

    `expected` is where it was a moment ago. `systematic`: how well lens and print are known, for the covariance.
    Raises TargetNotSeen or PoseUncertain.
    """
    corners = _corners(target, seen_px, 1, fits)
    found = estimate(corners, intrinsics, expected)
    if found is None:
        raise PoseUncertain(f"marker {corners.ids} of the {target.name}: no pose in front of the camera explains it")
    _believe(corners, found.camera_from_target, intrinsics, target)
    if systematic.is_exact:
        return found
    pose = found.camera_from_target
    weights = np.linalg.inv(corners.whole_covariance())
    moved = slopes(corners, intrinsics, lambda offset: _moved(pose, offset), np.zeros(6))
    gain = np.linalg.solve(moved.T @ weights @ moved, moved.T @ weights)
    by_systematic = gain @ _systematic_slopes(corners, pose, intrinsics)
    more = by_systematic @ systematic.covariance(1, intrinsics) @ by_systematic.T
    return replace(found, covariance=found.covariance + more)


def locate_camera(
    seen_px: Mapping[int, Array], intrinsics: Intrinsics, desk_from_board: Pose, board: Target = DESK_BOARD
) -> Pose:
    """Return `desk_from_camera`; raises TargetNotSeen or PoseUncertain."""
    return fix_camera(seen_px, intrinsics, desk_from_board, board).desk_from_camera


def fix_camera(
    seen_px: Mapping[int, Array], intrinsics: Intrinsics, desk_from_board: Pose, board: Target = DESK_BOARD
) -> CameraFix:
    """Return where the camera is, and how sure that is, by a `board` as it was printed.

    Raises TargetNotSeen or PoseUncertain.
    """
    corners = _corners(board, seen_px, BOARD_MARKERS_NEEDED)
    poses = [fit.camera_from_target for fit in solve(corners, intrinsics)]
    above = [pose for pose in poses if (desk_from_board @ pose.inverse()).position_m[2] > 0]
    if not above:
        raise PoseUncertain("the markers of the desk board explain no camera above the desk; is a copy of it around?")
    camera_from_board = polish(corners, intrinsics, above[0])
    _believe(corners, camera_from_board, intrinsics, board)
    desk_from_camera = desk_from_board @ camera_from_board.inverse()

    def seen_from(offset: Array) -> Pose:
        return _moved(desk_from_camera, offset).inverse() @ desk_from_board

    spread = np.linalg.pinv(slopes(corners, intrinsics, seen_from, np.zeros(6)))
    by_systematic = spread @ _systematic_slopes(corners, camera_from_board, intrinsics)
    return CameraFix(desk_from_camera, spread @ corners.whole_covariance() @ spread.T, by_systematic)


def _systematic_slopes(corners: Corners, camera_from_target: Pose, intrinsics: Intrinsics) -> Array:
    """Return how the corners' pixels (2 n, k + 1) move with the numbers of the lens and the scale of the print."""
    pose, points_m = camera_from_target, corners.object_m
    return np.hstack([lens_slopes(points_m, pose, intrinsics), scale_slopes(points_m, pose, intrinsics)])


def _moved(pose: Pose, offset: Array) -> Pose:
    """Return the pose shifted by offset[:3] and turned by offset[3:], both along its parent's axes."""
    turn = Pose.from_rotvec(np.zeros(3), offset[3:]) @ Pose(np.zeros(3), pose.quat_xyzw)
    return Pose(pose.position_m + offset[:3], turn.quat_xyzw)


def locate_block(
    seen_px: Mapping[int, Array],
    intrinsics: Intrinsics,
    camera: CameraFix,
    fits: Mapping[int, PrintFit] = _NO_FITS,
    target: Target = BLOCK,
    systematic: Systematic = EXACT,
) -> BlockFix:
    """Return where the block is; raises TargetNotSeen or PoseUncertain.

    All corners of all its markers count together. Upright on the desk it has three degrees of freedom, which is what
    one small marker can tell; only corners that contradict this are taken for a lifted, perhaps tilted block.
    How surely the camera is where it is said to be counts for the block, and so does `systematic`, how well lens and
    prints are known.
    """
    corners = _corners(target, seen_px, 1, fits)
    desk_from_camera = camera.desk_from_camera
    height_m = target.size_m[2] / 2
    camera_from_desk = desk_from_camera.inverse()
    twins = [desk_from_camera @ fit.camera_from_target for fit in solve(corners, intrinsics)]
    if not twins:
        raise PoseUncertain(f"marker {corners.ids} of the block: no pose in front of the camera explains its corners")

    def best_of(fit: _Fitting) -> _Found:
        fits = [fit(corners, intrinsics, camera_from_desk, twin, height_m) for twin in twins]
        return min(fits, key=lambda found: found.cost)

    found = best_of(_fit_standing)
    # No lift can gain more than there is to gain, and most blocks stand: half the work is left out.
    lifted = found if found.cost < _LIFTED_GAIN else best_of(_fit_lifted)
    stands = found.cost - lifted.cost < _LIFTED_GAIN
    found = found if stands else lifted
    residual = _believe(corners, camera_from_desk @ found.pose, intrinsics, target)
    covariance = _spread(found, corners, intrinsics, camera, systematic)
    return BlockFix(found.pose, stands, corners.ids, residual, covariance)


@dataclass(frozen=True, slots=True)
class _Found:
    """Where a fit ended: `place(values)` is `desk_from_block`; what was known of the values before; the cost."""

    place: Callable[[Array], Pose]
    values: Array
    prior: Prior | None
    cost: float

    @property
    def pose(self) -> Pose:
        return self.place(self.values)


_Fitting = Callable[[Corners, Intrinsics, Pose, Pose, float], _Found]


def _fit_standing(
    corners: Corners, intrinsics: Intrinsics, camera_from_desk: Pose, start: Pose, height_m: float
) -> _Found:
    def place(values: Array) -> Pose:
        return Pose.from_rpy([values[0], values[1], height_m], [0.0, 0.0, values[2]])

    first = np.array([*start.position_m[:2], start.yaw_rad])
    best, cost = refine(corners, intrinsics, lambda v: camera_from_desk @ place(v), first)
    return _Found(place, best, None, cost)


def _fit_lifted(
    corners: Corners, intrinsics: Intrinsics, camera_from_desk: Pose, start: Pose, height_m: float
) -> _Found:
    """Fit all six degrees of freedom, upright being likelier: this decides between the twins of a single marker."""

    def place(values: Array) -> Pose:
        tilt = Pose.from_rotvec(values[:3], [values[3], values[4], 0.0])
        return tilt @ Pose.from_rpy([0.0, 0.0, 0.0], [0.0, 0.0, values[5]])

    # Split the rotation: what turns z to where it points is the tilt, the rest is the yaw.
    up = start.rotation[:, 2]
    axis = np.array([-up[1], up[0], 0.0])
    angle, length = math.acos(float(np.clip(up[2], -1.0, 1.0))), float(np.linalg.norm(axis))
    tilt = axis * (angle / length) if length > 1e-9 else np.zeros(3)
    yaw = (Pose.from_rotvec([0.0, 0.0, 0.0], tilt).inverse() @ start).yaw_rad
    first = np.array([*start.position_m, tilt[0], tilt[1], yaw])
    prior = Prior(np.zeros(6), np.array([_FREE, _FREE, _FREE, _TILT_SIGMA_RAD, _TILT_SIGMA_RAD, _FREE]))
    best, cost = refine(corners, intrinsics, lambda v: camera_from_desk @ place(v), first, prior)
    return _Found(place, best, prior, cost)


def _spread(
    found: _Found, corners: Corners, intrinsics: Intrinsics, camera: CameraFix, systematic: Systematic
) -> Array:
    """Return the covariance of a fit: what corners, camera, prior, desk, lens and prints leave open."""
    desk_from_camera = camera.desk_from_camera
    camera_from_desk = desk_from_camera.inverse()
    by_values = slopes(corners, intrinsics, lambda v: camera_from_desk @ found.place(v), found.values)
    by_camera = slopes(
        corners, intrinsics, lambda offset: _moved(desk_from_camera, offset).inverse() @ found.pose, np.zeros(6)
    )
    pixels = corners.whole_covariance() + by_camera @ camera.covariance @ by_camera.T
    if not systematic.is_exact:
        # The lens, the board's print, the block's print. A wrong lens puts the camera elsewhere too: what that does to
        # the block goes against what the lens does to the block's own corners, and much of it cancels.
        own = _systematic_slopes(corners, camera_from_desk @ found.pose, intrinsics)
        through = by_camera @ camera.by_systematic
        both = np.hstack([own[:, :-1] - through[:, :-1], -through[:, -1:], own[:, -1:]])
        pixels = pixels + both @ systematic.covariance(2, intrinsics) @ both.T
    certain = np.zeros(len(found.values)) if found.prior is None else found.prior.sigma**-2
    inverse = np.linalg.inv(by_values.T @ by_values / CORNER_SIGMA_PX**2 + np.diag(certain))
    gain = inverse @ by_values.T / CORNER_SIGMA_PX**2
    values = gain @ pixels @ gain.T + inverse @ np.diag(certain) @ inverse
    return _by_pose(found, values)


def _by_pose(found: _Found, values: Array) -> Array:
    """Return the covariance (6, 6) of a fit's pose, `values` being that of its parameters."""
    pose = found.pose
    moves = np.stack(
        [
            np.concatenate([there.position_m - pose.position_m, turn_between(pose, there)]) / _NUDGE
            for there in (found.place(found.values + n) for n in _NUDGE * np.eye(len(found.values)))
        ],
        axis=1,
    )
    flat = np.diag([0.0, 0.0, _DESK_SIGMA_M**2, _DESK_SIGMA_RAD**2, _DESK_SIGMA_RAD**2, 0.0])
    return moves @ values @ moves.T + (flat if found.prior is None else 0.0)


def _believe(corners: Corners, camera_from_target: Pose, intrinsics: Intrinsics, target: Target) -> float:
    residual = residual_px(corners, camera_from_target, intrinsics)
    if residual > _BELIEVABLE_PX:
        raise PoseUncertain(
            f"the best pose of the {target.name} leaves {residual:.1f} px (at most {_BELIEVABLE_PX} px are believed); "
            "check its printed size and that it is flat"
        )
    return residual
