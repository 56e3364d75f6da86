"""From what is known to what a policy sees. The layout has a name and a version; a policy states the one it learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose


class Phase(IntEnum):
    """The stages of a grasp attempt. The policy moves the tool in DESCEND; the rest is scripted."""

    DESCEND = 0
    CLOSE = 1
    LIFT = 2
    HOLD = 3
    DONE = 4


@dataclass(frozen=True, slots=True)
class ObservationLayout:
    """Names and order of the features of an observation vector."""

    name: str
    version: int
    feature_names: tuple[str, ...]

    def index(self, feature: str) -> int:
        """Return the place of a feature."""
        return self.feature_names.index(feature)

    @property
    def size(self) -> int:
        """The number of features."""
        return len(self.feature_names)


GRASP_STATE = ObservationLayout(
    "grasp-state",
    3,
    (
        "block_from_command_x",
        "block_from_command_y",
        "block_from_tool_x",
        "block_from_tool_y",
        "block_from_tool_z",
        "tool_x",
        "tool_y",
        "tool_z",
        "block_x",
        "block_y",
        "tool_heading_cos2",
        "tool_heading_sin2",
        "block_heading_cos4",
        "block_heading_sin4",
        "opening",
        "descent_left",
        "phase_descend",
        "phase_close",
        "phase_lift",
        "phase_hold",
    ),
)
#: Lengths are divided by this: a block area is 0.1 m wide.
LENGTH_SCALE_M = 0.1
#: Sideways distances to the block are divided by this: what decides about them are millimetres (15 mm is a miss).
OFFSET_SCALE_M = 0.03
#: Where on the desk all this happens, and which way things are turned, hardly matters to a sideways motion: small
#: numbers keep a network that has seen a few hundred episodes from reading something into them.
PLACE_SCALE_M = 0.4
HEADING_SCALE = 0.2
OPENING_SCALE_M = 0.06


@dataclass(frozen=True, slots=True)
class GraspSituation:
    """What is known in one control period, in the desk frame. `command_m` is the last commanded tool position."""

    tool_m: Array
    tool_heading_rad: float
    command_m: Array
    opening_m: float
    block: Pose
    phase: Phase


def encode_grasp_state(situation: GraspSituation, rig: Rig) -> NDArray[np.float32]:
    """Return the observation (20,) of `GRASP_STATE`."""
    tool, block = situation.tool_m, situation.block.position_m
    center = rig.area_center_m
    scale = 1.0 / LENGTH_SCALE_M
    heading, block_yaw = 2 * situation.tool_heading_rad, 4 * situation.block.yaw_rad
    command = situation.command_m
    features = [
        (block[0] - command[0]) / OFFSET_SCALE_M,
        (block[1] - command[1]) / OFFSET_SCALE_M,
        (block[0] - tool[0]) / OFFSET_SCALE_M,
        (block[1] - tool[1]) / OFFSET_SCALE_M,
        (block[2] - tool[2]) * scale,
        (tool[0] - center[0]) / PLACE_SCALE_M,
        (tool[1] - center[1]) / PLACE_SCALE_M,
        tool[2] * scale,
        (block[0] - center[0]) / PLACE_SCALE_M,
        (block[1] - center[1]) / PLACE_SCALE_M,
        HEADING_SCALE * math.cos(heading),
        HEADING_SCALE * math.sin(heading),
        HEADING_SCALE * math.cos(block_yaw),
        HEADING_SCALE * math.sin(block_yaw),
        situation.opening_m / OPENING_SCALE_M,
        (command[2] - rig.grasp_m) / (rig.hover_m - rig.grasp_m),
        *(1.0 if situation.phase == phase else 0.0 for phase in (Phase.DESCEND, Phase.CLOSE, Phase.LIFT, Phase.HOLD)),
    ]
    return np.array(features, dtype=np.float32)


class ToolFrame:
    """Forward kinematics of the tool in the desk frame, in NumPy."""

    def __init__(self, description: ArmDescription, rig: Rig) -> None:
        self._description = description
        self._desk_from_base = rig.desk_from_base

    def locate(self, position_rad: Array) -> tuple[Array, float]:
        """Return the tool's position (3,) [m] and the heading of its jaws [rad]."""
        pose = self._desk_from_base @ self._description.base_from_tool(position_rad)
        return pose.position_m, pose.yaw_rad
