"""Corners from all edges of a print, in pictures whose truth comes from rays sent through OpenCV's lens model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is not part of the base install")

import cv2

from bridge.ports import Intrinsics
from calibration.boards import BLOCK, CELLS, detect_markers, marker_image
from calibration.edge_corners import PrintFit, fit_print
from scripts.programs.marker_scenes import DESK_LENS, WIDE_LENS, Scene, SceneRange, draw_scene
from urdf.pose import Array


def some_scenes(drawn_from: SceneRange, count: int, seed: int) -> list[Scene]:
    return [draw_scene(drawn_from, np.random.default_rng((seed, k))) for k in range(count)]


def true_corners_px(scene: Scene) -> Array:
    lens = scene.intrinsics
    pose = scene.camera_from_block
    pixels, _ = cv2.projectPoints(
        scene.marker.corners_m(), pose.rotvec_rad(), pose.position_m, lens.matrix(), np.array(lens.distortion)
    )
    return np.asarray(pixels, dtype=np.float64).reshape(4, 2)


def fit(scene: Scene, start_px: Array, lens: Intrinsics | None = None, marker_id: int | None = None) -> PrintFit | None:
    gray = np.asarray(cv2.cvtColor(scene.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    bits = marker_image(scene.marker.id if marker_id is None else marker_id, CELLS) > 0
    return fit_print(gray, start_px, bits, lens or scene.intrinsics)


@pytest.mark.parametrize("lens", [DESK_LENS, WIDE_LENS], ids=["desk camera", "wide camera"])
def test_corners_are_found_to_hundredths_of_a_pixel_and_errors_are_as_large_as_claimed(lens: Intrinsics) -> None:
    rng = np.random.default_rng(1)
    errors, scaled = [], []
    for scene in some_scenes(SceneRange(lens), 16, seed=1):
        truth = true_corners_px(scene)
        found = fit(scene, truth + rng.normal(0.0, 0.4, (4, 2)))
        assert found is not None
        error = (found.corners_px - truth).ravel()
        errors.append(float(np.sqrt(np.mean(error**2))))
        scaled.append(float(error @ np.linalg.solve(found.covariance_px2, error)))
        assert abs(found.blur_px - np.hypot(scene.blur_px, np.sqrt(1 / 12))) < 0.1, "a pixel is a blur of its own"
    assert np.median(errors) < 0.03
    assert max(errors) < 0.10
    assert np.mean(scaled) < 8.0, "eight numbers, each as wrong as it is said to be"
    assert np.mean(scaled) > 0.3, "and not a tenth of it"


def test_brightened_mid_tones_do_not_make_the_marker_small() -> None:
    sizes = []
    for scene in some_scenes(SceneRange(DESK_LENS, jpeg_quality=95), 12, seed=2):
        truth = true_corners_px(scene)
        found = fit(scene, truth)
        assert found is not None
        lengths = [np.linalg.norm(c - np.roll(c, 1, axis=0), axis=1).sum() for c in (found.corners_px, truth)]
        sizes.append(lengths[0] / lengths[1])
    assert np.mean(sizes) == pytest.approx(1.0, abs=0.001)  # 1 % smaller where the tone curve is not fitted


def test_a_guessed_lens_does_for_the_corners() -> None:
    guess = Intrinsics(640, 480, 600.0, 600.0, 319.5, 239.5)
    for scene in some_scenes(SceneRange(DESK_LENS), 6, seed=3):
        truth = true_corners_px(scene)
        found = fit(scene, truth + 0.3, guess)
        assert found is not None
        assert np.abs(found.corners_px - truth).max() < 0.15


def test_what_is_not_this_marker_has_no_fit() -> None:
    scene = some_scenes(SceneRange(DESK_LENS, noise=(1.0, 1.0)), 1, seed=4)[0]
    truth = true_corners_px(scene)
    assert fit(scene, truth) is not None
    for other in BLOCK.ids:
        if other != scene.marker.id:
            assert fit(scene, truth, marker_id=other) is None
    assert fit(replace(scene, rgb=np.full_like(scene.rgb, 127)), truth) is None, "nothing there"
    covered = scene.rgb.copy()
    x, y = truth[0]
    cv2.circle(covered, (round(x), round(y)), 9, (196, 150, 130), -1)
    assert fit(replace(scene, rgb=covered), truth) is None, "a finger on a corner"
    assert fit(scene, truth + np.array([700.0, 0.0])) is None, "outside the picture"


def test_detection_with_a_lens_gives_the_fitted_corners() -> None:
    scene = some_scenes(SceneRange(DESK_LENS), 1, seed=5)[0]
    truth = true_corners_px(scene)
    usual, fitted = detect_markers(scene.rgb), detect_markers(scene.rgb, scene.intrinsics)
    assert set(usual) == set(fitted) == {scene.marker.id}
    assert np.abs(usual[scene.marker.id] - truth).max() > 0.1, "sub-pixel corners are drawn inwards"
    assert np.abs(fitted[scene.marker.id] - truth).max() < 0.05
