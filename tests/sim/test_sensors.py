"""Camera noise, held against loops, statistics and OpenCV."""

from __future__ import annotations

import io
import math
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sim.depth_kernel import random_bits
from sim.errors import SimError
from sim.sensors import (
    EDGE_SHARE,
    ColorNoise,
    DepthImage,
    DepthNoise,
    RgbImage,
    blur_kernel,
    corrupt_depth,
    corrupt_rgb,
)

EVERYTHING = DepthNoise(noise_per_m=0.005, quantum_m=0.001, edge_hole=0.4, flying=0.4, min_m=0.07)


def plane(depth_m: float, side_px: int = 64) -> DepthImage:
    return np.full((side_px, side_px), depth_m, dtype=np.float32)


def block_on_desk() -> DepthImage:
    """A desk that leans away, a block on it, and a strip of a jaw at 5 cm."""
    depth = np.repeat(np.linspace(0.30, 0.20, 64, dtype=np.float32)[:, None], 64, axis=1)
    depth[20:40, 24:44] = 0.17
    depth[56:, 10:20] = 0.05
    return depth


def edges_by_loop(depth_m: DepthImage) -> np.ndarray:
    """Pixels that differ from one of four neighbours by more than the share that makes an edge."""
    edges = np.zeros(depth_m.shape, dtype=bool)
    for y, x in np.ndindex(depth_m.shape):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < depth_m.shape[0] and 0 <= u < depth_m.shape[1]:
                edges[y, x] |= abs(depth_m[v, u] - depth_m[y, x]) > EDGE_SHARE * depth_m[y, x]
    return edges


def picture(seed: int = 3) -> RgbImage:
    """Smooth enough for JPEG, rich enough to show what happens to it."""
    rough = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(rough, (64, 64), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


# Depth ----------------------------------------------------------------------------------------------


def test_no_noise_returns_the_very_picture_and_draws_nothing() -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    depth, rgb = block_on_desk(), picture()
    assert corrupt_depth(depth, DepthNoise(), rng) is depth
    assert corrupt_rgb(rgb, ColorNoise(), rng) is rgb
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("depth_m", [0.2, 0.5, 1.0])
def test_noise_grows_with_distance_squared(depth_m: float) -> None:
    rng = np.random.default_rng(1)
    errors = [corrupt_depth(plane(depth_m), DepthNoise(noise_per_m=0.01), rng) - depth_m for _ in range(10)]
    count = 10 * 64 * 64
    expected_m = 0.01 * depth_m**2
    # Five standard errors of a standard deviation and of a mean.
    assert np.std(errors) == pytest.approx(expected_m, rel=5 / math.sqrt(2 * count))
    assert abs(np.mean(errors)) < 5 * expected_m / math.sqrt(count)


def test_noise_is_normal() -> None:
    stats = pytest.importorskip("scipy.stats")
    seen = corrupt_depth(plane(1.0, 128), DepthNoise(noise_per_m=0.01), np.random.default_rng(2))
    assert stats.kstest(((seen - 1.0) / 0.01).ravel(), "norm").pvalue > 0.01


def test_noise_is_new_for_every_pixel_and_every_picture() -> None:
    rng = np.random.default_rng(2)
    one, other = (corrupt_depth(plane(1.0, 128), DepthNoise(noise_per_m=0.01), rng) - 1.0 for _ in range(2))
    pairs = [(one, other), (one[:, 1:], one[:, :-1]), (one[1:], one[:-1]), (one[1:], other[:-1])]
    for first, second in pairs:
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 5 / math.sqrt(first.size)


def test_the_bits_are_those_of_splitmix64() -> None:
    """The first numbers of the published generator from seed 0."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(random_bits(np.uint64(0), np.uint64(k))) for k in range(3)] == published


def test_a_picture_takes_one_number_of_the_generator_whatever_is_in_it() -> None:
    after = []
    for depth in (plane(0.2), block_on_desk()):
        for noise in (DepthNoise(quantum_m=0.001), EVERYTHING):
            rng = np.random.default_rng(12)
            corrupt_depth(depth, noise, rng)
            after.append(rng.random())
    assert len(set(after)) == 1


def test_readings_are_multiples_of_the_quantum_and_the_nearest_ones() -> None:
    depth = np.random.default_rng(3).uniform(0.1, 0.5, (64, 64)).astype(np.float32)
    seen = corrupt_depth(depth, DepthNoise(quantum_m=0.002), np.random.default_rng(3))
    steps = seen.astype(np.float64) / 0.002
    assert np.abs(steps - np.round(steps)).max() < 1e-4
    assert np.abs(seen.astype(np.float64) - depth).max() <= 0.001 + 1e-6
    assert len(np.unique(seen)) > 150


def test_holes_lie_at_depth_edges_and_are_as_frequent_as_asked() -> None:
    depth = block_on_desk()
    edges = edges_by_loop(depth)
    assert 60 < edges.sum() < 300
    holes = np.zeros(depth.shape)
    rng = np.random.default_rng(4)
    for _ in range(400):
        seen = corrupt_depth(depth, DepthNoise(edge_hole=0.3), rng)
        assert (seen[seen != 0] == depth[seen != 0]).all()
        holes += seen == 0
    assert not holes[~edges].any()
    share = holes[edges].mean() / 400
    assert share == pytest.approx(0.3, abs=5 * math.sqrt(0.3 * 0.7 / (400 * edges.sum())))


def test_every_edge_pixel_is_a_hole_when_all_are_lost() -> None:
    depth = block_on_desk()
    seen = corrupt_depth(depth, DepthNoise(edge_hole=1.0), np.random.default_rng(5))
    assert ((seen == 0) == edges_by_loop(depth)).all()


def test_flying_pixels_lie_between_the_two_sides_of_their_edge() -> None:
    depth = plane(0.2)
    depth[:, 32:] = 0.3
    seen = corrupt_depth(depth, DepthNoise(flying=1.0), np.random.default_rng(6))
    assert (seen[:, :31] == depth[:, :31]).all()
    assert (seen[:, 33:] == depth[:, 33:]).all()
    flying = seen[:, 31:33].astype(np.float64)
    assert flying.min() >= 0.2 - 1e-6
    assert flying.max() <= 0.3 + 1e-6
    assert flying.std() == pytest.approx(0.1 / math.sqrt(12), rel=0.25)  # uniform between near and far
    few = corrupt_depth(depth, DepthNoise(flying=0.25), np.random.default_rng(7))
    assert 15 <= (few != depth).sum() <= 50  # 32 of 128 expected


@pytest.mark.parametrize("lean_deg", [20, 40, 55])
def test_a_plane_has_edges_only_where_it_is_grazed(lean_deg: float) -> None:
    """65 degrees across 64 pixels: depth by pixel from the equation of the plane."""
    x = np.tan(np.radians(32.5)) * (np.arange(64) - 31.5) / 32
    depth = np.repeat((0.2 / (1 - math.tan(math.radians(lean_deg)) * x))[None, :], 64, axis=0).astype(np.float32)
    seen = corrupt_depth(depth, DepthNoise(edge_hole=1.0), np.random.default_rng(8))
    off_normal_deg = lean_deg + np.degrees(np.arctan(x))
    assert seen[:, off_normal_deg < 65].all()
    assert not seen[:, off_normal_deg > 78].any()


@pytest.mark.parametrize("min_m", [0.07, 0.11, 0.18])
def test_what_is_nearer_than_the_minimum_is_a_hole(min_m: float) -> None:
    depth = block_on_desk()
    seen = corrupt_depth(depth, DepthNoise(min_m=min_m), np.random.default_rng(9))
    assert ((seen == 0) == (depth < np.float32(min_m))).all()
    assert (seen[depth >= min_m] == depth[depth >= min_m]).all()


@settings(max_examples=25, deadline=None)
@given(
    noise_per_m=st.floats(0, 0.1), quantum_m=st.floats(0, 0.01), edge_hole=st.floats(0, 1), flying=st.floats(0, 1),
    min_m=st.floats(0, 0.3), seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_reading_is_a_hole_or_no_nearer_than_the_minimum(
    noise_per_m: float, quantum_m: float, edge_hole: float, flying: float, min_m: float, seed: int
) -> None:
    depth = block_on_desk()
    clean = depth.copy()
    noise = DepthNoise(noise_per_m, quantum_m, edge_hole, flying, min_m)
    seen = corrupt_depth(depth, noise, np.random.default_rng(seed))
    assert (depth == clean).all()
    assert seen.dtype == np.float32
    assert np.isfinite(seen).all()
    assert ((seen == 0) | (seen >= np.float32(min_m))).all()
    again = corrupt_depth(depth, noise, np.random.default_rng(seed))
    assert (seen == again).all()


def test_holes_stay_holes() -> None:
    depth = plane(0.3)
    depth[10:20, 10:20] = 0.0
    noise = DepthNoise(noise_per_m=0.01, quantum_m=0.001, flying=1.0)
    seen = corrupt_depth(depth, noise, np.random.default_rng(1))
    assert (seen[10:20, 10:20] == 0).all()
    assert (seen[:9] > 0).all()


def test_a_picture_is_spoilt_well_within_a_tenth_of_a_millisecond() -> None:
    depth, rng = block_on_desk(), np.random.default_rng(0)
    corrupt_depth(depth, EVERYTHING, rng)
    best_s = math.inf
    for _ in range(20):
        started = time.process_time()
        for _ in range(50):
            corrupt_depth(depth, EVERYTHING, rng)
        best_s = min(best_s, (time.process_time() - started) / 50)
    assert best_s < 80e-6  # measured: 30 us


# Colour ---------------------------------------------------------------------------------------------


def test_levels_follow_gain_contrast_and_brightness() -> None:
    rgb = picture()
    noise = ColorNoise(brightness=0.1, contrast=1.3, gain=(0.9, 1.0, 1.2))
    seen = corrupt_rgb(rgb, noise, np.random.default_rng(0))
    by_hand = ((rgb / 255.0 * [0.9, 1.0, 1.2] - 0.5) * 1.3 + 0.5 + 0.1) * 255.0
    assert np.abs(seen - np.clip(by_hand, 0, 255)).max() <= 0.5 + 1e-9


def test_brightness_moves_grey_by_its_share_of_full_scale() -> None:
    grey = np.full((8, 8, 3), 100, dtype=np.uint8)
    assert (corrupt_rgb(grey, ColorNoise(brightness=0.2), np.random.default_rng(0)) == 151).all()
    assert (corrupt_rgb(grey, ColorNoise(brightness=-0.5), np.random.default_rng(0)) == 0).all()


def test_colour_noise_has_its_standard_deviation() -> None:
    grey = np.full((128, 128, 3), 128, dtype=np.uint8)
    errors = corrupt_rgb(grey, ColorNoise(noise_levels=6.0), np.random.default_rng(1)).astype(float) - 128
    assert errors.std() == pytest.approx(math.hypot(6.0, 1 / math.sqrt(12)), rel=0.02)  # and the rounding's
    assert abs(errors.mean()) < 0.15


@pytest.mark.parametrize("quality", [95, 60, 30])
def test_jpeg_is_what_opencv_decodes(quality: int) -> None:
    rgb = picture()
    seen = corrupt_rgb(rgb, ColorNoise(jpeg_loss=100 - quality), np.random.default_rng(0))
    encoded = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    assert (seen == decoded[:, :, ::-1]).all()


def test_jpeg_keeps_the_channels_apart_as_another_library_does_and_gets_worse_with_loss() -> None:
    rgb, rng = picture(), np.random.default_rng(0)
    errors = []
    for loss in (5, 40, 90):
        seen = corrupt_rgb(rgb, ColorNoise(jpeg_loss=loss), rng).astype(int)
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=100 - loss)
        assert np.abs(seen - np.asarray(Image.open(file))).mean() < 2.0
        errors.append(np.abs(seen - rgb).mean())
    assert 0 < errors[0] < errors[1] < errors[2] < 40


@given(length_px=st.floats(0.01, 12), angle_rad=st.floats(-math.pi, math.pi))
def test_a_blur_keeps_the_light_and_lies_along_its_line(length_px: float, angle_rad: float) -> None:
    kernel = blur_kernel(length_px, angle_rad).astype(np.float64)
    assert kernel.shape[0] == kernel.shape[1]
    assert kernel.shape[0] % 2 == 1
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    reach = kernel.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    assert (kernel * x).sum() == pytest.approx(0.0, abs=1e-4)
    assert (kernel * y).sum() == pytest.approx(0.0, abs=1e-4)
    along = x * math.cos(angle_rad) + y * math.sin(angle_rad)
    across = y * math.cos(angle_rad) - x * math.sin(angle_rad)
    # A line of even light has variance L^2 / 12; sharing light between neighbouring pixels adds at most 1/4 per axis.
    line = length_px**2 / 12
    assert line - 0.01 <= (kernel * along**2).sum() <= 1.15 * line + 0.51
    assert (kernel * across**2).sum() <= 0.51


def test_a_point_smears_into_its_kernel() -> None:
    rgb = np.zeros((33, 33, 3), dtype=np.uint8)
    rgb[16, 16] = 250
    seen = corrupt_rgb(rgb, ColorNoise(blur_px=6.0, blur_angle_rad=0.0), np.random.default_rng(0))
    assert (seen[:16] == 0).all()
    assert (seen[17:] == 0).all()
    lit = np.flatnonzero(seen[16, :, 0])
    assert lit.tolist() == list(range(13, 20))
    assert abs(int(seen[16, :, 0].astype(int).sum()) - 250) <= 4


def test_a_blur_leaves_an_even_picture_alone() -> None:
    grey = np.full((16, 16, 3), 77, dtype=np.uint8)
    assert (corrupt_rgb(grey, ColorNoise(blur_px=5.0, blur_angle_rad=1.0), np.random.default_rng(0)) == 77).all()


# Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [("noise_per_m", -0.1), ("quantum_m", math.nan), ("edge_hole", 1.5), ("flying", -0.1), ("min_m", -1.0)],
)
def test_impossible_depth_noise_names_its_field(field: str, value: float) -> None:
    with pytest.raises(SimError, match=field):
        DepthNoise(**{field: value})


def test_impossible_colour_noise_names_its_field() -> None:
    with pytest.raises(SimError, match="brightness must be -1 to 1"):
        ColorNoise(brightness=2.0)
    with pytest.raises(SimError, match="jpeg_loss must be 0 to 99"):
        ColorNoise(jpeg_loss=100)


def test_another_shape_or_type_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(SimError, match="float32"):
        corrupt_depth(np.zeros((4, 4)), EVERYTHING, rng)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SimError, match="uint8"):
        corrupt_rgb(np.zeros((4, 4), dtype=np.uint8), ColorNoise(), rng)
