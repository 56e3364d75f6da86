"""The curves of several training runs: read from their folders, grouped where only the seed differs, and averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from policies.config import TrainConfig
from policies.errors import ArtifactError
from policies.evaluation import wilson_interval
from policies.metrics import EvaluationRow, TrainRow, read_metrics
from scripts.run_folder import CONFIG_NAME, RUN_NAME
from urdf.pose import Array

METRICS_NAME = "metrics.jsonl"
#: The success rate whose time is told.
GOAL_RATE = 0.95
#: What two runs of the same settings may differ in.
_OF_ONE_RUN = ("schema", "seed", "git_commit", "versions", "started_utc")
#: How long it was let go on is told by the curve itself.
_LENGTH = "train.max_decisions"

Unit = Literal["decisions", "minutes"]


class RunIdentity(msgspec.Struct, frozen=True):
    """What every run's `config.json` says, whatever its settings are."""

    preset: str
    seed: int


class RunEnding(msgspec.Struct, frozen=True):
    """What `run.json` says about the exported policy on new episodes; none in a run that was interrupted."""

    wall_s: float
    decisions: int
    successes: int
    evaluated_episodes: int


@dataclass(frozen=True, slots=True)
class RunCurves:
    """One run: who it is, every setting by its dotted name as text, its rows, and its ending if it has one."""

    folder: Path
    identity: RunIdentity
    settings: Mapping[str, str]
    evaluations: tuple[EvaluationRow, ...]
    training: tuple[TrainRow, ...]
    ending: RunEnding | None

    @property
    def minutes_to_goal(self) -> float | None:
        """Wall-clock minutes to the first evaluation at `GOAL_RATE` or more; None when there is none."""
        return next((row.wall_s / 60 for row in self.evaluations if row.success_rate >= GOAL_RATE), None)

    @property
    def exported(self) -> tuple[int, int] | None:
        """Successes and episodes of the exported policy on new episodes."""
        if self.ending is None or not self.ending.evaluated_episodes:
            return None
        return self.ending.successes, self.ending.evaluated_episodes


def read_run(folder: Path) -> RunCurves:
    """Return the curves of a run, finished or under way.

    Raises ArtifactError when it has no evaluation yet, or when one of its files is missing or damaged.
    """
    identity, settings = _read_config(folder / CONFIG_NAME)
    rows = _read_rows(folder / METRICS_NAME)
    evaluations = tuple(row for row in rows if isinstance(row, EvaluationRow))
    if not evaluations:
        raise ArtifactError(f"{folder}: this run has no evaluation yet; wait for its first one")
    training = tuple(row for row in rows if isinstance(row, TrainRow))
    ending = _read_ending(folder / RUN_NAME)
    if ending is not None and ending.decisions < max(row.decisions for row in rows):
        ending = None  # that of an earlier end: the run has been resumed since
    return RunCurves(folder, identity, settings, evaluations, training, ending)


def _read_config(path: Path) -> tuple[RunIdentity, Mapping[str, str]]:
    try:
        data = path.read_bytes()
        identity = msgspec.json.decode(data, type=RunIdentity)
        leaves = _leaves("", msgspec.json.decode(data))
    except (OSError, msgspec.MsgspecError) as error:
        raise ArtifactError(f"{path}: {error}; expected the configuration of a training run") from error
    # A setting that did not exist yet had what is now its default.
    leaves = {**_leaves("train", msgspec.to_builtins(TrainConfig(task="reach"))), **leaves}
    told = {name: text for name, text in leaves.items() if name.partition(".")[0] not in _OF_ONE_RUN}
    return identity, {name: text for name, text in told.items() if name != _LENGTH}


def _leaves(name: str, value: object) -> dict[str, str]:
    """Return every setting below a JSON value, by its dotted name."""
    if isinstance(value, dict) and value:
        inner = [_leaves(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
        return {key: text for part in inner for key, text in part.items()}
    return {name: value if isinstance(value, str) else msgspec.json.encode(value).decode()}


def _read_rows(path: Path) -> list[EvaluationRow | TrainRow]:
    if not path.exists():
        raise ArtifactError(f"{path} is missing: this run has no evaluation yet")
    try:
        if not (path.read_bytes() or b"\n").endswith(b"\n"):
            raise ArtifactError(
                f"{path}: the last line is cut off, as a crash leaves it; `tandem train --resume {path.parent.name}` "
                "mends it, and so does deleting that line"
            )
        rows = read_metrics(path)
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"{path}: {error}; expected the metrics of a training run") from error
    if any(isinstance(row, EvaluationRow) and not 0 <= row.successes <= row.episodes != 0 for row in rows):
        raise ArtifactError(f"{path}: an evaluation must have 0 <= successes <= episodes, and episodes")
    return rows


def _read_ending(path: Path) -> RunEnding | None:
    if not path.exists():
        return None
    try:
        ending = msgspec.json.decode(path.read_bytes(), type=RunEnding)
        wilson_interval(ending.successes, ending.evaluated_episodes)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtifactError(f"{path}: {error}; expected the record of a training run") from error
    return ending


# Groups -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that differ in nothing but the seed. `differing`: the settings that tell it from the other groups."""

    label: str
    differing: Mapping[str, str]
    runs: tuple[RunCurves, ...]


def group_runs(runs: Sequence[RunCurves]) -> list[RunGroup]:
    """Return the runs by their settings, in the order in which they came."""
    groups: dict[tuple[tuple[str, str], ...], list[RunCurves]] = {}
    for run in runs:
        groups.setdefault(tuple(sorted(run.settings.items())), []).append(run)
    members = [tuple(group) for group in groups.values()]
    names = sorted({name for group in members for name in group[0].settings})
    told = [name for name in names if len({group[0].settings.get(name) for group in members}) > 1]
    differing = [{name: group[0].settings.get(name, "-") for name in told} for group in members]
    presets = [group[0].identity.preset for group in members]
    return [
        RunGroup(_label(group, different if presets.count(group[0].identity.preset) > 1 else {}), different, group)
        for group, different in zip(members, differing, strict=True)
    ]


#: Settings that a label names; the JSON object has them all.
_MOST_TOLD = 3


def _label(group: tuple[RunCurves, ...], differing: Mapping[str, str]) -> str:
    words = [_told(name, text) for name, text in differing.items() if name != "preset"]
    more = [f"{len(words) - _MOST_TOLD} more settings"] if len(words) > _MOST_TOLD else []
    seeds = ", ".join(map(str, sorted(run.identity.seed for run in group)))
    who = f"({'seed' if len(group) == 1 else 'seeds'} {seeds})"
    return f"{', '.join([group[0].identity.preset, *words[:_MOST_TOLD], *more])} {who}"


def _told(name: str, text: str) -> str:
    """Return a setting in words; an algorithm's name needs none, and a list no brackets."""
    if name == "train.algo":
        return text
    setting = name.rpartition(".")[2]
    items = text.strip("[]").replace('"', "")
    return f"{setting} {items}" if items else f"no {setting}"


# Lines --------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Line:
    """One quantity of one run at its own points: `x` rises."""

    x: Array
    y: Array


@dataclass(frozen=True, slots=True)
class Band:
    """A middle with what lies about it."""

    x: Array
    middle: Array
    low: Array
    high: Array


def line(rows: Sequence[EvaluationRow] | Sequence[TrainRow], unit: Unit, values: Sequence[float]) -> Line:
    """Return the values of rows against decisions or minutes."""
    x = [float(row.decisions) if unit == "decisions" else row.wall_s / 60 for row in rows]
    return Line(np.array(x), np.array(values, dtype=np.float64))


def wilson_band(rows: Sequence[EvaluationRow], unit: Unit) -> Band:
    """Return a run's success rates with the 95 % Wilson interval of each evaluation."""
    rates = line(rows, unit, [row.success_rate for row in rows])
    bounds = np.array([wilson_interval(row.successes, row.episodes) for row in rows])
    return Band(rates.x, rates.y, bounds[:, 0], bounds[:, 1])


def across(lines: Sequence[Line]) -> Band:
    """Return the mean of several lines with its 95 % confidence interval: Student's t, for few lines are few.

    At every point of any of them, where all of them are: each is linear between its own points, and none is continued
    before its first point or after its last. Nothing is left where they do not overlap.
    """
    begin, end = max(one.x[0] for one in lines), min(one.x[-1] for one in lines)
    points = np.unique(np.concatenate([one.x for one in lines]))
    x = points[(points >= begin) & (points <= end)]
    values = np.array([np.interp(x, one.x, one.y) for one in lines])
    middle = values.mean(axis=0)
    # Of two the lines themselves say more: their interval is thirteen times their spread and hides the others.
    half = mean_half_width(values) if len(lines) > 2 else np.zeros_like(middle)
    return Band(x, middle, middle - half, middle + half)


def mean_half_width(values: Array) -> Array:
    """Return half the 95 % confidence interval of the mean over the first axis of values (n, ...), n at least 2."""
    from scipy.stats import t

    n = len(values)
    return float(t.ppf(0.975, n - 1)) * values.std(axis=0, ddof=1) / np.sqrt(n)
