"""`tandem env list|show`: which environments there are, what their numbers mean, what an arm reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

import sim
from bridge.grasp import CONTROL_HZ
from scripts.cli import data_root, emit_json
from scripts.counted_progress import CountedProgress
from scripts.evaluate import DEFAULT_ARM, DEFAULT_TASK, SCRIPTED_ACTION_REPEAT
from scripts.exit_codes import DONE
from scripts.programs.feature_units import Feature, action_features, proprioception_features, state_features
from scripts.programs.reach_map import ReachMap, draw_reach_map
from scripts.programs.reach_plot import write_reach_map
from sim.env import ArmEnv
from sim.tasks import make_task
from sim.world import PHYSICS_HZ
from urdf.description import ArmDescription, load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.tables import arm_names

#: Tables that go into a file or a pipe are this wide.
_PAGE_COLUMNS = 132


@dataclass(frozen=True)
class EnvListArgs:
    """List the registered environments: what Gymnasium calls them, and what goes in and out."""

    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class EnvShowArgs:
    """Show an environment's numbers with their units and ranges, its rig and cameras, and draw its reach map."""

    arm: str = DEFAULT_ARM
    """Which arm, such as dofbot, ur5 or kuka_iiwa."""
    task: str = DEFAULT_TASK
    """What to do: reach, grasp or pick-place."""
    rig: str = "table"
    """How the arm is mounted, such as table or hanging."""
    map: bool = True
    """Draw the reach map (20 s of one core)."""
    out: Path | None = None
    """Where to write the reach map, a PNG (default: under data/reach_maps)."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


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
    joints: tuple[JointRow, ...]
    gripper_opening_mm: tuple[float, float]
    rigs: tuple[RigRow, ...]
    cameras: tuple[CameraRow, ...]
    reach: ReachRow | None


# List ---------------------------------------------------------------------------------------------
def run_list(args: EnvListArgs) -> int:
    """Print the table; return the exit code."""
    console = _console(args.json)
    listed = list_environments()
    table = _table("id", "arm", "task", "rigs", "action", "observation", "cameras")
    for row in listed.environments:
        action, observation = " ".join(row.action), f"{row.observation} ({row.observation_size})"
        table.add_row(row.id, row.arm, row.task, " ".join(row.rigs), action, observation, " ".join(row.cameras))
    console.print(table)
    if listed.other_arms:
        _say(console, f"Without an id of their own, by --arm alone: {', '.join(listed.other_arms)}")
    _say(
        console,
        "gymnasium.make(ID, rig=..., spec=ObservationSpec(...)) after `import sim`; every number: tandem env show",
    )
    emit_json(listed, args.json)
    return DONE


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
    from urdf.description import urdf_folder

    return arm_names(urdf_folder())


# Show ---------------------------------------------------------------------------------------------
def run_show(args: EnvShowArgs) -> int:
    """Print the tables and write the map; return the exit code."""
    console = _console(args.json)
    env = ArmEnv(arm=args.arm, task=args.task, rig=args.rig, action_repeat=SCRIPTED_ACTION_REPEAT)
    try:
        shown = describe(env, args.task)
    finally:
        env.close()
    _print(console, shown)
    if args.map:
        description = load_arm(args.arm)
        path = args.out or data_root() / "reach_maps" / f"{args.arm}_{args.rig}.png"
        with CountedProgress(console, "reach map, % done", 100) as progress:
            reach = draw_reach_map(description, description.rig(args.rig), _Percent(progress).hear)
        write_reach_map(reach, path)
        _say(console, _reach_sentence(reach, path))
        shown = msgspec.structs.replace(
            shown,
            reach=ReachRow(str(path), reach.area.served_share, reach.box.served_share, reach.limits(reach.slices)),
        )
    emit_json(shown, args.json)
    return DONE


class _Percent:
    """Turns a share that is done into a hundred pieces."""

    def __init__(self, progress: CountedProgress) -> None:
        self._progress, self._done = progress, 0

    def hear(self, share: float) -> None:
        """Count up to this share."""
        while self._done < round(100 * share):
            self._done += 1
            self._progress.advance()


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
        joints=_joints(description),
        gripper_opening_mm=(opening_mm[0], opening_mm[1]),
        rigs=_rigs(description),
        cameras=tuple(
            CameraRow(c.name, c.link, round(math.degrees(c.fov_y_rad), 3), c.near_m, c.far_m)
            for c in description.cameras.values()
        ),
        reach=None,
    )


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


# Words --------------------------------------------------------------------------------------------
def _print(console: Console, shown: EnvShown) -> None:
    _say(console, f"{shown.id or '(no id of its own)'}: {shown.arm}, {shown.task}, rig {shown.rig}")
    _say(
        console,
        f"control {shown.control_hz:g} Hz, physics {shown.physics_hz} Hz, an episode lasts {shown.max_episode_s:g} s "
        f"at most; jaws {shown.gripper_opening_mm[0]:.0f} to {shown.gripper_opening_mm[1]:.0f} mm apart",
    )
    _print_features(console, f"action, {len(shown.action)} numbers in [-1, 1]", shown.action)
    title = f"observation {shown.observation} version {shown.observation_version}, {len(shown.state)} numbers"
    _print_features(console, title, shown.state)
    _print_features(console, f"proprioception, {len(shown.proprioception)} numbers", shown.proprioception)
    joints = _table("joint", "lower [deg]", "upper [deg]", "fastest [deg/s]", title="joints")
    for joint in shown.joints:
        joints.add_row(joint.name, *(f"{v:.0f}" for v in (joint.lower_deg, joint.upper_deg, joint.max_speed_deg_s)))
    console.print(joints)
    rigs = _table(
        "rig", "base [mm]", "block area [mm]", "reach box [mm]", "grasp, hover [mm]", "lean [deg]", title="rigs"
    )
    for rig in shown.rigs:
        corner = np.array(rig.area_center_m) - np.array(rig.area_size_m) / 2
        area = _box(corner, corner + np.array(rig.area_size_m))
        box, heights = _box(rig.reach_lower_m, rig.reach_upper_m), f"{1000 * rig.grasp_m:.0f}, {1000 * rig.hover_m:.0f}"
        base = " ".join(f"{1000 * v:.0f}" for v in rig.base_m)
        rigs.add_row(rig.name, base, area, box, heights, f"{rig.max_tilt_deg:.0f}")
    console.print(rigs)
    cameras = _table("camera", "on", "view, top to bottom [deg]", "near to far [m]", title="cameras: depth, gray, RGB")
    for camera in shown.cameras:
        cameras.add_row(camera.name, camera.link, f"{camera.fov_y_deg:.0f}", f"{camera.near_m:g} to {camera.far_m:g}")
    console.print(cameras)


def _print_features(console: Console, title: str, features: Sequence[Feature]) -> None:
    table = _table("#", "name", "means", "1 is", "numbers here", "that is", title=title)
    for k, f in enumerate(features):
        one = f"{f.per_one:g} {f.unit}" if f.unit else ""
        span = f"{f.low * f.per_one:.4g} to {f.high * f.per_one:.4g} {f.unit}" if f.unit else ""
        table.add_row(str(k), f.name, f.meaning, one, f"{f.low:.3g} to {f.high:.3g}", span)
    console.print(table)


def _box(lower_m: Iterable[float], upper_m: Iterable[float]) -> str:
    """Return a box as `x from..to  y from..to`, in millimetres."""
    sides = zip("xyz", lower_m, upper_m, strict=False)
    return "  ".join(f"{axis} {1000 * a:.0f}..{1000 * b:.0f}" for axis, a, b in sides)


def _reach_sentence(reach: ReachMap, path: Path) -> str:
    limits = list(reach.limits(reach.slices).items())[:2]
    why = "; ".join(f"{name} ({100 * share:.0f} %)" for name, share in limits)
    return (
        f"Served: {100 * reach.area.served_share:.0f} % of the block area, {100 * reach.box.served_share:.0f} % of the "
        f"reach box, {100 * reach.slices.served_share:.0f} % of the map; not the rest, because of {why}. Map: {path}"
    )


def _table(*columns: str, title: str = "") -> Table:
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim", box=None)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    return table


def _console(json: bool) -> Console:
    console = Console(stderr=json)
    return console if console.is_terminal else Console(stderr=json, width=_PAGE_COLUMNS)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
