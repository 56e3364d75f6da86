"""Feature units: what each number of an action or an observation means, in which unit, and what it ranges over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from bridge.actions import MAX_LATERAL_STEP_M, MAX_STEP_M, MAX_TURN_RAD, ActionLayout, clamp_to_workspace
from bridge.attempt import MAX_LEAD_M
from bridge.encoding import (
    HEADING_SCALE,
    JOINT_SPEED_SCALE_RAD_S,
    LENGTH_SCALE_M,
    OFFSET_SCALE_M,
    OPENING_SCALE_M,
    PLACE_SCALE_M,
    ObservationLayout,
    ToolFrame,
    proprioception_layout,
)
from bridge.reach import ReachAttempt
from sim.env import ArmEnv
from sim.observer import PRIVILEGED_SCALE_M, privileged_names
from urdf.errors import UnknownName
from urdf.pose import Array

_AXES = "xyz"
_WHAT = {"block": "object", "tool": "tool", "goal": "goal", "command": "commanded tool"}
_FLAGS = {
    "phase_descend": "1 while the policy descends",
    "phase_close": "1 while the jaws close",
    "phase_lift": "1 while the object is lifted",
    "phase_hold": "1 while it is held",
    "closing": "1 while the jaws are asked to close",
    "holding": "1 once they have closed on something",
}


class Feature(msgspec.Struct, frozen=True):
    """One number of a vector: `per_one` is how much of `unit` a 1 means; `low` and `high` are what it ranges over."""

    name: str
    meaning: str
    unit: str
    per_one: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Boxes:
    """Where tool, object and goal are while all goes well: lower and upper corner (2, 3) [m] in the desk frame."""

    tool: Array
    block: Array
    goal: Array

    def of(self, name: str) -> Array:
        """Return the box of a thing; the commanded tool is where the tool is."""
        return {"block": self.block, "goal": self.goal}.get(name, self.tool)


def action_features(layout: ActionLayout) -> tuple[Feature, ...]:
    """Return what the numbers of an action mean, each in [-1, 1]; motions are those of one control period."""
    meanings = {
        **{f"d{axis}": (f"tool along the desk's {axis}, a period", "mm", 1000 * MAX_STEP_M) for axis in _AXES},
        "dyaw": ("turn of the jaws, a period", "deg", math.degrees(MAX_TURN_RAD)),
        "grip": ("the jaws close above 0, open below", "", 1.0),
    }
    assert MAX_STEP_M == MAX_LATERAL_STEP_M  # one entry serves both layouts
    return tuple(Feature(name, *meanings[name], -1.0, 1.0) for name in layout.names)


def state_features(env: ArmEnv) -> tuple[Feature, ...]:
    """Return what the numbers of the task's state mean; raises UnknownName for one that nobody has described."""
    boxes = _boxes(env)
    return tuple(_state_feature(env, boxes, name) for name in env.observation_layout.feature_names)


def proprioception_features(env: ArmEnv) -> tuple[Feature, ...]:
    """Return what the numbers of the proprioception mean."""
    description, boxes = env.description, _boxes(env)
    layout = proprioception_layout(description)
    features: list[Feature] = []
    for k, name in enumerate(description.joint_names):
        low, high = float(description.lower_rad[k]), float(description.upper_rad[k])
        features.append(Feature(f"{name}_position", f"angle of {name}", "rad", 1.0, low, high))
    for k, name in enumerate(description.joint_names):
        most = float(description.max_speed_rad_s[k]) / JOINT_SPEED_SCALE_RAD_S
        features.append(Feature(f"{name}_speed", f"speed of {name}", "rad/s", JOINT_SPEED_SCALE_RAD_S, -most, most))
    features += [_place(env, boxes, "tool", axis, PLACE_SCALE_M) for axis in _AXES]
    features += [_turn(f"tool_heading_{wave}2", "heading of the jaws, doubled", 1.0) for wave in ("cos", "sin")]
    features.append(_opening(env))
    lead, mm = MAX_LEAD_M / OFFSET_SCALE_M, 1000 * OFFSET_SCALE_M
    features += [
        Feature(f"command_from_tool_{axis}", f"{axis} of the commanded tool from the tool", "mm", mm, -lead, lead)
        for axis in _AXES
    ]
    features.append(msgspec.structs.replace(_opening(env), name="commanded_opening", meaning="opening asked for"))
    assert tuple(f.name for f in features) == layout.feature_names
    return tuple(features)


def privileged_features(env: ArmEnv) -> tuple[Feature, ...]:
    """Return what the numbers mean that only physics knows; raises UnknownName for one that nobody has described."""
    boxes, names = _boxes(env), privileged_names(env.description.joint_names)
    joints = {f.name: f for f in proprioception_features(env)}
    return tuple(joints[name] if name in joints and "tool" not in name else _known(env, boxes, name) for name in names)


def _known(env: ArmEnv, boxes: _Boxes, name: str) -> Feature:
    thing, _, axis = name.rpartition("_")
    k = _AXES.index(axis) if axis in _AXES else 0
    if name == "jaws_touching":
        return Feature(name, "jaws that touch the object", "", 1.0, 0.0, 2.0)
    if name == "object_size":
        sizes_m = [pooled.size_m for pooled in env.world.objects.objects]
        low, high = min(sizes_m) / PRIVILEGED_SCALE_M, max(sizes_m) / PRIVILEGED_SCALE_M
        return Feature(name, "width of the object", "mm", 1000 * PRIVILEGED_SCALE_M, low, high)
    if thing.startswith("block_axis_"):
        return Feature(name, f"the object's own {thing[-1]} axis along the desk's {axis}", "", 1.0, -1.0, 1.0)
    if thing == "block_from_tool":
        low, high = (float(boxes.block[i, k] - boxes.tool[1 - i, k]) / PRIVILEGED_SCALE_M for i in (0, 1))
        return Feature(name, f"{axis} of the object from the tool", "mm", 1000 * PRIVILEGED_SCALE_M, low, high)
    if thing in ("block", "tool"):
        return _place(env, boxes, thing, axis, PRIVILEGED_SCALE_M)
    raise UnknownName("privileged number", name, privileged_names(env.description.joint_names))


def _state_feature(env: ArmEnv, boxes: _Boxes, name: str) -> Feature:
    layout = env.observation_layout
    if name in _FLAGS:
        return Feature(name, _FLAGS[name], "", 1.0, 0.0, 1.0)
    if name == "opening":
        return _opening(env)
    if name == "descent_left":
        return Feature(name, "share of the descent that is left", "", 1.0, 0.0, 1.0)
    if "_from_" in name:
        return _offset(layout, boxes, name)
    if "_heading_" in name:
        times = "doubled" if name.endswith("2") else "times four"
        return _turn(name, f"heading of the {_WHAT[name.partition('_')[0]]}, {times}", HEADING_SCALE)
    if "_turn_" in name:
        return _turn(name, "heading of the object from the jaws', times four", 1.0)
    thing, _, axis = name.rpartition("_")
    if thing in _WHAT and axis in _AXES:
        grasp_height = layout.name == "grasp-state" and axis == "z"
        return _place(env, boxes, thing, axis, LENGTH_SCALE_M if grasp_height else PLACE_SCALE_M)
    raise UnknownName(f"feature of {layout.name}", name, layout.feature_names)


def _offset(layout: ObservationLayout, boxes: _Boxes, name: str) -> Feature:
    thing, _, rest = name.partition("_from_")
    origin, _, axis = rest.rpartition("_")
    grasp_height = layout.name == "grasp-state" and axis == "z"
    scale_m = LENGTH_SCALE_M if grasp_height else OFFSET_SCALE_M
    k = _AXES.index(axis)
    low = (boxes.of(thing)[0, k] - boxes.of(origin)[1, k]) / scale_m
    high = (boxes.of(thing)[1, k] - boxes.of(origin)[0, k]) / scale_m
    return Feature(
        name, f"{axis} of the {_WHAT[thing]} from the {_WHAT[origin]}", "mm", 1000 * scale_m, float(low), float(high)
    )


def _place(env: ArmEnv, boxes: _Boxes, thing: str, axis: str, scale_m: float) -> Feature:
    k = _AXES.index(axis)
    origin_m = float(env.rig.area_center_m[k]) if k < 2 else 0.0
    where = "from the middle of the area" if k < 2 else "over the desk"
    low, high = ((float(boxes.of(thing)[side, k]) - origin_m) / scale_m for side in (0, 1))
    return Feature(f"{thing}_{axis}", f"{axis} of the {_WHAT[thing]} {where}", "mm", 1000 * scale_m, low, high)


def _turn(name: str, meaning: str, scale: float) -> Feature:
    wave = "cosine" if "cos" in name else "sine"
    return Feature(name, f"{wave} of the {meaning}", "", 1.0 / scale, -scale, scale)


def _opening(env: ArmEnv) -> Feature:
    gripper = env.description.gripper
    widest, narrowest = (gripper.opening_m(g) / OPENING_SCALE_M for g in (gripper.open_rad, gripper.closed_rad))
    return Feature("opening", "distance between the jaws", "mm", 1000 * OPENING_SCALE_M, narrowest, widest)


def _boxes(env: ArmEnv) -> _Boxes:
    rig = env.rig
    home_m, _ = ToolFrame(env.description, rig).locate(rig.home_rad)
    if isinstance(env.attempt, ReachAttempt):
        reach = np.array([rig.reach_lower_m, rig.reach_upper_m])
        tool = np.array([np.minimum(reach[0], home_m), np.maximum(reach[1], home_m)])
        return _Boxes(tool, tool, reach)
    beyond_m = np.full(2, 1e3)
    corners = [clamp_to_workspace(side * beyond_m, rig, home_m[:2]) for side in (-1.0, 1.0)]
    tool = np.array([[*corners[0], rig.grasp_m], [*corners[1], rig.hover_m]])
    half_m = env.world.objects.target.size_m / 2
    # What is held goes where the tool goes.
    block = np.array([[*corners[0], half_m], [*corners[1], rig.hover_m]])
    half = rig.area_size_m / 2
    goal = np.array([[*(rig.area_center_m - half), half_m], [*(rig.area_center_m + half), half_m]])
    return _Boxes(tool, block, goal)
