"""`tandem env list|show`: which environments there are, what their numbers mean, what an arm reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.cli import data_root, emit_json
from scripts.counted_progress import CountedProgress
from scripts.evaluate import DEFAULT_ARM, DEFAULT_TASK, SCRIPTED_ACTION_REPEAT
from scripts.exit_codes import DONE
from scripts.programs.env_facts import EnvShown, ReachRow, SpaceRow, describe, list_environments
from scripts.programs.feature_units import Feature
from scripts.programs.picture_file import check_picture
from scripts.programs.reach_map import ReachMap, draw_reach_map
from scripts.programs.reach_plot import write_reach_map
from sim.env import ArmEnv
from urdf.description import load_arm
from urdf.errors import ArmError

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
    """Where to write the reach map, .png, .pdf or .svg (default: under data/reach_maps)."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


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


# Show ---------------------------------------------------------------------------------------------
def run_show(args: EnvShowArgs) -> int:
    """Print the tables and write the map; return the exit code."""
    console = _console(args.json)
    if args.out is not None:
        if not args.map:
            raise ArmError(f"--no-map and --out {args.out} contradict each other: leave one of them out")
        check_picture(args.out, "a reach map")
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
    title = f"privileged (for a critic: no policy may read it), {len(shown.privileged)} numbers"
    _print_features(console, title, shown.privileged)
    _print_spaces(console, shown.spaces)
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
    cameras = _table("camera", "on", "view, top to bottom [deg]", "near to far [m]", title="cameras")
    for camera in shown.cameras:
        cameras.add_row(camera.name, camera.link, f"{camera.fov_y_deg:.0f}", f"{camera.near_m:g} to {camera.far_m:g}")
    console.print(cameras)


def _print_spaces(console: Console, spaces: Sequence[SpaceRow]) -> None:
    table = _table("part", "shape", "dtype", "from", "to", "unit", title="spaces, pictures at 64 x 64")
    for row in spaces:
        shape = " x ".join(str(size) for size in row.shape)
        table.add_row(row.part, shape, row.dtype, f"{row.low:g}", f"{row.high:g}", row.unit or "see its table")
    console.print(table)


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
    table = Table(title=Text(title, "bold") if title else None, title_justify="left", header_style="dim", box=None)
    for column in columns:
        table.add_column(Text(column), overflow="fold", no_wrap=column == "id")
    return table


def _console(json: bool) -> Console:
    console = Console(stderr=json)
    return console if console.is_terminal else Console(stderr=json, width=_PAGE_COLUMNS)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
