"""`tandem bench`: what it writes, what it judges, how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.errors import ArtifactError
from scripts import bench
from scripts.evaluate import PolicyChoice
from scripts.programs import bench_tasks
from scripts.programs.figures import Bench, Row, at_least, at_most, save
from sim.tasks import TASKS
from urdf.description import load_arm
from urdf.errors import UnknownName
from urdf.tables import arm_names


@pytest.fixture
def one_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A bench of two figures, one of which fails, in place of the real ones; returns the data root."""

    def measure(_on_progress: bench.Progress, _only: str) -> list[Row]:
        return [at_most("solve time", 41.0, "us", 60), at_least("loop rate", 19.2, "Hz", 20, "one core")]

    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    monkeypatch.setattr(bench, "BENCHES", {"sample": measure})
    return tmp_path


def test_a_figure_that_was_not_measured_does_not_hold() -> None:
    assert not at_most("solve time", None, "us", 60).holds
    assert not at_least("loop rate", None, "Hz", 20).holds


def test_a_bar_is_met_at_the_bar_and_missed_beyond_it() -> None:
    assert at_most("solve time", 60, "us", 60).holds
    assert not at_most("solve time", 60.1, "us", 60).holds
    assert at_least("loop rate", 20, "Hz", 20).holds
    assert not at_least("loop rate", float("nan"), "Hz", 20).holds


def test_the_rows_go_to_disk_and_a_missed_bar_fails(one_bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(bench.BenchArgs(json=True)) == 1
    saved = json.loads((one_bench / "bench" / "sample.json").read_text())
    assert [row["holds"] for row in saved["rows"]] == [True, False]
    assert saved["rows"][1] == {
        "figure": "loop rate", "value": 19.2, "unit": "Hz", "bar": 20, "direction": ">=", "holds": False,
        "baseline": "one core",
    }  # fmt: skip
    assert json.loads(capsys.readouterr().out) == saved
    assert [p.name for p in (one_bench / "bench").iterdir()] == ["sample.json"]


def test_only_shows_and_judges_the_rows_that_hold_the_word(one_bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(bench.BenchArgs(only="solve", json=True)) == 0
    assert [row["figure"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["solve time"]
    assert len(json.loads((one_bench / "bench" / "sample.json").read_text())["rows"]) == 2
    assert bench.run(bench.BenchArgs(only="no such figure")) == 1


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The bench of the tasks without its episodes; returns the list of what was played."""
    played: list[str] = []

    def play(choice: PolicyChoice, episodes: int, *_: object) -> list[bool]:
        played.append(f"{choice.task} {choice.arm} {choice.rig} {choice.scripted}")
        return [choice.scripted == "oracle"] * episodes

    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    monkeypatch.setattr(bench_tasks, "evaluate_policy", play)
    return played


def figures(path: Path) -> list[str]:
    return [row["figure"] for row in json.loads(path.read_text())["rows"]]


def test_only_plays_no_other_tasks_and_keeps_the_rows_that_are_there(tasks: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bench" / "tasks.json"
    assert bench.run(bench.BenchArgs(name="tasks", only="reach ur5 table")) == 0
    assert tasks == [f"reach ur5 table {policy}" for policy in ("oracle", "random", "hold", "blind")]
    first = figures(path)
    assert len(first) == 4
    assert bench.run(bench.BenchArgs(name="tasks", only="reach ur5 table oracle")) == 0
    assert bench.run(bench.BenchArgs(name="tasks", only="grasp ur5 table hold")) == 0
    assert tasks[4:] == ["reach ur5 table oracle", "grasp ur5 table hold"]
    assert figures(path) == [*first, "grasp ur5 table hold success"]


def test_a_word_that_is_in_no_figure_plays_nothing_and_leaves_the_file(tasks: list[str], tmp_path: Path) -> None:
    assert bench.run(bench.BenchArgs(name="tasks", only="reaches")) == 1
    assert not (tmp_path / "bench").exists()
    assert tasks == []


def test_rows_of_another_machine_are_not_mixed_with_those_of_this_one(tasks: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bench" / "tasks.json"
    save(Bench("a Raspberry Pi", ()), path)
    with pytest.raises(ArtifactError, match="was measured on a Raspberry Pi, this is"):
        bench.run(bench.BenchArgs(name="tasks", only="reach"))
    assert tasks == []


def test_all_plays_the_dofbots_grasp_once(tasks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in bench.BENCHES if name not in ("tasks", "grasp")]:
        monkeypatch.setitem(bench.BENCHES, name, lambda *_: [at_least("a figure", 1.0, "", 0.5)])
    assert bench.run(bench.BenchArgs()) == 0
    assert len(tasks) == len(set(tasks)) == 4 * len(bench_tasks.CASES)
    assert bench.run(bench.BenchArgs(name="grasp")) == 0
    assert set(tasks[4 * len(bench_tasks.CASES) :]) == {name for name in tasks if name.startswith("grasp dofbot")}


def test_every_task_is_promised_on_every_arm_and_rig() -> None:
    arms = [name for name in arm_names() if name != "dofbot-se"]  # the same arm with another board
    every = {(task, arm, rig) for task in TASKS for arm in arms for rig in load_arm(arm).rigs}
    assert {(case.task, case.arm, case.rig) for case in bench_tasks.CASES} == every


def test_an_unknown_bench_lists_the_valid_ones(one_bench: Path) -> None:
    with pytest.raises(UnknownName, match=r"sample, all|all, sample"):
        bench.run(bench.BenchArgs(name="smaple"))
    assert not (one_bench / "bench").exists()


def test_an_interrupted_bench_leaves_what_it_has_measured(one_bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_on_progress: bench.Progress, _only: str) -> Iterator[Row]:
        yield at_least("first", 1.0, "", 0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "BENCHES", {"sample": measure})
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.BenchArgs())
    saved = json.loads((one_bench / "bench" / "sample.partial.json").read_text())
    assert [row["figure"] for row in saved["rows"]] == ["first"]
    assert not (one_bench / "bench" / "sample.json").exists()
