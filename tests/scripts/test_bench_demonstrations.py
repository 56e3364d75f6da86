"""What demonstrations are worth: rows from trainings that are kept, those that got nowhere included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from policies.presets import find_preset
from scripts.programs.bench_demonstrations import measure
from scripts.programs.bench_train import mild
from scripts.programs.figures import Row, machine
from scripts.programs.timed_run import Asked, KeptRuns, TimedRun


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the recordings of the bench; nobody reads them, as the trainings are kept."""
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    folder = tmp_path / "bench" / "demonstrations"
    folder.mkdir(parents=True)
    for name in ("grasp_state_50", "grasp_proprioception_wrist_depth_25", "pick-place_state_25"):
        (folder / f"{name}.mcap").touch()
    return tmp_path


def keep(
    data: Path, preset: str, every: int, rate: float, minutes: float, recording: str, reached: int | None,
    decisions: int, rates: tuple[float, ...],
) -> None:  # fmt: skip
    """Write down a training that was never run."""
    config = mild(find_preset(preset.removesuffix("-shown")), every)
    shown = (str(data / "bench" / "demonstrations" / f"{recording}.mcap"),) if recording else ()
    asked = Asked(replace(config, demonstrations=shown), 0, rate, 200, 60 * minutes, preset=preset)
    run = TimedRun(asked, "0123456", machine(), "2026-01-01T00:00:00Z", reached, 60.0, 6.0, decisions, rates)
    with (data / "bench" / "demonstrations_runs.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(run) + b"\n")


def row_of(data: Path, word: str) -> Row:
    (row,) = measure(lambda what, share: None, word, KeptRuns(data / "bench" / "demonstrations_runs.jsonl"))
    return row


def test_a_clone_is_worth_its_best_evaluation(data: Path) -> None:
    keep(data, "bc", 500, 1.0, 10.0, "grasp_state_50", None, 1000, (0.895, 0.8))
    row = row_of(data, "BC from")
    assert (row.value, row.holds) == (0.895, False)
    assert "90, 80 % of 200 episodes" in row.baseline


@pytest.mark.parametrize(
    ("reached", "decisions", "value", "holds"),
    [(5, 3_000, 0.6, True), (6, 3_500, 0.7, False), (None, 9_000, None, False)],
)
def test_the_ratio_is_of_decisions_and_there_is_none_where_the_rate_was_not_reached(
    data: Path, reached: int | None, decisions: int, value: float | None, holds: bool
) -> None:
    shown = "grasp_proprioception_wrist_depth_25"
    keep(data, "depth-sac-shown", 500, 0.9, 30.0, shown, reached, decisions, (0.5, 0.9))
    keep(data, "depth-sac", 500, 0.9, 30.0, "", 9, 5_000, (0.9,))
    row = row_of(data, "from depth")
    assert row.value == (None if value is None else pytest.approx(value))
    assert row.holds is holds


def test_pick_and_place_is_compared_after_as_many_decisions(data: Path) -> None:
    """What came later than the other's last evaluation counts for nothing."""
    keep(data, "pick-place-shown", 4_000, 0.9, 10.0, "pick-place_state_25", None, 7_530, (0.625,))
    keep(data, "pick-place", 4_000, 0.9, 10.0, "", None, 8_408, (0.25, 0.75))
    row = row_of(data, "pick-place")
    assert (row.value, row.holds) == (0.375, True)
