"""`tandem gap`: how much of what a policy can in the training world is left on an arm, before and after calibration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from policies.artifact import MANIFEST_NAME
from scripts.calibrate_all import less_than_needed
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.evaluate import PolicyChoice, choose_policy, evaluate_policy
from scripts.exit_codes import DONE, FAILED
from scripts.programs.calibrate_chain import DEFAULTS, ChainSettings
from scripts.programs.gap_crew import Piece, measure_units
from scripts.programs.gap_measure import worst_zero_deg
from scripts.programs.gap_plot import draw_gap
from scripts.programs.gap_record import GapError, GapFolder, GapPlan, GapTable, TrainingWorld, file_sha256, interval
from scripts.run import make_policy
from sim.lab_levels import gap_level
from urdf.description import load_arm

_TRAINING_SEED = 20_000


@dataclass(frozen=True)
class GapArgs:
    """Measure the gap: a policy's success in labs of hidden truth before and after calibration, and where it learnt.

    Every lab runs in one process on a simulated clock, through the same servo bytes. What is measured is kept: the
    same command goes on where it was cut off, and more --seeds add to what is there.
    """

    policy: str
    """A run (folder, name or `newest`) or a ready-trained policy (`tandem policies`), or oracle, random, hold."""
    level: str = "hard"
    """How far the labs are off the training world: 0 (no hidden error), mild or hard."""
    seeds: int = 10
    """How many labs, each with a truth of its own."""
    first_seed: int = 0
    """Seed of the first one."""
    episodes: int = 20
    """Attempts in each lab, before calibration and again after it."""
    training_episodes: int = 200
    """Episodes in the training world."""
    views: int = DEFAULTS.views
    """Pictures of the board for the camera's calibration."""
    poses: int = DEFAULTS.poses
    """Poses in which the servos are looked at."""
    rounds: int = DEFAULTS.rounds
    """How often the servos are measured, each time from the calibration before."""
    workers: int = 0
    """Processes at a time; 0: one per core."""
    out: Path | None = None
    """Folder for gap.json, gap.png and what is measured meanwhile. Default: data/gap/POLICY_LEVEL."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class GapSummary(msgspec.Struct, frozen=True):
    """The JSON line. `kept_share` is the success after calibration over that of the training world."""

    policy: str
    level: str
    seeds: int
    before: float
    after: float
    training: float
    kept_share: float
    worst_zero_deg: float
    not_calibrated: tuple[int, ...]
    table: str
    picture: str


def run(args: GapArgs) -> int:
    """Measure what is missing, draw it and say it; return the exit code: 1 where a lab could not be calibrated."""
    console = Console(stderr=args.json)
    trouble = _refused(args)
    if trouble:
        return refuse(f"tandem gap: {trouble}")
    try:
        table, path = measure_gap(args, console, args.workers or os.cpu_count() or 1)
    except GapError as error:
        return refuse(f"tandem gap: {error}")
    picture = path.with_name("gap.png")
    draw_gap(table, picture)
    for line in describe(table):
        _say(console, line)
    _say(console, f"Table: {path}. Picture: {picture}")
    emit_json(summary_of(table, path, picture), args.json)
    return FAILED if table.not_calibrated else DONE


def measure_gap(args: GapArgs, console: Console, workers: int) -> tuple[GapTable, Path]:
    """Return the table and its file, after measuring what is missing; raises GapError, PolicyMismatch or UnitFailed."""
    choice = choose_policy(args.policy, None)
    arm = load_arm(choice.arm)
    make_policy(choice, arm, arm.rig(choice.rig))  # refused before anything is measured
    if choice.spec.views:
        raise GapError(
            f"{choice.name} reads pictures of the wrist camera, and the labs of `tandem gap` have none: run it with "
            "`tandem run --robot lab`, or give a policy that reads the block's place, as dofbot-grasp-state does"
        )
    folder = GapFolder(args.out or data_root() / "gap" / f"{choice.name}_{args.level}", _plan(args, choice))
    table = _measured(folder, choice, workers, console)
    return table, folder.save("gap.json", table)


def _measured(folder: GapFolder, choice: PolicyChoice, workers: int, console: Console) -> GapTable:
    plan = folder.plan
    if folder.training() is None:
        with CountedProgress(console, "training world", plan.training_episodes) as progress:
            done = evaluate_policy(
                choice, plan.training_episodes, _TRAINING_SEED, workers, lambda success: progress.advance()
            )
        folder.save("training.json", TrainingWorld(sum(done), len(done)))
    missing = [seed for seed in plan.seeds if folder.cell(seed, "after") is None]
    if missing:
        with CountedProgress(console, "labs", _pieces(folder, missing)) as progress:

            def on_piece(piece: Piece) -> None:
                progress.advance(f"seed {piece.seed}, {piece.stage}: {piece.words}")

            measure_units(folder, choice, missing, workers, on_piece)
    table = folder.table()
    assert table is not None
    return table


def describe(table: GapTable) -> list[str]:
    """Return the table in words and rows."""
    lines = ["seed      before   after   worst joint at home before / after"]
    for unit in table.units:
        cells = [table.cell(unit.seed, stage) for stage in ("before", "after")]
        counts = [f"{c.successes}/{len(c.attempts)}" if c else "-" for c in cells]
        worst = [max(abs(j.home_deg) for j in joints[:-1]) for joints in (unit.before, unit.after)]
        line = f"{unit.seed:<8}{counts[0]:>8}{counts[1]:>8}   {worst[0]:5.2f}° / {worst[1]:5.2f}°"
        lines.append(line + (f"   not calibrated: {unit.failed}" if unit.failed else ""))
    training = table.training.successes, table.training.episodes
    lines.append(
        f"Level {table.plan.level}, {table.plan.policy}: {interval(table.counted('before'))} before calibration, "
        f"{interval(table.counted('after'))} after, {interval(training)} in the training world: "
        f"{table.kept_share:.3f} of its success is kept."
    )
    return lines


def summary_of(table: GapTable, path: Path, picture: Path) -> GapSummary:
    """Return the JSON line."""
    return GapSummary(
        policy=table.plan.policy,
        level=table.plan.level,
        seeds=len(table.plan.seeds),
        before=table.rate("before"),
        after=table.rate("after"),
        training=table.training.successes / table.training.episodes,
        kept_share=table.kept_share,
        worst_zero_deg=worst_zero_deg(table.units, ("joint2", "joint3", "joint4")),
        not_calibrated=table.not_calibrated,
        table=str(path),
        picture=str(picture),
    )


def _refused(args: GapArgs) -> str:
    """Return which argument cannot be, empty where all can; raises UnknownName for a level that there is not."""
    gap_level(args.level)
    for name, least in (("seeds", 1), ("episodes", 1), ("training_episodes", 1), ("first_seed", 0)):
        if getattr(args, name) < least:
            return f"--{name.replace('_', '-')} must be at least {least}, got {getattr(args, name)}"
    if args.workers < 0:
        return f"--workers must be at least 0, got {args.workers}"
    return less_than_needed(ChainSettings(args.views, args.poses, args.rounds))


def _plan(args: GapArgs, choice: PolicyChoice) -> GapPlan:
    policy = "" if choice.folder is None else file_sha256(choice.folder / MANIFEST_NAME)
    return GapPlan(
        policy=choice.name,
        policy_sha256=policy,
        level=args.level,
        seeds=tuple(range(args.first_seed, args.first_seed + args.seeds)),
        episodes=args.episodes,
        training_episodes=args.training_episodes,
        views=args.views,
        poses=args.poses,
        rounds=args.rounds,
    )


def _pieces(folder: GapFolder, seeds: list[int]) -> int:
    """Return how many attempts, pictures and poses are left."""
    plan, count = folder.plan, 0
    for seed in seeds:
        count += plan.episodes * (folder.cell(seed, "before") is None) + plan.episodes
        chain = plan.views + plan.rounds * plan.poses + round(DEFAULTS.motion_s)
        count += chain * (folder.unit(seed) is None)
    return count


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
