"""ArmDescription: the single source of an arm's names, limits, tool, gripper law, cameras and rigs.

`load_arm("dofbot")` reads `urdf/dofbot/arm.toml` and the URDF that it names. A new arm is a new folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from urdf.actuator_facts import ActuatorFacts, actuator_facts
from urdf.chain import Chain, Joint, parse_urdf
from urdf.errors import ArmError, UnknownName
from urdf.gripper import GripperLaw
from urdf.pose import Array, Pose
from urdf.tables import arm_names, read_table

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class CameraMount:
    """A camera fixed to a link: pose in OpenCV convention (z forward, y down), vertical field of view, range."""

    name: str
    link: str
    link_from_camera: Pose
    fov_y_rad: float
    near_m: float
    far_m: float


@dataclass(frozen=True, slots=True)
class Guard:
    """A sphere fixed to a link, for the floor and self-collision checks of the safety filter."""

    link: str
    center_m: Array
    radius_m: float


@dataclass(frozen=True, slots=True)
class Rig:
    """How an arm is mounted and where it works. The desk frame has z up and its origin below the base axis."""

    name: str
    desk_from_base: Pose
    area_center_m: Array
    area_size_m: Array
    hover_m: float
    grasp_m: float
    max_tilt_rad: float
    home_rad: Array
    rest_rad: Array
    floor_m: float

    def contains(self, desk_xy_m: ArrayLike, margin_m: float = 0.0) -> bool:
        """Return whether a point of the desk lies in the block area, enlarged by `margin_m`."""
        offset = np.abs(np.asarray(desk_xy_m, dtype=np.float64) - self.area_center_m)
        return bool(np.all(offset <= self.area_size_m / 2 + margin_m))


@dataclass(frozen=True, slots=True)
class ArmDescription:
    """What an arm is. Arrays follow `joint_names`: the arm's joints in order, the gripper last."""

    name: str
    urdf_path: Path
    chain: Chain
    joint_names: tuple[str, ...]
    lower_rad: Array
    upper_rad: Array
    max_speed_rad_s: Array
    max_effort: Array
    margin_rad: float
    tool_link: str
    link_from_tool: Pose
    gripper: GripperLaw
    cameras: Mapping[str, CameraMount]
    rigs: Mapping[str, Rig]
    guards: tuple[Guard, ...]
    guard_pairs: tuple[tuple[int, int], ...]
    actuator: ActuatorFacts
    sha256: str

    @property
    def arm_joint_count(self) -> int:
        """The number of joints without the gripper."""
        return len(self.joint_names) - 1

    def rig(self, name: str) -> Rig:
        """Return a rig; raises UnknownName with the valid ones."""
        if name not in self.rigs:
            raise UnknownName(f"rig of {self.name}", name, self.rigs)
        return self.rigs[name]

    def camera(self, name: str) -> CameraMount:
        """Return a camera mount; raises UnknownName with the valid ones."""
        if name not in self.cameras:
            raise UnknownName(f"camera of {self.name}", name, self.cameras)
        return self.cameras[name]

    def joint_angles(self, position_rad: ArrayLike) -> dict[str, float]:
        """Return every URDF joint's angle for `position_rad` (arm joints, gripper last)."""
        values = [float(v) for v in np.asarray(position_rad, dtype=np.float64)]
        angles = dict(zip(self.joint_names[:-1], values[:-1], strict=True))
        angles.update({joint: sign * values[-1] for joint, sign in self.gripper.followers.items()})
        return angles

    def base_from_tool(self, position_rad: ArrayLike) -> Pose:
        """Return the tool frame for `position_rad` (n,) or (n - 1,): the gripper does not move the tool frame."""
        values = [float(v) for v in np.asarray(position_rad, dtype=np.float64)[: self.arm_joint_count]]
        angles = dict(zip(self.joint_names, values, strict=False))
        return Pose.from_matrix(self.chain.link_matrix(self.tool_link, angles)) @ self.link_from_tool


def load_arm(name: str, root: Path = _HERE) -> ArmDescription:
    """Return the arm in `root/name/arm.toml`; raises UnknownName or ArmError."""
    if name not in arm_names(root):
        raise UnknownName("arm", name, arm_names(root))
    path = root / name / "arm.toml"
    try:
        return _build(name, path, read_table(path, root))
    except UnknownName as error:
        raise ArmError(f"{path}: {error}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArmError(f"{path}: {type(error).__name__}: {error}") from error


def _build(name: str, path: Path, table: dict[str, object]) -> ArmDescription:
    urdf_path = (path.parent / str(table["urdf"])).resolve()
    joints = parse_urdf(urdf_path)
    by_name = {j.name: j for j in joints}
    names = cast(list[str], table["joints"])
    _check_names("joint of the URDF", names, by_name)
    arm_joints = [by_name[n] for n in names]
    gripper_table = cast(dict[str, object], table["gripper"])
    law = _gripper(gripper_table)
    _check_names("joint of the URDF", [*law.followers, *law.linkage, *law.linkage.values()], by_name)
    leader, *_ = law.followers
    gripper_joint = by_name[leader]
    tool = cast(dict[str, object], table["tool"])
    lower = np.array([j.lower for j in arm_joints] + [law.open_rad])
    upper = np.array([j.upper for j in arm_joints] + [law.closed_rad])
    guards, pairs = _guards(cast(list[dict[str, object]], table.get("guards", [])))
    cameras = {k: _camera(k, v) for k, v in cast(dict[str, dict[str, object]], table["cameras"]).items()}
    links = {joints[0].parent, *(j.child for j in joints)}
    _check_names("link", [str(tool["link"]), *(c.link for c in cameras.values()), *(g.link for g in guards)], links)
    arrays = {
        "lower_rad": lower,
        "upper_rad": upper,
        "max_speed_rad_s": np.array([j.max_speed for j in [*arm_joints, gripper_joint]]),
        "max_effort": np.array([j.max_effort for j in [*arm_joints, gripper_joint]]),
    }
    for array in arrays.values():
        array.setflags(write=False)
    return ArmDescription(
        name=name,
        urdf_path=urdf_path,
        chain=Chain(joints),
        joint_names=(*[j.name for j in arm_joints], "gripper"),
        margin_rad=math.radians(float(cast(float, table["limit_margin_deg"]))),
        tool_link=str(tool["link"]),
        link_from_tool=_pose(tool),
        gripper=law,
        cameras=cameras,
        rigs={k: _rig(k, v, lower, upper) for k, v in cast(dict[str, dict[str, object]], table["rigs"]).items()},
        guards=guards,
        guard_pairs=pairs,
        actuator=actuator_facts(table.get("actuator"), len(lower)),
        sha256=_meaning(joints, arm_joints, law, tool),
        **arrays,
    )


def _check_names(kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    known = set(valid)
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


def _meaning(joints: tuple[Joint, ...], arm_joints: list[Joint], law: GripperLaw, tool: dict[str, object]) -> str:
    """Return the hash of what decides where the tool goes: kinematics, limits, tool and gripper."""
    facts = {
        "joints": [
            [
                *(j.name, j.kind, j.parent, j.child),
                [round(v, 9) for v in j.parent_from_joint.as_matrix().ravel()],
                [round(float(v), 9) for v in j.axis],
                *(j.lower, j.upper),
            ]
            for j in joints
        ],
        "order": [j.name for j in arm_joints],
        "gripper": [
            dict(law.followers),
            *(law.crank_a_m, law.crank_b_m, law.offset_m, law.tip_height_m),
            *(law.open_rad, law.closed_rad),
        ],
        "tool": [str(tool["link"]), [round(v, 9) for v in _pose(tool).as_matrix().ravel()]],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _floats(value: object, count: int) -> Array:
    array = np.array([float(v) for v in cast(list[float], value)])
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"expected {count} finite numbers, got {value!r}")
    array.setflags(write=False)
    return array


def _pose(table: Mapping[str, object]) -> Pose:
    rpy_deg = _floats(table.get("rpy_deg", [0.0, 0.0, 0.0]), 3)
    return Pose.from_rpy(_floats(table["xyz_m"], 3), np.radians(rpy_deg))


def _number(table: Mapping[str, object], key: str) -> float:
    value = table[key]
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a finite number, got {value!r}")
    return float(value)


def _gripper(table: dict[str, object]) -> GripperLaw:
    return GripperLaw(
        followers={k: float(v) for k, v in cast(dict[str, float], table["followers"]).items()},
        linkage={k: str(v) for k, v in cast(dict[str, str], table.get("linkage", {})).items()},
        crank_a_m=_number(table, "crank_a_m"),
        crank_b_m=_number(table, "crank_b_m"),
        offset_m=_number(table, "offset_m"),
        tip_height_m=_number(table, "tip_height_m"),
        open_rad=_number(table, "open_rad"),
        closed_rad=_number(table, "closed_rad"),
    )


def _camera(name: str, table: dict[str, object]) -> CameraMount:
    return CameraMount(
        name=name,
        link=str(table["link"]),
        link_from_camera=_pose(table),
        fov_y_rad=math.radians(_number(table, "fov_y_deg")),
        near_m=_number(table, "near_m"),
        far_m=_number(table, "far_m"),
    )


def _rig(name: str, table: dict[str, object], lower_rad: Array, upper_rad: Array) -> Rig:
    return Rig(
        name=name,
        desk_from_base=_pose(table),
        area_center_m=_floats(table["area_center_m"], 2),
        area_size_m=_floats(table["area_size_m"], 2),
        hover_m=_number(table, "hover_m"),
        grasp_m=_number(table, "grasp_m"),
        max_tilt_rad=math.radians(_number(table, "max_tilt_deg")),
        home_rad=_within_limits(_floats(table["home_rad"], len(lower_rad)), lower_rad, upper_rad),
        rest_rad=_within_limits(_floats(table["rest_rad"], len(lower_rad)), lower_rad, upper_rad),
        floor_m=_number(table, "floor_m"),
    )


def _within_limits(position_rad: Array, lower_rad: Array, upper_rad: Array) -> Array:
    """Return the pose, jaws open no further than they go: a rig may come from an arm whose jaws open wider."""
    pose = _floats([*position_rad[:-1].tolist(), max(float(position_rad[-1]), float(lower_rad[-1]))], len(position_rad))
    if (pose < lower_rad).any() or (pose > upper_rad).any():
        raise ValueError(f"the pose {pose.tolist()} lies outside the joint limits")
    return pose


def _guards(tables: list[dict[str, object]]) -> tuple[tuple[Guard, ...], tuple[tuple[int, int], ...]]:
    """Return the guard spheres and the index pairs that may collide: those whose `against` names the other's link."""
    guards = tuple(Guard(str(t["link"]), _floats(t["center_m"], 3), _number(t, "radius_m")) for t in tables)
    pairs = tuple(
        (i, j)
        for i, t in enumerate(tables)
        for j, other in enumerate(guards)
        if other.link in cast(list[str], t.get("against", []))
    )
    return guards, pairs


def urdf_folder() -> Path:
    """Return the folder that holds the arms and the objects."""
    return _HERE
