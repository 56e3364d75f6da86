"""`tandem plot`: the learning curves of several runs in one picture, and what they come to in numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import tyro

from policies.evaluation import wilson_interval
from scripts.cli import data_root, emit_json, resolve_run, say
from scripts.exit_codes import DONE
from scripts.programs.curves_plot import draw_curves
from scripts.programs.picture_file import check_picture
from scripts.programs.run_curves import GOAL_RATE, RunCurves, RunGroup, group_runs, mean_half_width, read_run

#: A file's name may have 255 bytes.
_LONGEST_NAME = 150


@dataclass(frozen=True)
class PlotArgs:
    """Draw the learning curves of runs, finished or under way. Runs that differ only in their seed become one curve."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")] = ("newest",)
    """Runs: folders, names or `newest`."""
    out: Path | None = None
    """Where to write the picture, .png, .pdf or .svg (default: plots/<names>.png in the data folder)."""
    json: bool = False
    """Print one JSON object as the last line of stdout: file and groups; success as a share, times in minutes."""


class RunFigures(msgspec.Struct, frozen=True):
    """One run. Final is the exported policy on new episodes, or else the last evaluation; `final_of` says which.

    `minutes_to_95`: wall-clock time of the first evaluation at 95 % or more; null when there is none.
    """

    run: str
    seed: int
    finished: bool
    decisions: int
    minutes: float
    evaluations: int
    final_of: str
    successes: int
    episodes: int
    final_success: float
    wilson_low: float
    wilson_high: float
    minutes_to_95: float | None


class GroupFigures(msgspec.Struct, frozen=True):
    """Runs that differ only in their seed. `interval` says what `final_low` and `final_high` are.

    `final_success` and `minutes_to_95` are means over the runs; the latter is null unless every run got there.
    """

    label: str
    settings: dict[str, str]
    final_success: float
    final_low: float
    final_high: float
    interval: str
    minutes_to_95: float | None
    runs: tuple[RunFigures, ...]


class PlotSummary(msgspec.Struct, frozen=True):
    """The JSON line."""

    file: str
    groups: tuple[GroupFigures, ...]


def run(args: PlotArgs) -> int:
    """Draw; return the exit code."""
    folders = list({folder.resolve(): folder for folder in map(resolve_run, args.runs or ("newest",))}.values())
    path = args.out or data_root() / "plots" / f"{_file_name(folders)}.png"
    check_picture(path, "a plot")
    groups = group_runs([read_run(folder) for folder in folders])
    draw_curves(groups, path)
    figures = tuple(group_figures(group) for group in groups)
    for group in figures:
        say(_sentence(group), args.json)
    say(f"Picture: {path}", args.json)
    emit_json(PlotSummary(str(path), figures), args.json)
    return DONE


def _file_name(folders: Sequence[Path]) -> str:
    """Return a name for a picture of these runs: theirs, or the first one's and a mark where they are too many."""
    names = [folder.resolve().name for folder in folders]
    whole = "+".join(names)
    if len(whole) <= _LONGEST_NAME:
        return whole
    return f"{names[0][:_LONGEST_NAME]}+{len(names) - 1}_more_{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def run_figures(run: RunCurves) -> RunFigures:
    """Return what a run comes to."""
    last, exported = run.evaluations[-1], run.exported
    successes, episodes = exported or (last.successes, last.episodes)
    low, high = wilson_interval(successes, episodes)
    final = max((*run.evaluations, *run.training), key=lambda row: row.wall_s)
    return RunFigures(
        run=str(run.folder),
        seed=run.identity.seed,
        finished=exported is not None,
        decisions=run.ending.decisions if run.ending else final.decisions,
        minutes=(run.ending.wall_s if run.ending else final.wall_s) / 60,
        evaluations=len(run.evaluations),
        final_of="exported policy" if exported else "last evaluation",
        successes=successes,
        episodes=episodes,
        final_success=successes / episodes,
        wilson_low=low,
        wilson_high=high,
        minutes_to_95=run.minutes_to_goal,
    )


def group_figures(group: RunGroup) -> GroupFigures:
    """Return what the runs of a group come to."""
    runs = tuple(run_figures(run) for run in group.runs)
    rates = [one.final_success for one in runs]
    middle = sum(rates) / len(rates)
    if len(runs) == 1:
        low, high, interval = runs[0].wilson_low, runs[0].wilson_high, "95 % Wilson"
    else:
        half = float(mean_half_width(np.array(rates)))
        low, high = max(0.0, middle - half), min(1.0, middle + half)
        interval = f"95 % confidence interval of the mean of {len(runs)} runs"
    minutes = [one.minutes_to_95 for one in runs if one.minutes_to_95 is not None]
    return GroupFigures(
        label=group.label,
        settings=dict(group.differing),
        final_success=middle,
        final_low=low,
        final_high=high,
        interval=interval,
        minutes_to_95=sum(minutes) / len(minutes) if len(minutes) == len(runs) else None,
        runs=runs,
    )


def _sentence(group: GroupFigures) -> str:
    reached = sum(one.minutes_to_95 is not None for one in group.runs)
    goal = f"{100 * GOAL_RATE:.0f} %"
    if group.minutes_to_95 is not None:
        when = f"{goal} after {group.minutes_to_95:.1f} minutes"
    else:
        when = f"{goal} not reached" if not reached else f"{goal} reached by {reached} of {len(group.runs)} runs"
    low, high = 100 * group.final_low, 100 * group.final_high
    return f"{group.label}: {100 * group.final_success:.1f} % ({low:.1f}-{high:.1f} %, {group.interval}), {when}"
