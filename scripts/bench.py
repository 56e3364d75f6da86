"""`tandem bench`: measure the figures that were promised, and say which hold."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import tyro

from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE, FAILED
from scripts.programs.figures import Bench, Row, machine, save
from urdf.errors import UnknownName

Progress = Callable[[str, float], None]


def _kinematics(on_progress: Progress) -> list[Row]:
    from scripts.programs.bench_kinematics import measure

    return measure(on_progress)


def _grasp(on_progress: Progress) -> list[Row]:
    from scripts.programs.bench_tasks import measure_grasp

    return measure_grasp(on_progress)


def _tasks(on_progress: Progress) -> list[Row]:
    from scripts.programs.bench_tasks import measure

    return measure(on_progress)


def _env(on_progress: Progress) -> list[Row]:
    from scripts.programs.bench_env import measure

    return measure(on_progress)


def _training(on_progress: Progress) -> list[Row]:
    from scripts.programs.bench_training import measure

    return measure(on_progress)


BENCHES: dict[str, Callable[[Progress], list[Row]]] = {
    "kinematics": _kinematics,
    "env": _env,
    "grasp": _grasp,
    "tasks": _tasks,
    "training": _training,
}


@dataclass(frozen=True)
class BenchArgs:
    """Measure the figures that were promised into data/bench/NAME.json; exits 1 when one does not hold."""

    name: Annotated[str, tyro.conf.Positional] = "all"
    """Which bench: kinematics, env, training (minutes each), grasp (the Dofbot's, half an hour), tasks (every arm's,
    hours), or `all`."""
    only: str = ""
    """Show and judge only the rows whose figure contains this word."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


def run(args: BenchArgs) -> int:
    """Measure, write, print; return 1 when a row does not hold."""
    if args.name not in (*BENCHES, "all"):
        raise UnknownName("bench", args.name, [*BENCHES, "all"])
    shown: list[Row] = []
    for name in BENCHES if args.name == "all" else (args.name,):
        bench = Bench(machine(), tuple(BENCHES[name](_show_progress)))
        path = data_root() / "bench" / f"{name}.json"
        save(bench, path)
        say(f"{name}: {path}", args.json)
        shown += [row for row in bench.rows if args.only in row.figure]
    if not shown:
        say(f"no figure contains {args.only!r}", args.json)
    for row in shown:
        say(_line(row), args.json)
    emit_json(Bench(machine(), tuple(shown)), args.json)
    return DONE if shown and all(row.holds for row in shown) else FAILED


def _show_progress(what: str, share: float) -> None:
    if not sys.stderr.isatty():
        return
    end = "\n" if share >= 1 else ""
    print(f"\r{what}: {100 * share:3.0f} %", end=end, file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    value = "not measured" if row.value is None else f"{row.value:.3g} {row.unit}"
    verdict = "holds" if row.holds else "DOES NOT HOLD"
    return f"  {row.figure}: {value} ({row.direction} {row.bar:g}, {verdict}; {row.baseline})"
