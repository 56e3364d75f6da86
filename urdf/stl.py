"""Binary STL files whose facets tell which way they face. Without that, renderers draw them black."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from urdf.pose import Array

_HEADER_BYTES = 80
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def with_normals(path: Path, folder: Path) -> Path:
    """Return `path`, or a copy in `folder` with the normals that the corners tell where all of the file's are zero.

    A file that is no binary STL is returned as it is. The copy's name is the hash of its content.
    """
    data = path.read_bytes()
    count = int.from_bytes(data[_HEADER_BYTES : _HEADER_BYTES + 4], "little")
    begin = _HEADER_BYTES + 4
    if path.suffix.lower() != ".stl" or len(data) != begin + count * _FACET.itemsize:
        return path
    facets = np.frombuffer(data, dtype=_FACET, offset=begin).copy()
    if not count or facets["normal"].any():
        return path
    facets["normal"] = facet_normals(facets["corners"].astype(np.float64))
    return _keep(folder, path.stem, data[:begin] + facets.tobytes())


def facet_normals(corners: Array) -> Array:
    """Return the unit normals (m, 3) of triangles (m, 3, 3), counter-clockwise seen from outside; zero for a sliver."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0.0)


def _keep(folder: Path, stem: str, data: bytes) -> Path:
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}.stl"
    if path.is_file() and path.read_bytes() == data:
        return path
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
