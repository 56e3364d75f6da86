"""Cameras measured from simulated views whose truth is known: how far off the focal length is, and the error held out.

A hand moves the board before the camera at random; the guide takes views as it does live, until it has twenty. Each
coordinate of each corner is off by a normal error of 0.3 px.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bridge.ports import Intrinsics
from calibration.board_spec import BOARDS, Board, BoardCorners
from calibration.errors import WeakViews
from calibration.intrinsics import CameraResult, Seen, calibrate
from calibration.lens import project, undistort
from calibration.view_guide import ViewGuide
from scripts.programs.figures import Row, at_most
from urdf.pose import Pose

NOISE_PX = 0.3
VIEWS = 20
#: How many cameras by the board that is recommended, and by those that one may have already.
_SEEDS = {"charuco": 60, "aruco": 12, "chessboard": 12}
_CHARUCO = BOARDS["charuco"]
#: A ray that differs by so much from the one that its pixel belongs to is another ray.
_FOLDED = 0.01

#: Cameras as they come: a webcam, the Dofbot-SE's camera with its strong barrel (FIELD 8.4: fx 935 at 1280 x 720, k1
#: -0.5), the kit's wide camera, and a fisheye of 100 degrees.
LENSES = {
    "webcam": Intrinsics(640, 480, 600.0, 601.0, 316.0, 243.0, (0.08, -0.2, 0.0008, -0.0005, 0.05)),
    "barrel": Intrinsics(1280, 720, 935.0, 990.0, 652.0, 351.0, (-0.5, 0.35, 0.0005, 0.0004, -0.15)),
    "wide": Intrinsics(
        640, 480, 350.0, 351.0, 322.0, 238.0, (0.3, 0.02, 0.0005, 0.0004, 0.0, 0.62, 0.06, 0.0), "rational"
    ),
    "fisheye": Intrinsics(640, 480, 290.0, 291.0, 319.0, 240.0, (-0.02, 0.004, -0.003, 0.0006), "fisheye"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured camera beside the true one."""

    lens: str
    true: Intrinsics
    result: CameraResult

    @property
    def focal_error(self) -> float:
        """Relative error of the focal length, the mean of both directions."""
        i, t = self.result.intrinsics, self.true
        return abs(0.5 * (i.fx_px / t.fx_px + i.fy_px / t.fy_px) - 1)


def measure(on_progress: Callable[[str, float], None], only: str = "") -> list[Row]:
    """Return the rows of the intrinsics, of each board that has `only` in its figures."""
    chosen = [kind for kind in _SEEDS if any(only in name for name in _figures(kind))] or list(_SEEDS)
    return [row for kind in chosen for row in _rows(kind, on_progress)]


def _figures(kind: str) -> tuple[str, str]:
    name = "intrinsics" if kind == "charuco" else f"intrinsics by {kind}"
    return f"{name} median focal length error", f"{name} median held-out RMS per axis"


def _rows(kind: str, on_progress: Callable[[str, float], None]) -> list[Row]:
    lenses, focal, held_out = list(LENSES), list[float](), list[float]()
    count = _SEEDS[kind]
    for seed in range(count):
        lens = lenses[seed % len(lenses)]
        on_progress(f"intrinsics by {kind}, {lens}", seed / count)
        try:
            trial = run_trial(lens, seed, BOARDS[kind])
        except WeakViews:  # as the command would refuse them: no camera counts as one that is infinitely wrong
            trial = None
        focal.append(100 * trial.focal_error if trial else math.inf)
        held_out.append(trial.result.held_out_rms_px if trial else math.inf)
    on_progress(f"intrinsics by {kind}", 1.0)
    what = f"{kind}, {count} seeds of {len(LENSES)} lenses, {VIEWS} views, {NOISE_PX} px noise per axis"
    what += f", {focal.count(math.inf)} refused" if math.inf in focal else ""
    about_focal, about_held_out = _figures(kind)
    return [
        at_most(about_focal, float(np.median(focal)), "%", 0.2, what),
        at_most(about_held_out, float(np.median(held_out)), "px", 0.32, what),
    ]


def run_trial(lens: str, seed: int, board: Board = _CHARUCO) -> Trial:
    """Return one camera measured from twenty views that the guide took."""
    true = LENSES[lens]
    rng = np.random.default_rng(seed)
    result = calibrate(guided_views(true, rng, VIEWS, board), (true.width_px, true.height_px))
    return Trial(lens, true, result)


def guided_views(true: Intrinsics, rng: np.random.Generator, count: int, board: Board = _CHARUCO) -> list[Seen]:
    """Return the first `count` views that the guide takes from a board that a hand moves at random."""
    guide = ViewGuide((true.width_px, true.height_px), count)
    while len(guide.views) < count:
        seen = seen_by(true, hand_pose(true, rng, board), rng, f"view {len(guide.views) + 1:02d}", board)
        if len(seen.corners) and guide.consider(seen, must_be_still=False).done and len(guide.views) < count:
            raise AssertionError("the guide has ended before it had its views")
    return guide.views


def hand_pose(true: Intrinsics, rng: np.random.Generator, board: Board = _CHARUCO) -> Pose:
    """Return a pose in which a person might hold the board: anywhere in view, tilted by up to 45 degrees."""
    tilt, towards, turn = rng.uniform(0, math.radians(45)), rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25)
    turn += rng.choice([0.0, math.pi / 2, -math.pi / 2])
    facing = Pose.from_rotvec([0, 0, 0], [math.pi, 0, 0])
    rolled = Pose.from_rotvec([0, 0, 0], [0, 0, turn]) @ facing
    tilted = Pose.from_rotvec([0, 0, 0], [tilt * math.cos(towards), tilt * math.sin(towards), 0]) @ rolled
    # Near enough to fill the picture, far enough to be a fifth as wide: distances in board widths over the view's.
    size_px = true.width_px * rng.uniform(0.35, 1.1)
    distance_m = max(0.1, board.size_m[1] * true.fx_px / size_px)
    u, v = rng.uniform(0.1, 0.9) * true.width_px, rng.uniform(0.1, 0.9) * true.height_px
    place = np.array([(u - true.cx_px) / true.fx_px, (v - true.cy_px) / true.fy_px, 1.0]) * distance_m
    return Pose(place, tilted.quat_xyzw)


def seen_by(
    true: Intrinsics, camera_from_board: Pose, rng: np.random.Generator, name: str, board: Board = _CHARUCO
) -> Seen:
    """Return what the camera sees of the board, with the noise of its corners; a chessboard's only as a whole."""
    ids, points = np.array(list(board.points_m)), np.array(list(board.points_m.values()))
    in_front = camera_from_board.apply(points)[:, 2] > 0.03
    pixels = project(points, camera_from_board, true)
    inside = in_front & np.all((pixels > 3) & (pixels < (true.width_px - 4, true.height_px - 4)), axis=1)
    # Beyond where a strong barrel folds over, its polynomial lands in the picture again: no camera sees that.
    there = camera_from_board.apply(points)
    inside &= np.linalg.norm(undistort(pixels, true) - there[:, :2] / there[:, 2:], axis=1) < _FOLDED
    if board.kind == "chessboard" and not inside.all():
        inside[:] = False  # without numbers a part of it says nothing of which part it is
    noisy = pixels[inside] + NOISE_PX * rng.normal(size=(int(inside.sum()), 2))
    return Seen(name, BoardCorners(ids[inside], points[inside], noisy))
