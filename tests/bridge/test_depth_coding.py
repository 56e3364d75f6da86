from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.depth_coding import pack, to_counts, to_depth_m, unpack
from bridge.errors import BadMessage


def test_any_counts_come_back_bit_for_bit() -> None:
    rng = np.random.default_rng(2)
    edges = np.array([0, 1, 126, 127, 128, 129, 254, 255, 256, 32767, 32768, 65534, 65535], dtype=np.uint16)
    for _ in range(200):
        counts = rng.choice(edges, rng.integers(1, 10, 2))
        np.testing.assert_array_equal(unpack(pack(counts), *counts.shape), counts)


@pytest.mark.parametrize("unit_m", [1e-4, 1e-3], ids=["D405", "D435"])
def test_what_a_depth_camera_counts_comes_back_bit_for_bit_in_metres(unit_m: float) -> None:
    counts = np.random.default_rng(0).integers(0, 65536, (480, 640), dtype=np.uint16)
    depth_m = counts * np.float32(unit_m)
    sent, unit_um = to_counts(depth_m)
    back_m = to_depth_m(unpack(pack(sent), 480, 640), unit_um)
    assert unit_um == round(unit_m * 1e6)
    np.testing.assert_array_equal(back_m, depth_m)


def test_near_millimetres_are_exact_in_the_finer_unit_as_well() -> None:
    depth_m = np.array([[0.0, 0.311, 6.553]], dtype=np.float32)
    counts, unit_um = to_counts(depth_m)
    assert (counts.tolist(), unit_um) == ([[0, 3110, 65530]], 100)


def test_what_is_not_finite_is_a_hole() -> None:
    counts, _ = to_counts(np.array([[np.nan, np.inf, 0.5]], dtype=np.float32))
    assert counts.tolist() == [[0, 0, 5000]]


@pytest.mark.parametrize("depth_m", [-0.001, 65.6])
def test_depths_that_no_count_has_are_refused(depth_m: float) -> None:
    with pytest.raises(BadMessage, match=r"0 to 65\.5 m fit"):
        to_counts(np.array([[1.0, depth_m]], dtype=np.float32))


def test_a_noisy_picture_is_smaller_than_its_png_would_be() -> None:
    rng = np.random.default_rng(1)
    row, column = np.mgrid[0:480, 0:640]
    counts = (2000 + 3 * row + 40 * np.sin(column / 30) + rng.normal(0, 8, row.shape)).astype(np.uint16)
    assert len(pack(counts)) < 250_000  # raw: 614 400; OpenCV's PNG of it: 316 000


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_that_picture_or_a_bad_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        unpack(data, 48, 64)


def test_a_bomb_is_refused_before_it_fills_memory() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(200_000_000)) + packer.flush()
    assert len(bomb) < 400_000
    with pytest.raises(BadMessage, match="do not fill"):
        unpack(bomb, 48, 64)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(BadMessage, match="do not fill 4x3 px"):
        unpack(pack(np.zeros((4, 4), dtype=np.uint16)), 3, 4)
