"""Meshes as PyBullet wants them: it lights an STL by the normals in the file, and some files leave them at zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from urdf.errors import ArmError
from urdf.kept import keep

_HEADER_BYTES = 84
_TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def lit(path: Path) -> Path:
    """Return a binary STL whose triangles have normals: the file itself, or a copy with those of the corners' order.

    Files of other kinds, text STL included, are returned as they are. Raises ArmError for one that is cut short.
    """
    content = path.read_bytes()
    if path.suffix.lower() != ".stl" or content[:5] == b"solid" or len(content) < _HEADER_BYTES:
        return path
    count = int.from_bytes(content[80:_HEADER_BYTES], "little")
    if len(content) < _HEADER_BYTES + count * _TRIANGLE.itemsize:
        raise ArmError(f"{path}: {count} triangles are announced, the file is cut short")
    triangles = np.frombuffer(content, dtype=_TRIANGLE, count=count, offset=_HEADER_BYTES).copy()
    if np.abs(triangles["normal"]).sum(axis=1).min(initial=1.0) > 0.0:
        return path
    corners = triangles["corners"].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    triangles["normal"] = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return keep(path.stem, ".stl", content[:_HEADER_BYTES] + triangles.tobytes())
