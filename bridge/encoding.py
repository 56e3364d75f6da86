"""From what is known to what a policy sees. The layout has a name and a version; a policy states the one it learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bridge.messages import RobotState
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose


class Phase(IntEnum):
    """The stages of an attempt. A grasp: the policy moves the tool in DESCEND, the rest is scripted.

    In MOVE the policy moves the tool freely, from the beginning of a reach or a pick-and-place to its end.
    """

    DESCEND = 0
    CLOSE = 1
    LIFT = 2
    HOLD = 3
    DONE = 4
    MOVE = 5


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

    def without_object(self) -> tuple[int, ...]:
        """Return the places of the features that do not tell where the object is."""
        return tuple(k for k, name in enumerate(self.feature_names) if not name.startswith("block_"))


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
REACH_STATE = ObservationLayout(
    "reach-state",
    1,
    (
        *(f"goal_from_command_{axis}" for axis in "xyz"),
        *(f"goal_from_tool_{axis}" for axis in "xyz"),
        *(f"tool_{axis}" for axis in "xyz"),
        *(f"goal_{axis}" for axis in "xyz"),
    ),
)

PICK_PLACE_STATE = ObservationLayout(
    "pick-place-state",
    1,
    (
        *(f"block_from_command_{axis}" for axis in "xyz"),
        *(f"block_from_tool_{axis}" for axis in "xyz"),
        *(f"block_from_goal_{axis}" for axis in "xyz"),
        *(f"goal_from_command_{axis}" for axis in "xyz"),
        *(f"tool_{axis}" for axis in "xyz"),
        "block_turn_cos4",
        "block_turn_sin4",
        "opening",
        "closing",
        "holding",
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
JOINT_SPEED_SCALE_RAD_S = 3.0


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
    # Plain floats: a few numbers are quicker without array expressions.
    tool, block = situation.tool_m.tolist(), situation.block.position_m.tolist()
    command, center = situation.command_m.tolist(), rig.area_center_m.tolist()
    scale = 1.0 / LENGTH_SCALE_M
    heading, block_yaw = 2 * situation.tool_heading_rad, 4 * situation.block.yaw_rad
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
        self.description = description
        self.rig = rig

    def locate(self, position_rad: Array) -> tuple[Array, float]:
        """Return the tool's position (3,) [m] and the heading of its jaws [rad]."""
        pose = self.rig.desk_from_base @ self.description.base_from_tool(position_rad)
        return pose.position_m, pose.yaw_rad


def _scaled_offset(offset_m: Array) -> list[float]:
    return (np.asarray(offset_m) / OFFSET_SCALE_M).tolist()


def _scaled_place(position_m: Array, rig: Rig) -> list[float]:
    x, y, z = (float(v) for v in position_m)
    center = rig.area_center_m
    return [(x - center[0]) / PLACE_SCALE_M, (y - center[1]) / PLACE_SCALE_M, z / PLACE_SCALE_M]


def encode_reach_state(tool_m: Array, command_m: Array, goal_m: Array, rig: Rig) -> NDArray[np.float32]:
    """Return the observation (12,) of `REACH_STATE` from positions (3,) in the desk frame."""
    features = [
        *_scaled_offset(goal_m - command_m),
        *_scaled_offset(goal_m - tool_m),
        *_scaled_place(tool_m, rig),
        *_scaled_place(goal_m, rig),
    ]
    return np.array(features, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class PlaceSituation:
    """What is known in one control period of a pick-and-place, in the desk frame."""

    tool_m: Array
    command_m: Array
    heading_rad: float
    opening_m: float
    closing: bool
    holding: bool
    block: Pose
    goal_m: Array


def encode_pick_place_state(situation: PlaceSituation, rig: Rig) -> NDArray[np.float32]:
    """Return the observation (20,) of `PICK_PLACE_STATE`."""
    s, block_m = situation, situation.block.position_m
    turn = 4 * (s.block.yaw_rad - s.heading_rad)
    features = [
        *_scaled_offset(block_m - s.command_m),
        *_scaled_offset(block_m - s.tool_m),
        *_scaled_offset(block_m - s.goal_m),
        *_scaled_offset(s.goal_m - s.command_m),
        *_scaled_place(s.tool_m, rig),
        math.cos(turn),
        math.sin(turn),
        s.opening_m / OPENING_SCALE_M,
        float(s.closing),
        float(s.holding),
    ]
    return np.array(features, dtype=np.float32)


def proprioception_layout(description: ArmDescription) -> ObservationLayout:
    """Return what an arm knows of itself: joints, their speeds, the tool and the jaws, and where these were sent.

    An arm lags behind its commands by dead time and servo lag: who knows not what is under way sends it again.
    """
    names = description.joint_names
    features = (
        *(f"{name}_position" for name in names),
        *(f"{name}_speed" for name in names),
        *(f"tool_{axis}" for axis in "xyz"),
        "tool_heading_cos2",
        "tool_heading_sin2",
        "opening",
        *(f"command_from_tool_{axis}" for axis in "xyz"),
        "commanded_opening",
    )
    return ObservationLayout(f"proprioception-{description.name}", 2, features)


def encode_proprioception(
    state: RobotState, frame: ToolFrame, command_m: Array, commanded_gripper_rad: float
) -> NDArray[np.float32]:
    """Return the observation (2 n + 10,) of `proprioception_layout`: rad, rad/s / 3, scaled metres.

    `command_m` is the last commanded tool position (3,) in the desk frame.
    """
    position_rad = np.array(state.position_rad)
    tool_m, heading_rad = frame.locate(position_rad)
    features = [
        *state.position_rad,
        *(v / JOINT_SPEED_SCALE_RAD_S for v in state.velocity_rad_s),
        *_scaled_place(tool_m, frame.rig),
        math.cos(2 * heading_rad),
        math.sin(2 * heading_rad),
        frame.description.gripper.opening_m(state.position_rad[-1]) / OPENING_SCALE_M,
        *_scaled_offset(command_m - tool_m),
        frame.description.gripper.opening_m(commanded_gripper_rad) / OPENING_SCALE_M,
    ]
    return np.array(features, dtype=np.float32)
