"""How well one printed marker tells where its block is: rendered pictures with lens, noise and blur, truth known.

`python -m scripts.programs.bench_markers FOLDER` measures and draws the two pictures of docs/perception.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from calibration.boards import detect_markers, see_markers
from perception.errors import PerceptionError
from perception.locate import CameraFix, locate_block, locate_free
from perception.markers import Corners, solve
from scripts.programs.figures import Row, at_least, at_most
from scripts.programs.marker_scenes import DESK_LENS, WIDE_LENS, Scene, SceneRange, card, draw_scene
from urdf.pose import Pose

Progress = Callable[[str, float], None]

SCENES, OTHER_SCENES, TIMED = 2000, 600, 60
_SEED = 2026
#: Chi squared of three numbers that one in twenty exceeds.
_ONE_IN_TWENTY = 7.81

FREE = "block from one 20 mm marker, free in 3-D"
DESK = "block from one 20 mm marker, desk plane known"
WIDE = "block from one 30 mm marker, wide camera, free in 3-D"
WEBCAM = "block from one 20 mm marker, free in 3-D, gamma 2.2 and JPEG 90"
SPEED = "detection and pose, 640x480, one core"
MEDIAN, P95, FLIPPED, MISSED, CLAIM = "median", "95th percentile", "flipped poses", "missed", "errors beyond the claim"

DESK_SCENES = SceneRange(DESK_LENS)
WIDE_TARGET = card(0.030)
WIDE_SCENES = SceneRange(WIDE_LENS, WIDE_TARGET)
WEBCAM_SCENES = replace(DESK_SCENES, jpeg_quality=90)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one scene; errors of the block's centre [m], None where the marker was missed."""

    tilt_rad: float
    distance_m: float
    free_m: float | None = None
    #: (error / claimed spread) squared, over three axes: 3 on average where the claim is right.
    scaled: float = 0.0
    flipped: bool = False
    desk_m: float | None = None
    #: The same from OpenCV's sub-pixel corners and its better IPPE pose.
    opencv_m: float | None = None


def outcome_of(scene: Scene, drawn_from: SceneRange) -> Outcome:
    """Locate the block of one scene, free and with the desk known."""
    missed = Outcome(scene.tilt_rad, scene.distance_m)
    target = drawn_from.target
    seen_px, fits = see_markers(scene.rgb, scene.intrinsics)
    if scene.marker.id not in seen_px:
        return missed
    truth = scene.camera_from_block
    usual = solve(Corners((scene.marker.id,), scene.marker.corners_m(), seen_px[scene.marker.id]), scene.intrinsics)
    # The desk under the block; it stands there with its middle half its height up.
    desk_from_camera = (
        Pose(np.array([0.0, 0.0, target.size_m[2] / 2]), np.array([0.0, 0.0, 0.0, 1.0])) @ truth.inverse()
    )
    try:
        free = locate_free(seen_px, scene.intrinsics, fits, target)
        camera = CameraFix.known(desk_from_camera, scene.intrinsics)
        desk = locate_block(seen_px, scene.intrinsics, camera, fits, target=target)
    except PerceptionError:
        return missed
    error = free.camera_from_target.position_m - truth.position_m
    _, turned_rad = free.camera_from_target.distance_to(truth)
    return Outcome(
        scene.tilt_rad,
        scene.distance_m,
        float(np.linalg.norm(error)),
        float(error @ np.linalg.solve(free.covariance[:3, :3], error)),
        free.twin is not None and free.twin.distance_to(truth)[1] < turned_rad,
        (desk_from_camera.inverse() @ desk.desk_from_block).distance_to(truth)[0],
        usual[0].camera_from_target.distance_to(truth)[0] if usual else None,
    )


def outcomes_of(drawn_from: SceneRange, count: int, on_progress: Callable[[float], None]) -> list[Outcome]:
    """Return what came of `count` scenes."""
    outcomes: list[Outcome] = []
    for number in range(count):
        outcomes.append(outcome_of(draw_scene(drawn_from, np.random.default_rng((_SEED, number))), drawn_from))
        on_progress((number + 1) / count)
    return outcomes


def percentile_mm(values_m: list[float | None], percent: float) -> float:
    """Return a percentile of the errors that there are, in millimetres."""
    return 1000 * float(np.percentile([v for v in values_m if v is not None], percent))


def measure(on_progress: Progress, only: str = "", scenes: int = SCENES, others: int = OTHER_SCENES) -> Iterator[Row]:
    """Yield the rows of the groups that have a figure which contains `only`."""
    if any(only in f"{figure}: {what}" for figure in (FREE, DESK) for what in (MEDIAN, P95, FLIPPED, MISSED, CLAIM)):
        outcomes = outcomes_of(DESK_SCENES, scenes, lambda share: on_progress(FREE, share))
        yield from free_rows(FREE, outcomes, (1.0, 4.0, 0.02))
        yield from desk_rows(outcomes)
    for figure, drawn_from, bars in (
        (WIDE, WIDE_SCENES, (2.0, 8.0, 0.05)),
        (WEBCAM, WEBCAM_SCENES, (1.0, 4.0, 0.02)),
    ):
        if any(only in f"{figure}: {what}" for what in (MEDIAN, P95, FLIPPED, MISSED, CLAIM)):
            outcomes = outcomes_of(drawn_from, others, lambda share, what=figure: on_progress(what, share))
            yield from free_rows(figure, outcomes, bars)
    if only in SPEED:
        yield speed_row(on_progress)


def free_rows(figure: str, outcomes: list[Outcome], bars: tuple[float, float, float]) -> Iterator[Row]:
    """Yield the rows of one set of scenes; `bars` are median [mm], 95th percentile [mm] and missed share."""
    found = [o for o in outcomes if o.free_m is not None]
    free, usual = [o.free_m for o in outcomes], [o.opencv_m for o in outcomes]
    told = f"{len(outcomes)} scenes, 0.3-0.5 m, slant up to 60 degrees, blur 0.5-1 px; OpenCV's corners and IPPE"
    yield at_most(f"{figure}: {MEDIAN}", percentile_mm(free, 50), "mm", bars[0], f"{told}: {_mm(usual, 50)}")
    yield at_most(f"{figure}: {P95}", percentile_mm(free, 95), "mm", bars[1], f"{told}: {_mm(usual, 95)}")
    yield at_most(
        f"{figure}: {FLIPPED}", sum(o.flipped for o in found) / len(found), "", 0.01, "the twin is nearer to the truth"
    )
    yield at_most(f"{figure}: {MISSED}", 1 - len(found) / len(outcomes), "", bars[2], "marker wholly in the picture")
    beyond = sum(o.scaled > _ONE_IN_TWENTY for o in found) / len(found)
    yield at_most(f"{figure}: {CLAIM}", beyond, "", 0.05, "of the claimed covariance's 95 % ellipsoids")


def desk_rows(outcomes: list[Outcome]) -> Iterator[Row]:
    """Yield the rows of the block that is known to stand on a known desk."""
    told = "the same pictures, the camera's place above the desk known"
    desk = [o.desk_m for o in outcomes]
    yield at_most(f"{DESK}: {MEDIAN}", percentile_mm(desk, 50), "mm", 0.3, told)
    yield at_most(f"{DESK}: {P95}", percentile_mm(desk, 95), "mm", 1.0, told)


def _mm(values_m: list[float | None], percent: float) -> str:
    return f"{percentile_mm(values_m, percent):.1f} mm"


def speed_row(on_progress: Progress, count: int = TIMED) -> Row:
    """Return pictures per second of processor time, beside OpenCV's detection of the same pictures."""
    pictures = scenes_for(DESK_SCENES, range(count))
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    ours: list[float] = []
    theirs: list[float] = []
    try:
        _timed(pictures[0])  # fills the caches
        for number, scene in enumerate(pictures):
            ours.append(_timed(scene))
            began = time.process_time()
            detect_markers(scene.rgb)
            theirs.append(time.process_time() - began)
            on_progress(SPEED, (number + 1) / count)
    finally:
        cv2.setNumThreads(threads)
    rate, bare = 1 / float(np.median(ours)), 1 / float(np.median(theirs))
    told = f"OpenCV's detection and sub-pixel corners alone: {bare:.0f}, {bare / rate:.2f} times as fast"
    return at_least(SPEED, rate, "1/s", 100.0, told)


def _timed(scene: Scene) -> float:
    began = time.process_time()
    seen_px, fits = see_markers(scene.rgb, scene.intrinsics)
    if seen_px:
        locate_free(seen_px, scene.intrinsics, fits)
    return time.process_time() - began


def scenes_for(drawn_from: SceneRange, numbers: range) -> list[Scene]:
    """Return some scenes of the bench."""
    return [draw_scene(drawn_from, np.random.default_rng((_SEED, number))) for number in numbers]


def main() -> int:
    """Measure, print the rows, and draw the pictures into a folder."""
    from scripts.programs.markers_plot import draw_errors, draw_sheet

    folder = Path(sys.argv[1])
    outcomes = outcomes_of(DESK_SCENES, SCENES, lambda share: None)
    for row in (*free_rows(FREE, outcomes, (1.0, 4.0, 0.02)), *desk_rows(outcomes)):
        print(f"{row.figure}: {row.value:.3g} {row.unit} ({row.direction} {row.bar:g}; {row.baseline})")
    draw_sheet(
        [*scenes_for(DESK_SCENES, range(6)), *scenes_for(WIDE_SCENES, range(8, 10))], folder / "markers-sheet.png"
    )
    draw_errors(outcomes, folder / "markers-errors.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
