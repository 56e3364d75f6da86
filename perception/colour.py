"""Where the block is, by its colour alone: the outline of a cube of known size, fitted to the pixels that show it.

No marker on the block is needed. The camera's place is known, from the desk board or a calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from bridge.ports import BlockSighting, Frame, Intrinsics
from calibration.boards import BLOCK_SIZE_M, DESK_BOARD, Target
from calibration.lens import project
from perception.block_source import sighting_in_base
from perception.board_watch import BoardWatch, KnownPlace
from perception.cloud import rays
from perception.colour_model import ColourModel, Image, Mask, chromaticity, learn
from perception.cuboid import CuboidFit, Evidence, fit_cuboid, misfit, misplaced
from perception.errors import NothingStandsOut, NotTheBlock, TooLittleSeen
from perception.locate import CameraFix
from perception.on_desk import by_camera, on_desk
from perception.systematic import EXACT, Systematic, lens_slopes
from urdf.description import Rig
from urdf.pose import Array, Pose

#: The block may lie so far beside its area, and is looked for the first time no farther away.
_BESIDE_M = 0.03
#: So many pixels around what shows the block are looked at as well.
_AROUND_PX = 6
_FEWEST_PIXELS = 60
_JOIN_PX = 9
#: Of the block at least so much is seen, in shares of one of its faces: less is a speck of its colour.
_LEAST_SHARE = 0.15
_MOST_CANDIDATES = 3
#: A standing block is taken for a lifted one when that explains the outline better by this much (log-likelihood).
_LIFTED_GAIN = 40.0
_LIFTS_M = (0.02, 0.04, 0.06, 0.09, 0.12)
_STARTS_RAD = tuple(math.radians(angle) for angle in range(0, 90, 15))
#: Of the pixels of a block fewer lie far on the wrong side of its outline.
_SURELY_PLACED, _MOST_MISPLACED = 0.02, 0.10
#: What pixels cannot tell: the colour of an edge's pixel is that of the brighter side, which moves an edge by a fifth
#: of a pixel, all the same way, and a printed cube differs by 1 % in size. Errors of the bench.
_BLEED_PX, _SIZE_SHARE = 0.15, 0.01


@dataclass(frozen=True, slots=True)
class ColourFix:
    """Where the block is in the desk frame, with the covariance (6, 6) of x y z [m] and a small rotation [rad].

    The covariance is of the picture alone, the camera being where it was said to be. cost: per pixel.
    """

    desk_from_block: Pose
    covariance: Array
    standing: bool
    pixels: int
    cost: float
    mask: Mask


def around_area(rig: Rig, intrinsics: Intrinsics, desk_from_camera: Pose) -> Mask:
    """Return which pixels (H, W) show the block's area and a little beside it."""
    half = np.asarray(rig.area_size_m) / 2 + _BESIDE_M
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]) * half + np.asarray(rig.area_center_m)
    pixels = project(np.column_stack([corners, np.zeros(4)]), desk_from_camera.inverse(), intrinsics)
    mask = np.zeros((intrinsics.height_px, intrinsics.width_px), np.uint8)
    if np.isfinite(pixels).all():
        cv2.fillConvexPoly(mask, np.rint(pixels).astype(np.int32), 1)
    return mask.astype(bool)


def locate_by_colour(
    rgb: Image, intrinsics: Intrinsics, desk_from_camera: Pose, model: ColourModel, size_m: float = BLOCK_SIZE_M
) -> ColourFix:
    """Return where a cube of `size_m` and the model's colour is; its yaw is that of the face nearest to the x axis.

    Raises NothingStandsOut or TooLittleSeen where too little is of its colour, NotTheBlock where that is no cube.
    """
    shares = chromaticity(rgb)
    block = model.shows_block(shares)
    # A marker on a face is a hole in its colour: what a face has around it belongs together.
    joined = cv2.dilate(block.astype(np.uint8), np.ones((_JOIN_PX, _JOIN_PX), np.uint8))
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    labels[~block] = 0
    sizes = np.bincount(labels.ravel(), minlength=len(statistics))[1:]
    order = [int(k) for k in np.argsort(-sizes)[:_MOST_CANDIDATES] if sizes[k] >= _FEWEST_PIXELS]
    if not order:
        raise NothingStandsOut(
            f"the block's colour is on {int(block.sum())} pixels of this picture, in no piece of {_FEWEST_PIXELS}: "
            "is the block in sight?"
        )
    desk = model.shows_desk(shares)
    found: list[tuple[CuboidFit, bool, Evidence, Mask]] = []
    for k in order:
        left, top, width, height = statistics[1 + k, :4]
        box = np.s_[max(0, top - _AROUND_PX) : top + height + _AROUND_PX,
                    max(0, left - _AROUND_PX) : left + width + _AROUND_PX]  # fmt: skip
        shown = (labels == 1 + k)[box]
        evidence = _evidence(shown, desk[box], rays(intrinsics)[box], intrinsics, desk_from_camera)
        fit = _fit(evidence, shown, rays(intrinsics)[box], size_m)
        if fit is not None and shown.sum() > _LEAST_SHARE * _face_pixels(fit[0], evidence, size_m):
            found.append((*fit, evidence, labels == 1 + k))
            if misplaced(evidence, size_m, fit[0].values) < _SURELY_PLACED:
                break
    return _best(found, size_m)


def _best(found: list[tuple[CuboidFit, bool, Evidence, Mask]], size_m: float) -> ColourFix:
    """Return the candidate whose outline is a cube's; raises NotTheBlock where none's is."""
    if not found:
        raise TooLittleSeen(
            "what is of the block's colour is far too small for it where it stands, or lies above the horizon: is the "
            "block in sight?"
        )
    fit, standing, evidence, mask = min(found, key=lambda one: one[0].cost)
    wrong = misplaced(evidence, size_m, fit.values)
    if wrong > _MOST_MISPLACED:
        raise NotTheBlock(
            f"what is of the block's colour ({int(mask.sum())} pixels) has not the outline of a cube of "
            f"{1000 * size_m:.0f} mm: {100 * wrong:.0f} % of it lie outside, {100 * _MOST_MISPLACED:.0f} % at most are "
            "believed; is the block half hidden, or is something else of its colour in the picture?"
        )
    x, y, z, yaw = fit.values
    yaw = (yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4
    pose = Pose.from_rpy([x, y, z], [0.0, 0.0, yaw])
    covariance = _covariance(fit, standing, evidence, size_m)
    return ColourFix(pose, covariance, standing, int(mask.sum()), fit.cost, mask)


def _evidence(shown: Mask, desk: Mask, lines: Array, intrinsics: Intrinsics, desk_from_camera: Pose) -> Evidence:
    """Return what the pixels of one thing and those around it say; what is neither block nor desk may hide either."""
    # What is deep inside or far outside tells nothing about the outline, and takes its time.
    side, flat = 2 * _AROUND_PX + 1, shown.astype(np.uint8)
    edge = cv2.dilate(flat, np.ones((side, side), np.uint8)) != cv2.erode(flat, np.ones((side, side), np.uint8))
    told = (shown | desk) & edge & np.isfinite(lines[..., 0])
    focal = math.sqrt(intrinsics.fx_px * intrinsics.fy_px)
    nothing = np.zeros((0, 3))
    return Evidence(desk_from_camera, focal, lines[told][:, :2], shown[told], nothing, np.zeros(0), 0.0)


def _fit(evidence: Evidence, shown: Mask, lines: Array, size_m: float) -> tuple[CuboidFit, bool] | None:
    """Return the cube that explains the outline, and whether it stands; None where it cannot be on the desk."""
    rows, columns = np.nonzero(shown)
    ray = lines[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2]
    place = on_desk(evidence.desk_from_camera, ray, size_m / 2)
    if place is None:
        return None
    standing = _descend(evidence, size_m, [place], standing=True)
    if standing.cost * len(evidence.shows) < _LIFTED_GAIN:
        return standing, True
    lifts = [on_desk(evidence.desk_from_camera, ray, size_m / 2 + lift) for lift in _LIFTS_M]
    lifted = _descend(evidence, size_m, [place for place in lifts if place is not None], standing=False)
    if (standing.cost - lifted.cost) * len(evidence.shows) > _LIFTED_GAIN and lifted.values[2] > size_m / 2:
        return lifted, False
    return standing, True


def _descend(evidence: Evidence, size_m: float, places: list[Array], standing: bool) -> CuboidFit:
    starts = [np.array([*place, yaw]) for place in places for yaw in _STARTS_RAD]
    starts.sort(key=lambda values: misfit(evidence, size_m, values))
    first, second = (fit_cuboid(evidence, size_m, start, standing) for start in starts[:2])
    return min(first, second, key=lambda fit: fit.cost)


def _face_pixels(fit: CuboidFit, evidence: Evidence, size_m: float) -> float:
    """Return how many pixels one face of a cube would have there, seen straight on."""
    distance = float(np.linalg.norm(fit.values[:3] - evidence.desk_from_camera.position_m))
    return (size_m * evidence.focal_px / distance) ** 2


def _covariance(fit: CuboidFit, standing: bool, evidence: Evidence, size_m: float) -> Array:
    """Return the covariance (6, 6): the fit's, and what edges and a cube's own size leave open."""
    distance = float(np.linalg.norm(fit.values[:3] - evidence.desk_from_camera.position_m))
    bleed_m = _BLEED_PX * distance / evidence.focal_px
    places = [0, 1, 2, 5]
    covariance = np.zeros((6, 6))
    more = np.diag([bleed_m**2] * 3 + [(bleed_m / (size_m / 2)) ** 2])
    if not standing:
        # An outline that is larger by so much is nearer by as much of its distance.
        line = (fit.values[:3] - evidence.desk_from_camera.position_m) / distance
        nearer = distance * math.hypot(2 * bleed_m / size_m, _SIZE_SHARE)
        more[:3, :3] += nearer**2 * np.outer(line, line)
    covariance[np.ix_(places, places)] = fit.covariance + more
    covariance[3, 3] = covariance[4, 4] = math.radians(0.5 if standing else 8.0) ** 2
    if standing:
        covariance[2, 2] = (_SIZE_SHARE * size_m / 2) ** 2
    return covariance


class ColourLocator:
    """A BlockLocator by colour. The camera's place is the desk board's to tell; the block's own markers are not read.

    The colour is learnt from the first picture in which one thing in the block's area stands out and is a cube.
    """

    name = "colour"

    def __init__(
        self,
        rig: Rig,
        systematic: Systematic = EXACT,
        size_m: float = BLOCK_SIZE_M,
        board: Target = DESK_BOARD,
        known: KnownPlace | None = None,
    ) -> None:
        """`systematic`: how well the lens is known; it counts in the covariance of every sighting.

        `board`: the desk board as it was printed; `known`: the camera's place, where it was measured beforehand.
        """
        self._rig, self._systematic, self._size_m = rig, systematic, size_m
        self._watch = BoardWatch(rig, board, known)
        self.model: ColourModel | None = None

    def locate(self, frame: Frame) -> BlockSighting:
        """Return where the block is; raises PerceptionError."""
        camera = self._watch.fix(frame)
        pose, model = camera.desk_from_camera, self.model
        if model is None:
            model, _ = learn(frame.rgb, around_area(self._rig, frame.intrinsics, pose))
        fix = locate_by_colour(frame.rgb, frame.intrinsics, pose, model, self._size_m)
        self.model = model
        covariance = fix.covariance + self._of_camera(fix, camera, frame.intrinsics)
        return sighting_in_base(self._rig, fix.desk_from_block, covariance, frame.stamp_ns)

    def settle(self) -> None:
        """Look at the board of the last picture."""
        self._watch.settle()

    def _of_camera(self, fix: ColourFix, camera: CameraFix, intrinsics: Intrinsics) -> Array:
        """Return what the camera's place and its lens add to a block's covariance (6, 6)."""
        pose, place = camera.desk_from_camera, fix.desk_from_block.position_m
        moves = by_camera(pose, place) if fix.standing else _rigidly(place - pose.position_m)
        added = moves @ camera.covariance @ moves.T
        if self._systematic.is_exact:
            return added
        # A point of the desk that the lens puts into another pixel, seen by a camera that this lens puts elsewhere too.
        point, camera_from_desk = np.zeros((1, 3)), pose.inverse()
        by_lens = lens_slopes(point, camera_from_desk @ Pose(place, Pose.identity().quat_xyzw), intrinsics)
        nudges = 1e-5 * np.eye(3)[: 2 if fix.standing else 3]
        ahead, behind = (project(place + sign * nudges, camera_from_desk, intrinsics) for sign in (1.0, -1.0))
        through = moves @ camera.by_systematic
        through[: len(nudges), :-1] += np.linalg.pinv((ahead - behind).T / 2e-5) @ by_lens
        return added + through @ self._systematic.covariance(1, intrinsics) @ through.T


def _rigidly(arm_m: Array) -> Array:
    """Return how a thing that a camera sees at `arm_m` (3,) from itself moves (6, 6) with the camera."""
    x, y, z = arm_m
    moves = np.eye(6)
    moves[:3, 3:] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
    return moves
