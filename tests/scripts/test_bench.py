"""`tandem bench`: what it writes, what it judges, how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import bench
from scripts.programs.figures import Row, at_least, at_most
from urdf.errors import UnknownName


@pytest.fixture
def one_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A bench of two figures, one of which fails, in place of the real ones; returns the data root."""

    def measure(_on_progress: bench.Progress) -> list[Row]:
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


def test_an_unknown_bench_lists_the_valid_ones(one_bench: Path) -> None:
    with pytest.raises(UnknownName, match=r"sample, all|all, sample"):
        bench.run(bench.BenchArgs(name="smaple"))
    assert not (one_bench / "bench").exists()


def test_an_interrupted_bench_leaves_what_it_has_measured(one_bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_on_progress: bench.Progress) -> Iterator[Row]:
        yield at_least("first", 1.0, "", 0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "BENCHES", {"sample": measure})
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.BenchArgs())
    saved = json.loads((one_bench / "bench" / "sample.partial.json").read_text())
    assert [row["figure"] for row in saved["rows"]] == ["first"]
    assert not (one_bench / "bench" / "sample.json").exists()
