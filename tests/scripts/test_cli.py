"""Finding runs and printing results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.cli import data_root, emit_json, resolve_run, run_folders, say
from urdf.errors import UnknownName

OLD = "grasp/20260101T100000Z_quick_seed0"
NEW = "grasp/20260203T100000Z_default_seed1"


@dataclass(frozen=True)
class Result:
    run: Path
    success_rate: float
    wall_s: float


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in (OLD, NEW):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    return tmp_path


def test_the_data_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("TANDEM_DATA")
    assert data_root() == Path("data")


def test_a_run_is_found_by_path_by_name_and_as_the_newest(data: Path) -> None:
    new, old = data / "runs" / NEW, data / "runs" / OLD
    assert run_folders(data) == [new, old]
    assert resolve_run(str(old), data) == old
    assert resolve_run(OLD, data) == old
    assert resolve_run(old.name, data) == old
    assert resolve_run("newest", data) == new


def test_an_unknown_run_lists_the_runs_nearest_first(data: Path) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve_run("grasp/20260203T100000Z_default_seed2", data)
    assert caught.value.valid[0] == NEW
    assert set(caught.value.valid) == {NEW, OLD, "newest"}


def test_a_folder_that_holds_no_run_is_not_taken_for_one(data: Path, tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    with pytest.raises(UnknownName):
        resolve_run(str(tmp_path / "sim"), data)


def test_with_no_runs_at_all_the_newest_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="none yet"):
        resolve_run("newest", tmp_path)


def test_the_result_is_one_json_line_and_words_for_people_go_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    say("training", json=True)
    emit_json(Result(run=Path("data/runs/x"), success_rate=float("nan"), wall_s=2.5))
    captured = capsys.readouterr()
    assert captured.err == "training\n"
    assert json.loads(captured.out) == {"run": "data/runs/x", "success_rate": None, "wall_s": 2.5}
    assert len(captured.out.splitlines()) == 1


def test_without_json_stdout_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    say("training")
    emit_json(Result(run=Path("x"), success_rate=1.0, wall_s=0.0), enabled=False)
    assert capsys.readouterr().out == "training\n"
