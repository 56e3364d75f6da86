"""Meshes whose facets do not say which way they face."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from urdf.stl import facet_normals, with_normals

#: A tetrahedron with a corner at the origin; its first face lies in the plane z = 0 and looks down.
CORNERS = np.array([[[0, 0, 0], [0, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 1], [0, 1, 0]]], dtype=np.float32)


def stl(normals: np.ndarray) -> bytes:
    facets = b"".join(
        n.astype("<f4").tobytes() + c.astype("<f4").tobytes() + b"\0\0" for n, c in zip(normals, CORNERS, strict=True)
    )
    return b"made by a test".ljust(80) + len(CORNERS).to_bytes(4, "little") + facets


def test_normals_point_out_of_counter_clockwise_faces() -> None:
    assert np.allclose(facet_normals(CORNERS.astype(np.float64)), [[0, 0, -1], [-1, 0, 0]])
    flat = np.zeros((1, 3, 3))
    assert (facet_normals(flat) == 0.0).all()


def test_a_file_without_normals_gets_them_and_keeps_its_shape(tmp_path: Path) -> None:
    bare = tmp_path / "bare.stl"
    bare.write_bytes(stl(np.zeros((2, 3))))
    mended = with_normals(bare, tmp_path)
    assert mended != bare
    assert mended.read_bytes() == stl(np.array([[0, 0, -1], [-1, 0, 0]]))
    assert with_normals(bare, tmp_path) == mended


def test_a_file_with_normals_and_what_is_no_stl_stay_as_they_are(tmp_path: Path) -> None:
    whole = tmp_path / "whole.stl"
    whole.write_bytes(stl(np.array([[0, 0, -1], [-1, 0, 0]])))
    cut = tmp_path / "cut.stl"
    cut.write_bytes(stl(np.zeros((2, 3)))[:-1])
    other = tmp_path / "other.obj"
    other.write_bytes(stl(np.zeros((2, 3))))
    assert [with_normals(path, tmp_path) for path in (whole, cut, other)] == [whole, cut, other]
