"""What the depth caster's kernel is told of a scene and a camera: plain tuples of arrays and numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BOX, SPHERE, CYLINDER, CAPSULE, PLANE, MESH = range(6)

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int32]


class Lens(NamedTuple):
    """Focal length, column and row of the optical axis [px], and the range of depths [m]."""

    focal_px: float
    column_px: float
    row_px: float
    near_m: float
    far_m: float


class Canvas(NamedTuple):
    """The inverse depth of what is nearest so far (H, W), and which shape that is."""

    inverse: Singles
    owner: Integers


class Shapes(NamedTuple):
    """A row for each shape.

    Shape k sits on link `slot[k]` at (`rotation[k]`, `position[k]`) and fits into a sphere of `radius[k]` around
    `center[k]` of its own frame. `size` is a box's half extents, or radius and half length. `part` says where a mesh's
    vertices and triangles begin and end, `label` which body and link the shape belongs to.
    """

    kind: Integers
    slot: Integers
    rotation: Floats
    position: Floats
    size: Floats
    center: Floats
    radius: Floats
    part: Integers
    label: Integers
    vertices: Singles
    triangles: Integers
