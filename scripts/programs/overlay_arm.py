"""The arm on the screen of a teleoperation: as lines, as somebody in front of the desk sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scripts.programs.overlay_pen import NIGHT, Colour, OverlayPen
from sim.objects import BLOCK_SIZE_M
from sim.scene_view import FOV_Y_RAD, scene_view
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

#: Width and height of the picture in the picture, in the overlay's units.
WIDTH, HEIGHT = 172.0, 129.0
_DESK: Colour = (92, 104, 120)
_BONE: Colour = (244, 247, 250)
_BLOCK: Colour = (255, 193, 71)
_PLACE: Colour = (92, 168, 255)
_FOCAL = 0.5 / math.tan(FOV_Y_RAD / 2)
#: From the middle, so much of the picture is taken by the area and the arm at home: an arm may reach higher.
_FILLED = 0.36


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """How the joints stand, where the block is seen, and where it is to go (3,) in the desk frame."""

    position_rad: tuple[float, ...]
    base_from_block: Pose | None = None
    place_m: Array | None = None


class ArmSketch:
    """Lines of one arm on its desk, in shares of the width and height of a picture of 4 by 3."""

    def __init__(self, description: ArmDescription, rig: Rig) -> None:
        self._description, self._rig = description, rig
        self._camera_from_desk = scene_view(rig).inverse()
        parents = {joint.child: joint.parent for joint in description.chain.joints}
        links = [description.tool_link]
        while links[-1] in parents:
            links.append(parents[links[-1]])
        self._links = tuple(reversed(links))
        self._zoom = 1.0
        at_home = np.concatenate([self.area(), self.bones(rig.home_rad.tolist())])
        self._zoom = _FILLED / float(np.abs(at_home - 0.5).max())

    def area(self) -> Array:
        """Return the outline (5, 2) of the area in which the block lies."""
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * self._rig.area_size_m / 2
        return self._shares(np.column_stack([self._rig.area_center_m + corners, np.zeros(5)]))

    def bones(self, position_rad: Sequence[float]) -> Array:
        """Return the line (n, 2) from the base over the joints to the tool."""
        angles = self._description.joint_angles(np.array(position_rad))
        matrices = self._description.chain.link_matrices(angles)
        tool_m = self._description.base_from_tool(position_rad).position_m
        points_m = np.array([*(matrices[link][:3, 3] for link in self._links), tool_m])
        return self._shares(self._rig.desk_from_base.apply(points_m))

    def jaws(self, position_rad: Sequence[float]) -> Array:
        """Return the line (2, 2) across the jaws, as wide as they are open."""
        tool = self._rig.desk_from_base @ self._description.base_from_tool(position_rad)
        half_m = self._description.gripper.opening_m(position_rad[-1]) / 2
        return self._shares(tool.apply(np.array([[-half_m, 0.0, 0.0], [half_m, 0.0, 0.0]])))

    def block(self, base_from_block: Pose) -> Array:
        """Return the outline (5, 2) of the upper face of the block."""
        corners_m = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * BLOCK_SIZE_M / 2
        face_m = np.column_stack([corners_m, np.full(5, BLOCK_SIZE_M / 2)])
        return self._shares((self._rig.desk_from_base @ base_from_block).apply(face_m))

    def place(self, place_m: Array) -> Array:
        """Return a cross (5, 2) on the desk, under a place (3,) in the desk frame."""
        arms_m = np.array([(-1, 0), (1, 0), (0, 0), (0, 1), (0, -1)]) * BLOCK_SIZE_M / 2
        return self._shares(np.column_stack([place_m[:2] + arms_m, np.zeros(5)]))

    def _shares(self, desk_m: Array) -> Array:
        seen = self._camera_from_desk.apply(desk_m)
        return 0.5 + self._zoom * _FOCAL * seen[:, :2] / seen[:, 2:] * [HEIGHT / WIDTH, 1.0]


def draw_arm(pen: OverlayPen, sketch: ArmSketch, facts: ArmFacts, corner: tuple[float, float], unit: float) -> None:
    """Draw the arm, and the block where it is seen, in a panel whose upper right corner is there."""
    right, top = corner
    left, bottom = right - WIDTH * unit, top + HEIGHT * unit
    pen.panel((left, top, right, bottom), NIGHT, 0.78, 10 * unit)

    def line(shares: Array, colour: Colour, width: float) -> None:
        places = [(left + x * WIDTH * unit, top + y * HEIGHT * unit) for x, y in np.clip(shares, 0.02, 0.98).tolist()]
        for begin, end in pairwise(places):
            pen.bone(begin, end, colour, width * unit)

    line(sketch.area(), _DESK, 1.5)
    if facts.place_m is not None:
        line(sketch.place(facts.place_m), _PLACE, 2.0)
    if facts.base_from_block is not None:
        line(sketch.block(facts.base_from_block), _BLOCK, 2.5)
    line(sketch.bones(facts.position_rad), _BONE, 5.0)
    line(sketch.jaws(facts.position_rad), _BONE, 3.0)
