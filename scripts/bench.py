"""`tandem bench`: measure the figures that were promised, and say which hold."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from policies.errors import ArtifactError
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE, FAILED
from scripts.programs.figures import Bench, Row, machine, save
from urdf.errors import UnknownName

Progress = Callable[[str, float], None]


def _kinematics(on_progress: Progress, only: str) -> list[Row]:
    from scripts.programs.bench_kinematics import measure

    return measure(on_progress)


def _grasp(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_tasks import measure_grasp

    return measure_grasp(on_progress, only)


def _tasks(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_tasks import measure

    return measure(on_progress, only)


def _env(on_progress: Progress, only: str) -> list[Row]:
    from scripts.programs.bench_env import measure

    return measure(on_progress)


def _policy(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs import bench_command, bench_policy

    yield from bench_policy.measure(on_progress, only)
    yield from bench_command.measure(on_progress, only)


def _bridge(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_bridge import measure

    return measure(on_progress, only)


def _bus(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_bus import measure

    return measure(on_progress, only)


def _training(on_progress: Progress, only: str) -> list[Row]:
    from scripts.programs.bench_training import measure

    return measure(on_progress)


def _train(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_train import measure

    return measure(on_progress, only)


def _servos(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs import bench_actuator, bench_servos

    yield from bench_servos.measure(on_progress, only)
    yield from bench_actuator.measure(on_progress, only)


def _perception(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs.bench_perception import measure

    return measure(on_progress, only)


def _teleop(on_progress: Progress, only: str) -> Iterable[Row]:
    from scripts.programs import bench_demonstrations, bench_teleop

    yield from bench_teleop.measure(on_progress, only)
    yield from bench_demonstrations.measure(on_progress, only)


#: Each yields at least the rows whose figure contains a word.
BENCHES: dict[str, Callable[[Progress, str], Iterable[Row]]] = {
    "bridge": _bridge,
    "bus": _bus,
    "kinematics": _kinematics,
    "env": _env,
    "grasp": _grasp,
    "perception": _perception,
    "policy": _policy,
    "servos": _servos,
    "tasks": _tasks,
    "teleop": _teleop,
    "train": _train,
    "training": _training,
}
#: Measured by name alone: what is a part of `tasks` or of `perception`, and what takes most of a day.
_BY_NAME = ("grasp", "servos", "teleop", "train")


@dataclass(frozen=True)
class BenchArgs:
    """Measure the figures that were promised into data/bench/NAME.json; exits 1 when one does not hold.

    Rows are written as they are measured: an interrupted bench leaves NAME.partial.json.
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BENCH")] = "all"
    """Which bench: policy, kinematics, env, training, bus, bridge, servos (minutes each), perception (cameras, markers,
    calibration, half an hour), grasp (the Dofbot's, half an hour), tasks (every arm's, hours), train (how quickly and
    how well learners learn, hours; goes on where it was stopped), teleop (a minute, and what demonstrations are worth,
    hours), or `all`: each of them but grasp, which is a part of tasks, servos, which is a part of perception, teleop
    and train."""
    only: str = ""
    """Show and judge only the rows whose figure contains this word; policy, bridge, servos, perception, grasp,
    tasks, teleop and train measure little else. The file keeps the rows that were not measured again."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


def run(args: BenchArgs) -> int:
    """Measure, write, print; return 1 when a row does not hold."""
    if args.name not in (*BENCHES, "all"):
        raise UnknownName("bench", args.name, [*BENCHES, "all"])
    shown: list[Row] = []
    for name in [name for name in BENCHES if name not in _BY_NAME] if args.name == "all" else [args.name]:
        path = data_root() / "bench" / f"{name}.json"
        rows = _measured(name, path, args.only)
        if rows:
            say(f"{name}: {path}", args.json)
        shown += [row for row in rows if args.only in row.figure]
    if not shown:
        say(f"no figure contains {args.only!r}", args.json)
    for row in shown:
        say(_line(row), args.json)
    emit_json(Bench(machine(), tuple(shown)), args.json)
    return DONE if shown and all(row.holds for row in shown) else FAILED


def _measured(name: str, path: Path, only: str) -> list[Row]:
    """Return the rows of one bench, written to `path`; an interrupted one leaves what it has in NAME.partial.json.

    With `only`, the rows of `path` that are not measured again stay where they are.
    """
    partial = path.with_suffix(".partial.json")
    written = {row.figure: row for row in _kept(path)} if only else {}
    rows: list[Row] = []
    for row in BENCHES[name](_ProgressLine(), only):
        rows.append(row)
        written[row.figure] = row
        save(Bench(machine(), tuple(written.values())), partial)
    if rows:
        partial.replace(path)
    return rows


def _kept(path: Path) -> tuple[Row, ...]:
    """Return the rows of an earlier bench; raises ArtifactError where they are another machine's, or damaged."""
    if not path.exists():
        return ()
    try:
        bench = msgspec.json.decode(path.read_bytes(), type=Bench)
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"{path}: {error}; move it away, or measure all of it without --only") from error
    if bench.machine != machine():
        raise ArtifactError(
            f"{path} was measured on {bench.machine}, this is {machine()}: move it away, or measure all of it without "
            f"--only"
        )
    return bench.rows


class _ProgressLine:
    """What is being measured, how far that is, and how long it will take, in one line of a terminal."""

    def __init__(self) -> None:
        self._what = ""
        self._began_s = 0.0

    def __call__(self, what: str, share: float) -> None:
        if not sys.stderr.isatty():
            return
        if what != self._what:
            self._what, self._began_s = what, time.monotonic()
        left_s = (time.monotonic() - self._began_s) * (1 - share) / max(share, 1e-6)
        end = "\n" if share >= 1 else ""
        text = f"\r{what}: {100 * share:3.0f} % · {left_s // 60:.0f}:{left_s % 60:02.0f} left "
        print(text, end=end, file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    value = "not measured" if row.value is None else f"{row.value:.3g} {row.unit}"
    verdict = "holds" if row.holds else "DOES NOT HOLD"
    return f"  {row.figure}: {value} ({row.direction} {row.bar:g}, {verdict}; {row.baseline})"
