"""`tandem bench train`: trainings are timed by the one loop, kept, and run alone, on the tiny task of `point_env`."""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from collections.abc import Iterable
from inspect import signature
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from stable_baselines3 import SAC

from policies.config import TrainConfig
from scripts import bench
from scripts.programs import bench_train, updates_race
from scripts.programs.bench_train import Lasting, Missing, Promise, Ratio, Timed, measure, promises
from scripts.programs.figures import Row, machine
from scripts.programs.run_curves import read_run
from scripts.programs.timed_run import Asked, KeptRuns, TimedRun, time_to
from sim.vector_worker import WorldFactory
from tests.fakes.point_task import ALONE, environments, slow_environments

POINT = dataclasses.replace(ALONE, evaluate_every=400, screening_episodes=0)
#: A rate that any evaluation reaches: what is tested here is not how quickly a point learns.
AT_ONCE = Asked(POINT, seed=0, rate=0.0, episodes=4, limit_s=60.0)


class Unavailable(Exception):
    """No training was to be begun."""


def unavailable(config: TrainConfig, rig: str) -> WorldFactory:
    raise Unavailable


def quiet(what: str, share: float) -> None:
    """Nobody watches."""


def timed(figure: str, asked: Asked) -> Timed:
    return Timed(figure, (asked,), bar_min=1.0)


def keep(
    path: Path, asked: Asked, training_s: float = 1.0, rates: tuple[float, ...] = (1.0,), reached: int | None = 0
) -> None:
    """Write down a run that was never run."""
    run = TimedRun(asked, "0123456", machine(), "2026-01-01T00:00:00Z", reached, training_s, 0.5, 400, rates)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")


def test_time_to_a_rate_is_that_of_the_first_evaluation_that_reaches_it(tmp_path: Path) -> None:
    shares: list[float] = []
    run = time_to(Asked(POINT, 0, rate=0.9, episodes=20, limit_s=100.0), tmp_path, environments, shares.append)
    assert run.reached is not None
    assert run.reached == len(run.rates) - 1
    assert run.rates[-1] >= 0.9
    assert all(rate < 0.9 for rate in run.rates[:-1])
    assert run.decisions == 400 * len(run.rates)
    assert 0.0 < run.training_s < 100.0
    assert run.evaluation_s > 0.0
    assert shares == sorted(shares)
    (folder,) = tmp_path.glob("runs/*/*")
    assert [row.success_rate for row in read_run(folder).evaluations] == list(run.rates)
    assert not (folder / "checkpoints").exists()


def test_time_in_evaluations_is_no_learning(tmp_path: Path) -> None:
    """A world of 2 ms a step: the decisions and those of the evaluations take that long at least, apart."""
    run = time_to(replace(AT_ONCE, episodes=10), tmp_path, slow_environments)
    assert run.reached == 0
    assert run.training_s >= 400 * 0.002
    # Without having learnt, an episode lasts up to 20 moves.
    assert run.evaluation_s >= 10 * 0.002
    twice = time_to(replace(AT_ONCE, episodes=100), tmp_path, slow_environments)
    assert twice.evaluation_s > 5 * run.evaluation_s
    assert twice.training_s < 3 * run.training_s


def test_a_run_that_never_gets_there_says_so_and_counts_as_its_limit(tmp_path: Path) -> None:
    hopeless = replace(AT_ONCE, rate=1.01, limit_s=1.2)
    run = time_to(hopeless, tmp_path, environments)
    assert run.reached is None
    assert run.training_s == pytest.approx(1.2, abs=0.5)
    (row,) = measure(quiet, "", [timed("point", hopeless)], KeptRuns(tmp_path / "runs.jsonl", environments))
    assert row.value == pytest.approx(0.02)
    assert "NOT REACHED" in row.baseline
    assert "counts as 0.02" in row.baseline


def test_a_finished_run_is_kept_and_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "runs.jsonl"
    first = KeptRuns(path, environments).time_to(AT_ONCE)
    written = path.read_bytes()
    assert KeptRuns(path, unavailable).time_to(AT_ONCE) == first
    assert path.read_bytes() == written
    (line,) = written.splitlines()
    kept = json.loads(line)
    assert kept["asked"]["seed"] == 0
    assert kept["asked"]["config"]["task"] == "point"
    assert kept["machine"] == machine()
    assert kept["git_commit"] == first.git_commit


@pytest.mark.parametrize(
    "other",
    [
        Asked(dataclasses.replace(POINT, reward_scale=2.0), 0, 0.0, 4, 60.0),
        Asked(dataclasses.replace(POINT, sac=dataclasses.replace(POINT.sac, hidden=(16, 16))), 0, 0.0, 4, 60.0),
        Asked(POINT, 1, 0.0, 4, 60.0),
        Asked(POINT, 0, 0.0, 5, 60.0),
        Asked(POINT, 0, 0.0, 4, 60.0, evaluation_seed=3),
    ],
    ids=["reward", "network", "seed", "episodes", "same episodes"],
)
def test_a_run_of_other_settings_counts_for_nothing(tmp_path: Path, other: Asked) -> None:
    path = tmp_path / "runs.jsonl"
    keep(path, AT_ONCE)
    with pytest.raises(Unavailable):
        KeptRuns(path, unavailable).time_to(other)
    assert KeptRuns(path, unavailable).time_to(AT_ONCE).asked == AT_ONCE


def test_a_run_of_another_machine_or_another_version_or_cut_short_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    keep(path, AT_ONCE)
    line = path.read_bytes()
    for damaged in (
        line.replace(b'"machine":"', b'"machine":"not '),
        line.replace(b'"reward_scale":', b'"a_setting_that_is_gone":1,"reward_scale":'),
        line[: len(line) // 2],
    ):
        assert damaged != line
        path.write_bytes(damaged)
        with pytest.raises(Unavailable):
            KeptRuns(path, unavailable).time_to(AT_ONCE)
    # The one that was cut short spoils no other.
    KeptRuns(path, environments).time_to(AT_ONCE)
    assert KeptRuns(path, unavailable).time_to(AT_ONCE).reached == 0


def test_an_interrupted_bench_goes_on_with_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench" / "train_runs.jsonl"
    seeds = [timed(f"point, seed {seed}", replace(AT_ONCE, seed=seed)) for seed in (0, 1)]
    began: list[int] = []

    def measured(on_progress: bench.Progress, only: str) -> Iterable[Row]:
        def built(config: TrainConfig, rig: str) -> WorldFactory:
            began.append(len(began))
            if len(began) == 2:
                raise KeyboardInterrupt
            return environments(config, rig)

        return measure(on_progress, only, seeds, KeptRuns(path, built))

    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    monkeypatch.setattr(bench, "BENCHES", {"train": measured})
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.BenchArgs(name="train"))
    partial = json.loads((tmp_path / "bench" / "train.partial.json").read_text())
    assert [row["figure"] for row in partial["rows"]] == ["point, seed 0"]
    assert bench.run(bench.BenchArgs(name="train")) == 0
    assert len(began) == 3, "seed 0 was run once, seed 1 was begun twice"
    assert len(path.read_bytes().splitlines()) == 2
    assert not (tmp_path / "bench" / "train.partial.json").exists()


def test_only_runs_the_row_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows: list[Promise] = [timed(f"point, seed {s}", replace(AT_ONCE, seed=s)) for s in (0, 1, 2)]
    (row,) = measure(quiet, "seed 1", rows, KeptRuns(path, environments))
    assert row.figure == "point, seed 1"
    assert [json.loads(line)["asked"]["seed"] for line in path.read_bytes().splitlines()] == [1]


def test_a_run_that_goes_on_is_judged_on_the_same_episodes(tmp_path: Path) -> None:
    """Nothing learns during a warm-up, so that the same episodes always go the same way."""
    lazy = dataclasses.replace(POINT, sac=dataclasses.replace(POINT.sac, warm_up=1_000_000))
    same = time_to(Asked(lazy, 0, 0.0, 40, 60.0, further=4, evaluation_seed=7), tmp_path, environments)
    assert len(same.rates) == 5
    assert len(set(same.rates)) == 1
    others = time_to(Asked(lazy, 0, 0.0, 40, 60.0, further=4), tmp_path, environments)
    assert len(set(others.rates)) > 1


def test_what_lasts_is_the_end_held_against_the_best(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    asked = replace(AT_ONCE, further=8)
    keep(path, asked, rates=(0.2, 0.96, 0.97, 1.0, 1.0, 0.98, 0.99, 0.5, 0.9, 0.95), reached=1)
    (row,) = measure(quiet, "", [Lasting("no collapse", asked, -0.03)], KeptRuns(path, unavailable))
    # After the 0.96: last five 0.98 0.99 0.5 0.9 0.95, best five 1 1 0.99 0.98 0.97.
    assert row.value == pytest.approx(0.95 - 0.99)
    assert not row.holds
    keep(path, asked, rates=(0.2,), reached=None)
    (row,) = measure(quiet, "", [Lasting("no collapse", asked, -0.03)], KeptRuns(path, unavailable))
    assert row.value is None


def test_a_ratio_is_that_of_the_medians_and_a_run_without_success_counts_as_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    asked = [replace(AT_ONCE, seed=seed) for seed in range(6)]
    for one, took_s in zip(asked, (6.0, 12.0, 48.0, 24.0, None, None), strict=True):
        keep(path, one, training_s=took_s or 60.0, reached=None if took_s is None else 0)
    row = Ratio("ours / theirs", tuple(asked[:3]), tuple(asked[3:]), 0.5).measure(KeptRuns(path, unavailable), quiet)
    assert row.value == pytest.approx(12.5 / 60)  # half a second of evaluations is a part of it
    assert row.baseline.count("NOT REACHED") == 2


def test_every_promise_has_a_figure_and_a_bar_of_its_own() -> None:
    figures = [promise.figure for promise in promises()]
    assert len(set(figures)) == len(figures)
    timed_rows = [promise for promise in promises() if isinstance(promise, Timed)]
    assert [row.bar_min for row in timed_rows if row.figure.startswith("state grasp")] == [3.0] * 4
    by_arm = [row for row in timed_rows if row.figure.startswith(("ur5", "kuka"))]
    assert [(row.asked[0].config.arm, row.asked[0].config.task, row.bar_min) for row in by_arm] == [
        (arm, task, 5.0) for arm in ("ur5", "kuka_iiwa") for task in ("reach", "grasp")
    ]
    depth = [promise for promise in promises() if promise.figure.startswith("depth-asym")]
    assert depth
    assert {promise.bar_min for promise in depth if isinstance(promise, Timed | Missing)} == {15.0}
    for row in timed_rows:
        if "mild" in row.figure:
            config = row.asked[0].config
            assert (config.randomization, config.judged_randomization) == ("mild", "mild")
            assert (row.asked[0].rate, row.asked[0].episodes) == (0.95, 200)
            # Learning end to end goes by the reference's curriculum; what is judged is the full task.
            assert config.curriculum == ("reference" if row.figure.startswith("depth-sac") else "none")


def test_sb3_learns_with_its_own_defaults() -> None:
    theirs = {name: parameter.default for name, parameter in signature(SAC.__init__).parameters.items()}
    sac = bench_train.sb3_grasp().sac
    assert (sac.learning_rate, sac.batch_size, sac.target_rate) == (
        theirs["learning_rate"],
        theirs["batch_size"],
        theirs["tau"],
    )
    assert (sac.capacity, sac.warm_up, sac.steps) == (
        theirs["buffer_size"],
        theirs["learning_starts"],
        theirs["n_steps"],
    )
    assert sac.averaging_rate == 1.0, "what is judged is the policy itself"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates_race, "TURNS", 1)
    monkeypatch.setattr(updates_race, "TURN_S", 0.05)


@pytest.mark.usefixtures("short")
def test_updates_are_raced_against_sb3() -> None:
    row = updates_race.mlp_against_sb3("ours / SB3", 2.0, quiet)
    assert row.value is not None
    assert row.value > 0.0
    assert row.baseline.count("ours with") == 3 - (not row.baseline.startswith("ours with"))
    assert "SB3 with 2 torch threads" in row.baseline


@pytest.mark.usefixtures("short")
def test_without_sbx_the_row_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ModuleNotFoundError: No module named sbx' >&2\nexit 1\n")
    python.chmod(stat.S_IRWXU)
    monkeypatch.setenv("TANDEM_SBX_PYTHON", str(python))
    row = updates_race.mlp_against_sbx("ours / SBX", 1.0, quiet)
    assert (row.value, row.holds) == (None, False)
    assert "No module named sbx" in row.baseline
    assert "pip install sbx-rl==0.28" in row.baseline


@pytest.mark.usefixtures("short")
def test_sbx_is_raced_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With Stable-Baselines3's SAC under SBX's name: the two are called alike."""
    (tmp_path / "sbx.py").write_text(
        "import stable_baselines3\n\n\nclass SAC(stable_baselines3.SAC):\n"
        "    def train(self, gradient_steps, batch_size):\n        super().train(1, batch_size)\n"
    )
    python = tmp_path / "python"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
    run = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    python.write_text(
        f'#!/bin/sh\nshift\nif [ "$1" = -c ]; then exit 0; fi\nexec {sys.executable} -c "{code}; {run}" "$@"\n'
    )
    python.chmod(stat.S_IRWXU)
    monkeypatch.setenv("TANDEM_SBX_PYTHON", str(python))
    row = updates_race.mlp_against_sbx("ours / SBX", 1.0, quiet)
    assert row.value is not None
    assert row.value > 0.0
    assert "against SBX" in row.baseline
