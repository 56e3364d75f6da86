"""Which settings learn the grasp: the table of docs/training.md, and the figures promised for `tandem train`.

`python -m scripts.programs.bench_training` makes the table: every variant changes one thing of the preset, on three
seeds, for the same number of simulated episodes. Finished runs are kept, so it can be stopped and started again.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from policies.artifact import PolicyManifest
from policies.config import TrainConfig
from policies.metrics import EvaluationRow, read_metrics
from policies.presets import PRESETS
from policies.training import TrainResult, train
from scripts.cli import data_root
from scripts.programs.figures import Row, at_least, at_most, machine
from scripts.provenance import git_commit, versions
from scripts.run_folder import SCHEMA, RunConfig, utc_now
from scripts.simulation import judged, judging_worlds, simulated, training_worlds
from scripts.train import manifest_for

#: Episodes that each run of the table may simulate; they are what training costs.
EPISODES = 160
#: Control periods from home to the grasp: what an episode has for decisions.
_PERIODS = 47
_LOOKS = 2
_EVALUATION_EPISODES = 30
DOCUMENT = Path("docs/training.md")
_BEGIN, _END = "<!-- table: made by scripts/programs/bench_training.py -->", "<!-- end of table -->"


@dataclass(frozen=True, slots=True)
class Variant:
    """The preset with something changed."""

    name: str
    config: TrainConfig


def variants() -> tuple[Variant, ...]:
    """Return the rows of the table, the most telling first."""
    base = PRESETS["grasp"]

    def changed(name: str, config: TrainConfig) -> Variant:
        return Variant(name, config)

    replace = dataclasses.replace
    return (
        changed("preset", base),
        changed("reward scale 1", replace(base, reward_scale=1.0)),
        changed("potential of the learner's discount", replace(base, shaping_discount=None)),
        changed("no layer norms", replace(base, sac=replace(base.sac, layer_norm=False))),
        changed("no running average", replace(base, sac=replace(base.sac, averaging_rate=1.0))),
    )


class VariantRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One finished run of the table. `successes` follow the looks at a half and all of the episodes."""

    variant: str
    seed: int
    config: TrainConfig
    git_commit: str
    machine: str
    decisions: int
    episodes: int
    updates: int
    wall_s: float
    successes: tuple[int, ...]
    of: int


def run_variant(variant: Variant, seed: int) -> VariantRun:
    """Train one variant for `EPISODES` episodes and look at the policy twice."""
    settings = variant.config
    decisions = EPISODES * -(-_PERIODS // settings.action_repeat)
    settings = dataclasses.replace(
        settings,
        max_decisions=decisions,
        evaluate_every=decisions // _LOOKS,
        evaluation_episodes=_EVALUATION_EPISODES,
        screening_episodes=0,
        final_episodes=1,
        stop_evaluations=_LOOKS + 1,
        checkpoint_every=1_000_000_000,
    )
    factory = simulated(settings, "table")
    config = RunConfig(SCHEMA, "grasp", "table", seed, settings, git_commit(), versions(), utc_now())
    folder = Path(tempfile.mkdtemp(prefix="bench_training_"))
    try:
        result = _train(settings, "table", folder, manifest_for(config, factory), seed)
        looks = [row for row in read_metrics(folder / "metrics.jsonl") if isinstance(row, EvaluationRow)]
    finally:
        shutil.rmtree(folder)
    return VariantRun(
        variant=variant.name,
        seed=seed,
        config=variant.config,
        git_commit=config.git_commit,
        machine=machine(),
        decisions=result.decisions,
        episodes=result.episodes,
        updates=result.updates,
        wall_s=result.wall_s,
        successes=tuple(row.successes for row in looks),
        of=_EVALUATION_EPISODES,
    )


def _train(settings: TrainConfig, rig: str, folder: Path, manifest: PolicyManifest, seed: int) -> TrainResult:
    with (
        closing(training_worlds(simulated(settings, rig), settings)) as simulations,
        closing(judging_worlds(judged(settings, rig), settings)) as judges,
    ):
        return train(settings, simulations, judges, folder, manifest, seed, curriculum=simulations.curriculum)


def runs_path() -> Path:
    """Return where finished runs are kept, one JSON object a line."""
    return data_root() / "bench" / "training_runs.jsonl"


def finished_runs() -> list[VariantRun]:
    """Return the kept runs whose settings are still those of their variant."""
    path = runs_path()
    if not path.exists():
        return []
    current = {v.name: v.config for v in variants()}
    runs = [msgspec.json.decode(line, type=VariantRun) for line in path.read_bytes().splitlines()]
    return [run for run in runs if current.get(run.variant) == run.config]


def table(runs: Sequence[VariantRun]) -> str:
    """Return the runs as a Markdown table: success of every seed, half-way and at the end, and of the policies kept.

    A training keeps the best of the policies that it looked at, so that is what the settings are held to.
    """
    lines = [
        f"| settings | after {EPISODES // 2} episodes | after {EPISODES} episodes | kept, mean | updates | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for variant in variants():
        chosen = sorted((r for r in runs if r.variant == variant.name), key=lambda r: r.seed)
        if not chosen:
            continue
        looks = [" · ".join(f"{100 * r.successes[k] / r.of:.0f}" for r in chosen) + " %" for k in range(_LOOKS)]
        mean = sum(max(r.successes) / r.of for r in chosen) / len(chosen)
        updates = sum(r.updates for r in chosen) / len(chosen)
        seconds = sum(r.wall_s for r in chosen) / len(chosen)
        lines.append(
            f"| {variant.name} | {looks[0]} | {looks[-1]} | {100 * mean:.0f} % | {updates:,.0f} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def write_table(runs: Sequence[VariantRun], document: Path = DOCUMENT) -> None:
    """Put the table between its marks in the document."""
    text = document.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}\n{table(runs)}\n{_END}{after}", encoding="utf-8")


def measure(on_progress: Callable[[str, float], None]) -> list[Row]:
    """Train the preset on both rigs as `tandem train` does; return success and time of each."""
    rows: list[Row] = []
    for rig in ("table", "hanging"):
        on_progress(f"training, {rig} rig", 0.0)
        settings = PRESETS["grasp"]
        factory = simulated(settings, rig)
        config = RunConfig(SCHEMA, "grasp", rig, 0, settings, git_commit(), versions(), utc_now())
        with tempfile.TemporaryDirectory(prefix="bench_training_") as folder:
            result = _train(settings, rig, Path(folder), manifest_for(config, factory), 0)
        on_progress(f"training, {rig} rig", 1.0)
        rate = result.final.success_rate if result.final else None
        count = f"{result.final.episodes} new episodes" if result.final else "not evaluated"
        rows += [
            at_least(f"training {rig} success of the exported policy", rate, "", 0.95, count),
            at_most(f"training {rig} wall-clock", result.wall_s, "s", 240.0, f"{result.decisions} decisions"),
        ]
    return rows


def main() -> int:
    """Run what is missing of the table, one run at a time, and write it after each."""
    wanted = [(variant, seed) for seed in range(3) for variant in variants()]
    done = {(run.variant, run.seed) for run in finished_runs()}
    missing = [(variant, seed) for variant, seed in wanted if (variant.name, seed) not in done]
    for index, (variant, seed) in enumerate(missing):
        print(f"{index + 1} of {len(missing)}: {variant.name}, seed {seed}", flush=True)
        run = run_variant(variant, seed)
        runs_path().parent.mkdir(parents=True, exist_ok=True)
        with runs_path().open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")
        write_table(finished_runs())
    print(table(finished_runs()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
