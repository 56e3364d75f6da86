"""ArmDescription: the single source of an arm's names, limits, tool, gripper law, cameras and rigs.

`load_arm("dofbot")` reads `urdf/dofbot/arm.toml` and the URDF that it names. A new arm is a new folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from urdf.actuator_facts import ActuatorFacts, actuator_facts
from urdf.chain import Chain, Joint, parse_urdf
from urdf.compose import urdf_file
from urdf.errors import ArmError, PackageMissing, UnknownName
from urdf.gripper import Gripper, read_gripper
from urdf.limb import LimbRules, read_limb
from urdf.pose import Array, Pose
from urdf.rig import DESK, CameraMount, Guard, Rig, read_camera, read_guards, read_rig
from urdf.tables import (
    MissingKey,
    OutOfRange,
    arm_names,
    names_in,
    number,
    only,
    pose_in,
    read_table,
    table_in,
    tables_in,
)

Mounted = TypeVar("Mounted", CameraMount, Rig)

_HERE = Path(__file__).parent
_KEYS = (
    *("extends", "urdf", "drop_links", "drawn_rgba", "attach", "limits", "joints", "limit_margin_deg", "tool"),
    *("gripper", "physics", "actuator", "cameras", "rigs", "guards", "limb"),
)


@dataclass(frozen=True, slots=True)
class PhysicsTuning:
    """How a physics engine is to drive this arm; what an arm.toml's `[physics]` leaves out is the Dofbot's.

    Gains are the share of the position error that a motor removes in one physics step. Jaws that are tied by metal
    are held by `linkage_force` (N m, or N on a rail). Armatures [kg m^2] are what a motor's rotor weighs behind its
    gears, on every joint of the arm and of the gripper: without them a block between thin fingers needs hundreds of
    solver iterations, with them it needs tens (docs/dofbot.md). They are our estimates, at the low end: hobby servos
    identify at 1e-3 to 3e-2 (Ref: Rhoban/bam), a Robotiq's driver has 5e-3 (Ref: MuJoCo Menagerie). Odd numbers of
    iterations, because Bullet's solver sweeps to and fro: a free arm sags less after 15 than after 20. `sticking_erp`
    is the share of the creep of a sticking contact that is taken back each step: at Bullet's 0.2 a block that stands
    askew between the pads turns by 6 degrees in 2 s; at 0.9 by 2.
    """

    arm_gain: float = 0.35
    gripper_gain: float = 0.25
    arm_armature: float = 2e-3
    gripper_armature: float = 5e-4
    linkage_force: float = 100.0
    linkage_erp: float = 0.8
    joint_damping: float = 0.01
    free_iterations: int = 11
    grip_iterations: int = 75
    sticking_erp: float = 0.9


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
    gripper: Gripper
    cameras: Mapping[str, CameraMount]
    rigs: Mapping[str, Rig]
    guards: tuple[Guard, ...]
    guard_pairs: tuple[tuple[int, int], ...]
    physics: PhysicsTuning
    actuator: ActuatorFacts
    limb: LimbRules
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

    def cameras_of(self, rig: Rig) -> Mapping[str, CameraMount]:
        """Return the camera mounts under the names that they have in a rig."""
        here = {asked: replace(self.cameras[mount], name=asked) for asked, mount in rig.cameras.items()}
        return {**self.cameras, **here}

    def camera(self, name: str, rig: Rig) -> CameraMount:
        """Return a camera mount of a rig; raises UnknownName with the valid ones."""
        cameras = self.cameras_of(rig)
        if name not in cameras:
            raise UnknownName(f"camera of {self.name}", name, cameras)
        return cameras[name]

    def joint_angles(self, position_rad: ArrayLike) -> dict[str, float]:
        """Return every URDF joint's angle (m on a rail) for `position_rad` (arm joints, gripper last)."""
        values = [float(v) for v in np.asarray(position_rad, dtype=np.float64)]
        angles = dict(zip(self.joint_names[:-1], values[:-1], strict=True))
        angles.update({joint: factor * values[-1] for joint, factor in self.gripper.followers.items()})
        return angles

    def base_from_tool(self, position_rad: ArrayLike) -> Pose:
        """Return the tool frame for `position_rad` (n,) or (n - 1,): the gripper does not move the tool frame."""
        values = [float(v) for v in np.asarray(position_rad, dtype=np.float64)[: self.arm_joint_count]]
        angles = dict(zip(self.joint_names, values, strict=False))
        return Pose.from_motion(self.chain.link_matrix(self.tool_link, angles)) @ self.link_from_tool


def load_arm(name: str, root: Path = _HERE) -> ArmDescription:
    """Return the arm in `root/name/arm.toml`, or in the folder `name` where that is a path (`./my_arm`).

    Raises UnknownName, PackageMissing or ArmError.
    """
    if os.sep in name:
        folder = Path(name).resolve()
        if not folder.is_dir():
            gone, beside = f"the folder {folder} does not exist", arm_names(folder.parent)
            raise UnknownName("arm", folder.name, beside, gone) if beside else ArmError(f"arm {name!r}: {gone}")
        if not (folder / "arm.toml").is_file():
            raise ArmError(f"arm {name!r}: {folder} holds no arm.toml; expected one there (docs/arms.md)")
        name, root = folder.name, folder.parent
    if name not in arm_names(root):
        hint = f"for the folder here: .{os.sep}{name}" if (Path(name) / "arm.toml").is_file() else ""
        raise UnknownName("arm", name, arm_names(root), hint)
    path = root / name / "arm.toml"
    try:
        return _build(name, path, read_table(path, root))
    except PackageMissing as error:
        raise PackageMissing(error.package, error.install, name, error.in_extra) from error
    except UnknownName as error:
        raise ArmError(f"{path}: {error}") from error
    except (MissingKey, OutOfRange) as error:
        raise ArmError(f"{path}: {error}") from error
    except KeyError as error:
        raise ArmError(f"{path}: {error} is missing from a table of this file") from error
    except (tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise ArmError(f"{path}: {type(error).__name__}: {error}") from error


def _build(name: str, path: Path, table: dict[str, object]) -> ArmDescription:
    only(table, "key of an arm.toml", _KEYS)
    urdf_path = urdf_file(path.parent, table)
    joints = parse_urdf(urdf_path)
    by_name = {j.name: j for j in joints}
    names = names_in(table, "joints")
    _check_names("joint of the URDF", names, by_name)
    arm_joints = [by_name[n] for n in names]
    gripper = read_gripper(table_in(table, "gripper"))
    _check_names("joint of the URDF", gripper.followers, by_name)
    tool = table_in(table, "tool")
    guards, pairs = read_guards(tables_in(table, "guards"))
    cameras = _each(table, "cameras", read_camera)
    links = {joints[0].parent, *(j.child for j in joints)}
    mounts = [c.link for c in cameras.values() if c.link != DESK]
    _check_names("link", [str(tool["link"]), *mounts, *(g.link for g in guards)], links)
    lower, upper, max_speed, max_effort = _limits(arm_joints, gripper, by_name)

    def rig_named(name: str, values: Mapping[str, object]) -> Rig:
        rig = read_rig(name, values, lower, upper)
        _check_names(f"camera of [rigs.{name}.cameras]", rig.cameras.values(), cameras)
        return rig

    return ArmDescription(
        name=name,
        urdf_path=urdf_path,
        chain=Chain(joints),
        joint_names=(*[j.name for j in arm_joints], "gripper"),
        lower_rad=lower,
        upper_rad=upper,
        max_speed_rad_s=max_speed,
        max_effort=max_effort,
        margin_rad=math.radians(number(table, "limit_margin_deg")),
        tool_link=str(tool["link"]),
        link_from_tool=pose_in(tool),
        gripper=gripper,
        cameras=cameras,
        rigs=_each(table, "rigs", rig_named),
        guards=guards,
        guard_pairs=pairs,
        physics=_physics(table_in(table, "physics", optional=True)),
        actuator=actuator_facts(table.get("actuator"), len(lower)),
        limb=read_limb(table_in(table, "limb", optional=True), names),
        sha256=_meaning(joints, arm_joints, gripper, tool),
    )


def _each(
    table: Mapping[str, object], key: str, read: Callable[[str, Mapping[str, object]], Mounted]
) -> dict[str, Mounted]:
    """Return what every `[key.NAME]` says; errors say which of them it was."""
    tables = table_in(table, key)
    result: dict[str, Mounted] = {}
    for name in tables:
        try:
            result[name] = read(name, table_in(tables, name))
        except MissingKey as error:
            raise MissingKey(error.key, f"[{key}.{name}]") from error
        except ValueError as error:
            raise OutOfRange(f"[{key}.{name}] {error}") from error
    return result


def _limits(arm_joints: list[Joint], gripper: Gripper, by_name: Mapping[str, Joint]) -> tuple[Array, ...]:
    """Return lower, upper, speed and effort (n,) of arm and gripper; one motor drives all jaws, so they share it.

    The joint's speed and effort (m/s and N on a rail) become those of the angle that moves it.
    """
    leader = gripper.driven[0]
    scale = abs(gripper.followers[leader])
    arrays = (
        np.array([j.lower for j in arm_joints] + [gripper.open_rad]),
        np.array([j.upper for j in arm_joints] + [gripper.closed_rad]),
        np.array([j.max_speed for j in arm_joints] + [by_name[leader].max_speed / scale]),
        np.array([j.max_effort for j in arm_joints] + [by_name[leader].max_effort * scale]),
    )
    for array in arrays:
        array.setflags(write=False)
    if not (arrays[0] < arrays[1]).all():
        raise ValueError(f"every joint needs lower < upper, got {arrays[0].tolist()} and {arrays[1].tolist()}")
    if not (arrays[2] > 0).all() or not (arrays[3] > 0).all():
        raise ValueError("every joint needs a velocity and an effort above zero: give them in [limits.JOINT]")
    return arrays


def _physics(table: Mapping[str, object]) -> PhysicsTuning:
    only(table, "key of [physics]", [field.name for field in fields(PhysicsTuning)])
    tuning = PhysicsTuning()
    for key in table:
        value = number(table, key)
        tuning = replace(tuning, **{key: int(value) if key.endswith("iterations") else value})
    return tuning


def _check_names(kind: str, names: Iterable[str], valid: Iterable[str]) -> None:
    known = set(valid)
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)


def _meaning(joints: tuple[Joint, ...], arm_joints: list[Joint], gripper: Gripper, tool: dict[str, object]) -> str:
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
        "gripper": [dict(gripper.followers), *gripper.law.facts(), gripper.open_rad, gripper.closed_rad],
        "tool": [str(tool["link"]), [round(v, 9) for v in pose_in(tool).as_matrix().ravel()]],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def urdf_folder() -> Path:
    """Return the folder that holds the arms and the objects."""
    return _HERE
