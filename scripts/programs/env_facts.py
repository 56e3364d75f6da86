"""Env facts: what can be said about the environments without moving an arm, as the commands print and write it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium
import msgspec
import numpy as np

import sim
from bridge.grasp import CONTROL_HZ
from bridge.observation import CameraView, ImageKind, ObservationSpec
from scripts.programs.feature_units import (
    Feature,
    action_features,
    privileged_features,
    proprioception_features,
    state_features,
)
from sim.env import ArmEnv
from sim.observer import Observer
from sim.sim_camera import DepthEngine
from sim.tasks import make_task
from sim.world import PHYSICS_HZ
from urdf.description import ArmDescription, load_arm, urdf_folder
from urdf.kinematics import PinocchioKinematics
from urdf.tables import arm_names


class EnvRow(msgspec.Struct, frozen=True):
    """One registered environment."""

    id: str
    arm: str
    task: str
    rigs: tuple[str, ...]
    action: tuple[str, ...]
    observation: str
    observation_size: int
    cameras: tuple[str, ...]


class EnvList(msgspec.Struct, frozen=True):
    """The JSON line of `env list`. `other_arms` have no ids of their own, but every `--arm` takes them."""

    environments: tuple[EnvRow, ...]
    other_arms: tuple[str, ...]


class CameraRow(msgspec.Struct, frozen=True):
    """One camera."""

    name: str
    link: str
    fov_y_deg: float
    near_m: float
    far_m: float


class JointRow(msgspec.Struct, frozen=True):
    """One joint of the arm, the gripper last."""

    name: str
    lower_deg: float
    upper_deg: float
    max_speed_deg_s: float


class RigRow(msgspec.Struct, frozen=True):
    """One rig; lengths in metres in the desk frame."""

    name: str
    base_m: tuple[float, ...]
    area_center_m: tuple[float, ...]
    area_size_m: tuple[float, ...]
    reach_lower_m: tuple[float, ...]
    reach_upper_m: tuple[float, ...]
    grasp_m: float
    hover_m: float
    max_tilt_deg: float
    home_rad: tuple[float, ...]


class SpaceRow(msgspec.Struct, frozen=True):
    """What one part of action or observation is as a Box of Gymnasium; `unit` where all its numbers share one."""

    part: str
    shape: tuple[int, ...]
    dtype: str
    low: float
    high: float
    unit: str


class ReachRow(msgspec.Struct, frozen=True):
    """What the reach map says: shares that are served, and what rules out which share of the mapped places."""

    path: str
    area_served: float
    reach_box_served: float
    limits: dict[str, float]


class EnvShown(msgspec.Struct, frozen=True):
    """The JSON line of `env show`. `reach` is null without a map."""

    id: str
    arm: str
    task: str
    rig: str
    control_hz: float
    physics_hz: int
    max_episode_s: float
    action: tuple[Feature, ...]
    observation: str
    observation_version: int
    state: tuple[Feature, ...]
    proprioception: tuple[Feature, ...]
    privileged: tuple[Feature, ...]
    spaces: tuple[SpaceRow, ...]
    joints: tuple[JointRow, ...]
    gripper_opening_mm: tuple[float, float]
    rigs: tuple[RigRow, ...]
    cameras: tuple[CameraRow, ...]
    reach: ReachRow | None


def list_environments() -> EnvList:
    """Return every environment that is registered under `Tandem/`, and the arms that have none."""
    assert sim.__name__ == "sim"  # importing it registers them
    registered = [spec for name, spec in gymnasium.registry.items() if name.startswith("Tandem/")]
    arms: dict[str, list[EnvRow]] = {}
    kinematics: dict[str, PinocchioKinematics] = {}
    for spec in registered:
        arm, task = str(spec.kwargs["arm"]), str(spec.kwargs["task"])
        description = load_arm(arm)
        rig = next(iter(description.rigs.values()))
        if arm not in kinematics:
            kinematics[arm] = PinocchioKinematics(description, rig)
        attempt = make_task(task, description, rig, kinematics[arm], 1.0 / CONTROL_HZ).attempt
        layout = attempt.observation_layout
        row = EnvRow(
            spec.id, arm, task, tuple(description.rigs), attempt.action_layout.names, layout.name, layout.size,
            tuple(description.cameras),
        )  # fmt: skip
        arms.setdefault(arm, []).append(row)
    rows = tuple(row for group in arms.values() for row in group)
    return EnvList(rows, tuple(name for name in arm_names_here() if name not in arms))


def arm_names_here() -> Sequence[str]:
    """Return the name of every arm that can be loaded."""
    return arm_names(urdf_folder())


def describe(env: ArmEnv, task: str) -> EnvShown:
    """Return all that can be said about an environment without moving it."""
    description = env.description
    ids = [
        row_id for row_id, spec in gymnasium.registry.items() if spec.kwargs == {"arm": description.name, "task": task}
    ]
    opening_mm = [1000 * description.gripper.opening_m(description.gripper.closed_rad)]
    opening_mm.append(1000 * description.gripper.opening_m(description.gripper.open_rad))
    return EnvShown(
        id=ids[0] if ids else "",
        arm=description.name,
        task=task,
        rig=env.rig.name,
        control_hz=float(env.control_rate_hz),
        physics_hz=PHYSICS_HZ,
        max_episode_s=env.task.max_periods / env.control_rate_hz,
        action=action_features(env.action_layout),
        observation=env.observation_layout.name,
        observation_version=env.observation_layout.version,
        state=state_features(env),
        proprioception=proprioception_features(env),
        privileged=privileged_features(env),
        spaces=_spaces(env),
        joints=_joints(description),
        gripper_opening_mm=(opening_mm[0], opening_mm[1]),
        rigs=_rigs(description),
        cameras=tuple(
            CameraRow(c.name, c.link, round(math.degrees(c.fov_y_rad), 3), c.near_m, c.far_m)
            for c in description.cameras_of(env.rig).values()
        ),
        reach=None,
    )


def _spaces(env: ArmEnv) -> tuple[SpaceRow, ...]:
    """Return the Box of the action, of every part, and of every camera's pictures in the size they have by default."""
    views = tuple(CameraView(camera, kind) for camera in env.description.cameras_of(env.rig) for kind in ImageKind)
    spec = ObservationSpec(proprioception=True, privileged=True, views=views)
    parts = Observer(spec, env.attempt, env.robot, env.world, DepthEngine.RAYCAST).space()
    assert isinstance(parts, gymnasium.spaces.Dict)
    units = {view.key: "m" if view.kind is ImageKind.DEPTH else "level" for view in views}
    rows = {"action": env.action_space, **parts.spaces}
    return tuple(_space(name, space, units.get(name, "")) for name, space in rows.items())


def _space(name: str, space: gymnasium.Space[object], unit: str) -> SpaceRow:
    assert isinstance(space, gymnasium.spaces.Box)
    return SpaceRow(name, space.shape, str(space.dtype), float(space.low.min()), float(space.high.max()), unit)


def _joints(description: ArmDescription) -> tuple[JointRow, ...]:
    columns = (description.lower_rad, description.upper_rad, description.max_speed_rad_s)
    degrees = np.degrees(np.stack(columns, axis=1)).round(3).tolist()
    return tuple(JointRow(name, *row) for name, row in zip(description.joint_names, degrees, strict=True))


def _rigs(description: ArmDescription) -> tuple[RigRow, ...]:
    return tuple(
        RigRow(
            name=rig.name,
            base_m=tuple(rig.desk_from_base.position_m.tolist()),
            area_center_m=tuple(rig.area_center_m.tolist()),
            area_size_m=tuple(rig.area_size_m.tolist()),
            reach_lower_m=tuple(rig.reach_lower_m.tolist()),
            reach_upper_m=tuple(rig.reach_upper_m.tolist()),
            grasp_m=rig.grasp_m,
            hover_m=rig.hover_m,
            max_tilt_deg=round(math.degrees(rig.max_tilt_rad), 3),
            home_rad=tuple(rig.home_rad.tolist()),
        )
        for rig in description.rigs.values()
    )
