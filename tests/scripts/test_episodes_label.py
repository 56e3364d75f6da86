"""`tandem episodes label` and `trim`: what is said of attempts counts, and the recording stays as it is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.actions import LATERAL_ACTION, TOOL_ACTION
from bridge.episode_attempts import RecordedAttempt, read_demonstrations
from bridge.errors import BadEpisode
from scripts.episodes_label import NotesSummary
from scripts.main import main
from scripts.programs.demonstration_notes import notes_path, read_noted
from scripts.programs.demonstration_trim import busy_range, trimmed
from tests.scripts.demonstrations import make_recording


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    attempts = ((5, True), (4, False), (6, None))
    return make_recording(tmp_path / "episodes" / "20260131T120000Z.mcap", attempts)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> NotesSummary:
    capsys.readouterr()
    assert main(["episodes", *words, "--json"]) == 0
    return msgspec.json.decode(capsys.readouterr().out.splitlines()[-1], type=NotesSummary)


def attempt_of(actions: list[tuple[float, ...]]) -> RecordedAttempt:
    count = len(actions)
    return RecordedAttempt(
        number=1,
        stamp_ns=np.arange(count, dtype=np.int64),
        observations={"state": np.arange(count + 1, dtype=np.float32)[:, None]},
        actions=np.array(actions, dtype=np.float32),
        rewards=np.arange(count, dtype=np.float64),
        terminated=True,
        truncated=False,
        verdict="success",
    )


# Labels ------------------------------------------------------------------------------------------
def test_the_judges_word_stands_until_somebody_says_otherwise(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recording.read_bytes()
    first = run(capsys, "label")
    assert (first.successes, first.failures, first.unknown, first.notes) == (1, 1, 1, None)
    second = run(capsys, "label", "newest", "--success", "2", "3", "--unknown", "1")
    assert (second.successes, second.failures, second.unknown) == (2, 0, 1)
    assert second.notes == str(notes_path(recording))
    row = second.attempts[1]
    assert (row.verdict, row.judged, row.by_hand) == ("success", "failure", True)
    assert [attempt.verdict for attempt in read_noted(recording).attempts] == ["", "success", "success"]
    third = run(capsys, "label", "newest", "--judge", "1", "2", "3")
    assert (third.successes, third.failures, third.unknown) == (1, 1, 1)
    assert recording.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--success", "4"), "has no whole attempt 4; it has 1, 2, 3"),
        (("--success", "1", "--failure", "1"), "attempt 1 is named twice"),
    ],
)
def test_a_label_that_cannot_be_is_refused_and_nothing_is_noted(
    recording: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert main(["episodes", "label", "newest", *words]) == 2
    told = capsys.readouterr()
    assert says in told.err + told.out
    assert not notes_path(recording).exists()


def test_notes_of_another_recording_are_refused(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "label", "newest", "--success", "2")
    other = make_recording(recording.with_name("20260131T130000Z.mcap"), ((3, True),))
    notes_path(recording).rename(notes_path(other))
    assert main(["episodes", "label", other.stem]) == 2
    assert "belongs to another recording" in capsys.readouterr().err


def test_damaged_notes_are_named_and_left_alone(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes_path(recording).write_text('{"attempts": {"1": {"verdict": "splendid"}}}')
    assert main(["episodes", "label", "newest", "--success", "1"]) == 2
    assert "20260131T120000Z.notes.json is damaged" in capsys.readouterr().err
    assert "splendid" in notes_path(recording).read_text()


# Trimming ----------------------------------------------------------------------------------------
def test_idle_is_an_action_that_moves_nothing() -> None:
    attempt = attempt_of([(0.0, 0.04), (0.0, 0.0), (0.3, 0.0), (0.0, 0.0), (0.0, -0.6), (0.01, 0.0)])
    assert busy_range(attempt, LATERAL_ACTION, still=0.05, spare=0) == (2, 5)
    assert busy_range(attempt, LATERAL_ACTION, still=0.05, spare=1) == (1, 6)
    assert busy_range(attempt, LATERAL_ACTION, still=0.02, spare=0) == (0, 5)
    assert busy_range(attempt, LATERAL_ACTION, still=0.7, spare=0) == (0, 6)


def test_jaws_that_close_are_not_idle_and_jaws_that_stay_closed_are() -> None:
    still = (0.0, 0.0, 0.0, 0.0)
    attempt = attempt_of([(*still, -1.0), (*still, -1.0), (*still, 1.0), (*still, 1.0), (*still, 1.0)])
    assert busy_range(attempt, TOOL_ACTION, still=0.05, spare=0) == (2, 3)


def test_what_is_cut_changes_neither_the_end_nor_the_original() -> None:
    attempt = attempt_of([(0.0, 0.0), (1.0, 0.0), (1.0, 0.0), (0.0, 0.0)])
    cut = trimmed(attempt, (1, 3))
    assert cut.observations["state"][:, 0].tolist() == [1.0, 2.0, 4.0]
    assert cut.rewards.tolist() == [1.0, 2.0 + 3.0]
    assert cut.actions.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert (cut.terminated, cut.verdict, cut.stamp_ns.tolist()) == (True, "success", [1, 2])
    cut.rewards[:] = -1.0
    assert attempt.rewards.tolist() == [0.0, 1.0, 2.0, 3.0]
    for kept in ((2, 2), (-1, 2), (1, 5)):
        with pytest.raises(BadEpisode, match="has decisions 0 to 3"):
            trimmed(attempt, kept)


def test_trim_notes_what_is_kept_and_undo_takes_it_back(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = recording.read_bytes()
    run(capsys, "label", "newest", "--success", "2")
    summary = run(capsys, "trim", "newest", "--spare", "0")
    assert [row.kept for row in summary.attempts] == [(1, 4), (1, 3), (1, 5)]
    whole = read_demonstrations(recording).attempts
    cut = read_noted(recording).attempts
    assert [attempt.decisions for attempt in cut] == [3, 2, 4]
    for old, new in zip(whole, cut, strict=True):
        assert new.rewards.sum() == pytest.approx(old.rewards.sum() - old.rewards[0])
    summary = run(capsys, "trim", "newest", "--undo")
    assert [row.kept for row in summary.attempts] == [(0, 5), (0, 4), (0, 6)]
    assert summary.attempts[1].by_hand  # the label is still there
    assert recording.read_bytes() == before
    assert main(["episodes", "trim", "newest", "--still", "2"]) == 2
