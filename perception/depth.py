"""Where the block is, from one depth picture: the desk taken away, the arm masked, a cube fitted to what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.ports import Intrinsics
from calibration.boards import BLOCK_SIZE_M
from perception.cloud import check_depth, rays
from perception.cuboid import CuboidFit, Evidence, fit_cuboid, misfit, misplaced, pose_of
from perception.errors import NothingStandsOut, NotTheBlock, TooLittleSeen
from perception.plane import DeskFix, find_desk
from urdf.pose import Array, Pose

#: Lower than this is the desk, whatever the noise.
_LOWEST_M, _HIGHEST_THRESHOLD_M = 0.0025, 0.008
#: Pixels of a block that say where it is: it stands out by a few in any picture that is of use.
FEWEST_PIXELS = 12
#: Beside a block so many pixels around it are looked at as well.
_AROUND_PX = 5
_MOST_CANDIDATES = 4
#: Mean cost per pixel of a fit. Blocks reach 0.5 in the noise of a good camera and 2 in that of a bad one, a cube of
#: 22 mm taken for one of 30 has 1.3, one of 45 mm 1.7: what is doubtful must be explained better by its own size than
#: by these, and have few pixels, in shares of those that stand out, far on the wrong side of its outline.
_DOUBTFUL_COST, _MOST_MISPLACED = 0.7, 0.2
_OTHER_SIZES = (0.8, 1.25)
#: Fits that are better than this need no other start.
_GOOD_COST = 0.45
#: A block in the jaws is higher than one that stands by at least this.
_LIFTED_M = 0.006
#: Depth noise grows with distance squared; 0.004 per metre is a D435 at its best resolution, FIELD 3.1.
_NOISE_PER_M, _SURFACE_FLOOR_M = 0.004, 0.0006
#: Of larger pictures every second, third... row and column is looked at, so that this many are left: 20 ms of work.
_ENOUGH_ROWS = 100
#: What pixels cannot tell: blocks differ by 3 % in size, of which one sees only the near side, and edges of stereo
#: pictures are ragged. With it, 3 % of the errors of the bench lie beyond two standard deviations.
_UNKNOWN_M, _UNKNOWN_RAD = 0.00025, math.radians(0.2)
_UPRIGHT = (0.0, 0.0)
_STARTS_RAD = tuple(math.radians(angle) for angle in range(0, 90, 15))


@dataclass(frozen=True, slots=True)
class DepthFix:
    """Where the block is in the desk frame, and what said so.

    covariance (6, 6): of the errors x y z [m] and of a small rotation [rad], in the desk frame, of the picture alone,
    the camera being where it was said to be. standing: it stands on the desk, else it is held above it. pixels: of
    the block. cost: how badly the fit explains them, per pixel.
    """

    desk_from_block: Pose
    covariance: Array
    standing: bool
    pixels: int
    cost: float
    desk: DeskFix
    block_mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Scene:
    """A depth picture in the desk frame."""

    depth: NDArray[np.float32]
    lines: Array
    points_m: Array
    usable: NDArray[np.bool_]
    threshold_m: float
    desk: DeskFix
    focal_px: float


def locate_in_depth(
    depth_m: NDArray[np.floating],
    intrinsics: Intrinsics,
    desk_from_camera: Pose,
    arm_mask: NDArray[np.bool_] | None = None,
    size_m: float = BLOCK_SIZE_M,
    far_m: float = 1.5,
) -> DepthFix:
    """Return where a cube of `size_m` is in a depth picture (H, W) [m]; 0 and what is not finite are holes.

    `desk_from_camera` is where kinematics and mounting put the camera: its height and tilt are taken from the desk in
    the picture instead. `arm_mask` (H, W): pixels that show the arm. The yaw is that of the face nearest to the x axis.
    Raises NoDepth, DeskNotSeen, NothingStandsOut, TooLittleSeen or NotTheBlock.
    """
    scene = _scene(check_depth(depth_m, intrinsics), intrinsics, desk_from_camera, arm_mask, far_m)
    raised = scene.usable & (scene.points_m[..., 2] > scene.threshold_m)
    fit, standing, mask = _best(scene, raised, size_m)
    _believe(scene, raised, mask, fit, standing, size_m)
    values = fit.values.copy()
    values[3] = (values[3] + math.pi / 4) % (math.pi / 2) - math.pi / 4
    pose = pose_of(values)
    shown = _of_size(mask, depth_m.shape)
    return DepthFix(pose, _whole(fit, standing, scene.desk), standing, int(mask.sum()), fit.cost, scene.desk, shown)


def _best(scene: _Scene, raised: NDArray[np.bool_], size_m: float) -> tuple[CuboidFit, bool, NDArray[np.bool_]]:
    """Return the fit to the largest thing that is a block beyond doubt, or else the best of all; its pixels (H, W).

    A speck of a dozen pixels fits a corner of a block as well as anything: what is larger tells more.
    """
    found: list[tuple[CuboidFit, bool, NDArray[np.bool_]]] = []
    for mask in _candidates(raised):
        found += [(fit, standing, mask) for fit, standing in _fits(scene, raised, mask, size_m)]
        best = min(found, key=lambda one: one[0].cost)
        if best[0].cost < _DOUBTFUL_COST:
            return best
    return min(found, key=lambda one: one[0].cost)


def _of_size(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of some of the rows and columns as one of all of them."""
    stride = -(-shape[0] // mask.shape[0])
    return mask.repeat(stride, axis=0).repeat(stride, axis=1)[: shape[0], : shape[1]]


def _scene(
    depth: NDArray[np.float32],
    intrinsics: Intrinsics,
    desk_from_camera: Pose,
    arm_mask: NDArray[np.bool_] | None,
    far_m: float,
) -> _Scene:
    stride = max(1, min(depth.shape) // _ENOUGH_ROWS)
    lines, depth = rays(intrinsics)[::stride, ::stride], depth[::stride, ::stride]
    usable = (depth > 0) & (depth < far_m) & np.isfinite(lines[..., 0])
    if arm_mask is not None:
        usable &= ~arm_mask[::stride, ::stride]
    points = np.nan_to_num(lines) * depth[..., None]
    desk = find_desk(points[usable], desk_from_camera)
    threshold = float(np.clip(5.0 * desk.noise_m, _LOWEST_M, _HIGHEST_THRESHOLD_M))
    focal = math.sqrt(intrinsics.fx_px * intrinsics.fy_px) / stride
    in_desk = desk.desk_from_camera.apply(points.reshape(-1, 3)).reshape(points.shape)
    return _Scene(depth, lines, in_desk, usable, threshold, desk, focal)


def _candidates(raised: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Return the largest things that stand out (H, W), largest first; raises where there is none, or too little."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(raised.astype(np.uint8), connectivity=8)
    sizes = statistics[1:, cv2.CC_STAT_AREA]
    if count == 1:
        raise NothingStandsOut("nothing stands on the desk in this depth picture: is the block in the camera's view?")
    if sizes.max() < FEWEST_PIXELS:
        raise TooLittleSeen(
            f"the largest thing that stands on the desk has {int(sizes.max())} pixels, {FEWEST_PIXELS} are needed: "
            "bring the camera nearer, or the block into its view"
        )
    order = [int(k) for k in np.argsort(-sizes)[:_MOST_CANDIDATES] if sizes[k] >= FEWEST_PIXELS]
    return [labels == 1 + k for k in order]


def _fits(
    scene: _Scene, raised: NDArray[np.bool_], mask: NDArray[np.bool_], size_m: float
) -> list[tuple[CuboidFit, bool]]:
    """Return the fits of one thing that stands out, as a block that stands and, where it is higher, as one held."""
    evidence = _evidence(scene, raised, mask)
    points = scene.points_m[mask]
    top_m = float(np.percentile(points[:, 2], 90))
    upper = points[points[:, 2] > top_m - size_m / 3, :2]
    # Flying pixels beside it are no part of it. Of a block that leans out of the picture the middle of what is seen is
    # off; the fit mends that.
    middle = np.percentile(upper, [8, 92], axis=0).mean(axis=0)
    lifted = top_m > size_m + _LIFTED_M
    found: list[tuple[CuboidFit, bool]] = []
    for standing in (True, False) if lifted else (True,):
        height = size_m / 2 if standing else top_m - size_m / 2
        starts = [np.array([*middle, height, yaw, *(() if standing else _UPRIGHT)]) for yaw in _STARTS_RAD]
        starts.sort(key=lambda values: misfit(evidence, size_m, values))
        fit = fit_cuboid(evidence, size_m, starts[0], standing)
        if fit.cost > _GOOD_COST:
            others = [fit_cuboid(evidence, size_m, start, standing) for start in starts[1:4]]
            fit = min(fit, *others, key=lambda fit: fit.cost)
        found.append((fit, standing))
    return found


def _believe(
    scene: _Scene, raised: NDArray[np.bool_], mask: NDArray[np.bool_], fit: CuboidFit, standing: bool, size_m: float
) -> None:
    """Raise NotTheBlock where a cube of another size explains the picture better, or none does."""
    if fit.cost < _DOUBTFUL_COST:
        return
    evidence = _evidence(scene, raised, mask)
    z = fit.values[2]
    costs: list[float] = []
    for factor in _OTHER_SIZES:
        height = factor * size_m / 2 if standing else z + (1 - factor) * size_m / 2  # its top stays where it is
        start = np.array([*fit.values[:2], height, *fit.values[3:]])
        costs.append(fit_cuboid(evidence, factor * size_m, start, standing).cost)
    if fit.cost < min(costs) and misplaced(evidence, size_m, fit.values) < _MOST_MISPLACED:
        return
    span = 1000 * np.ptp(np.percentile(scene.points_m[mask], [4, 96], axis=0), axis=0)
    raise NotTheBlock(
        f"what stands on the desk ({int(mask.sum())} pixels, {span[0]:.0f} x {span[1]:.0f} x {span[2]:.0f} mm of it in "
        f"sight) is no cube of {1000 * size_m:.0f} mm: a fit leaves a cost of {fit.cost:.1f} per pixel, below "
        f"{_DOUBTFUL_COST} is sure; take other things off the desk"
    )


def _evidence(scene: _Scene, raised: NDArray[np.bool_], mask: NDArray[np.bool_]) -> Evidence:
    """Return what the pixels of one thing and those around it say; other things and what is unsure are left out."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _AROUND_PX + 1,) * 2, np.uint8)).astype(bool)
    unsure = ~raised & (scene.points_m[..., 2] > scene.threshold_m / 2)
    told = around & scene.usable & ~(raised & ~mask) & ~unsure
    depth = scene.depth[mask].astype(np.float64)
    sigma = np.maximum(_SURFACE_FLOOR_M, np.maximum(_NOISE_PER_M * depth**2, scene.desk.noise_m))
    return Evidence(
        scene.desk.desk_from_camera,
        scene.focal_px,
        scene.lines[told][:, :2],
        mask[told],
        scene.points_m[mask],
        sigma,
        scene.threshold_m,
    )


def _whole(fit: CuboidFit, standing: bool, desk: DeskFix) -> Array:
    """Return the covariance (6, 6) of x y z and a small rotation: the fit's, and what the desk's plane leaves open."""
    covariance = np.diag([_UNKNOWN_M**2] * 3 + [_UNKNOWN_RAD**2] * 3)
    places = [0, 1, 2, 5] if standing else [0, 1, 2, 5, 3, 4]
    covariance[np.ix_(places, places)] += fit.covariance
    if standing:
        covariance[2, 2] += desk.noise_m**2
        covariance[3, 3] = covariance[4, 4] = math.radians(0.5) ** 2
    return covariance
