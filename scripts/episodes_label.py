"""`tandem episodes label` and `trim`: which attempts succeeded, and which part of each counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

from bridge.episode_attempts import RecordedDemonstrations, read_demonstrations
from bridge.episode_decisions import FAILURE, SUCCESS, UNKNOWN, Verdict
from scripts.cli import data_root, emit_json, refuse, say
from scripts.episodes import EpisodeName
from scripts.exit_codes import DONE
from scripts.programs.demonstration_notes import (
    AttemptNote,
    DemonstrationNotes,
    check_attempts,
    read_notes,
    with_notes,
    write_notes,
)
from scripts.programs.demonstration_trim import busy_range, trimmed
from scripts.programs.episode_files import resolve_episode


@dataclass(frozen=True)
class EpisodesLabelArgs:
    """Say which attempts of a recording succeeded. Without a word from you the judge's stands, where there was one.

    Labels lie beside the recording, in NAME.notes.json: the recording stays as it is.
    """

    episode: EpisodeName = "newest"
    """A recording: its name, its file, or `newest`."""
    success: tuple[int, ...] = ()
    """Numbers of attempts that succeeded, such as 1 4 5."""
    failure: tuple[int, ...] = ()
    """Numbers of attempts that failed."""
    unknown: tuple[int, ...] = ()
    """Numbers of attempts of which nobody knows."""
    judge: tuple[int, ...] = ()
    """Numbers of attempts for which the judge's word counts again: labels given by hand are taken back."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class EpisodesTrimArgs:
    """Leave out the idle ends of the attempts, where nobody moves yet or any more.

    What is left out is noted beside the recording, in NAME.notes.json: the recording stays as it is, --undo takes it
    back.
    """

    episode: EpisodeName = "newest"
    """A recording: its name, its file, or `newest`."""
    still: float = 0.05
    """An action is idle where it moves nothing by more than this share of the largest motion, 0 to 1."""
    spare: int = 1
    """How many idle decisions stay at each end."""
    undo: bool = False
    """Keep every attempt whole again."""
    json: bool = False
    """Print one JSON object as the last line of stdout: numbers of decisions, times in s."""


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt: what the judge said, what counts, and the decisions that are kept (from, to excluded)."""

    attempt: int
    verdict: str
    judged: str
    by_hand: bool
    decisions: int
    kept: tuple[int, int]


class NotesSummary(msgspec.Struct, frozen=True):
    """The JSON line of both commands."""

    file: str
    notes: str | None
    successes: int
    failures: int
    unknown: int
    attempts: tuple[AttemptRow, ...]
    remarks: tuple[str, ...]


def run_label(args: EpisodesLabelArgs) -> int:
    """Label; return the exit code."""
    recorded = read_demonstrations(resolve_episode(args.episode, data_root()))
    words: tuple[tuple[tuple[int, ...], Verdict | None], ...] = (
        (args.success, SUCCESS), (args.failure, FAILURE), (args.unknown, UNKNOWN), (args.judge, None),
    )  # fmt: skip
    named = [number for numbers, _ in words for number in numbers]
    twice = sorted({number for number in named if named.count(number) > 1})
    if twice:
        return refuse(f"tandem episodes label: attempt {twice[0]} is named twice")
    check_attempts(recorded, tuple(named))
    notes = read_notes(recorded)
    labels = {n: msgspec.structs.replace(notes.on(n), verdict=verdict) for numbers, verdict in words for n in numbers}
    return _keep(recorded, notes.noted(labels), bool(labels), args.json)


def run_trim(args: EpisodesTrimArgs) -> int:
    """Trim; return the exit code."""
    if not (math.isfinite(args.still) and 0 <= args.still <= 1) or args.spare < 0:
        return refuse(f"tandem episodes trim: --still 0 to 1, --spare 0 or more; got {args.still} and {args.spare}")
    recorded = read_demonstrations(resolve_episode(args.episode, data_root()))
    notes = read_notes(recorded)
    ranges: dict[int, AttemptNote] = {}
    for attempt in recorded.attempts:
        kept = busy_range(attempt, recorded.layout.action_layout, args.still, args.spare)
        whole = args.undo or kept == (0, attempt.decisions)
        ranges[attempt.number] = msgspec.structs.replace(notes.on(attempt.number), kept=None if whole else kept)
    notes = notes.noted(ranges)
    return _keep(recorded, notes, True, args.json, _trim_words(recorded, notes))


def _trim_words(recorded: RecordedDemonstrations, notes: DemonstrationNotes) -> str:
    before = sum(attempt.decisions for attempt in recorded.attempts)
    cut = [(a, notes.on(a.number).kept) for a in recorded.attempts]
    after = sum(a.decisions if kept is None else trimmed(a, kept).decisions for a, kept in cut)
    count = sum(kept is not None for _, kept in cut)
    return f"{count} of {len(cut)} attempts are trimmed: {after} of {before} decisions are kept"


def _keep(
    recorded: RecordedDemonstrations, notes: DemonstrationNotes, changed: bool, json: bool, words: str = ""
) -> int:
    """Write the notes where they changed; tell what counts now."""
    path = write_notes(recorded, notes) if changed else None
    rows = _rows(recorded, notes)
    for remark in recorded.remarks:
        say(f"ATTENTION: {remark}", json)
    for row in rows:
        hand = f", by hand (the judge: {row.judged or 'nobody knows'})" if row.by_hand else ""
        cut = "" if row.kept == (0, row.decisions) else f", decisions {row.kept[0]} to {row.kept[1] - 1} are kept"
        say(f"  attempt {row.attempt}: {row.verdict or 'unknown'}{hand}, {row.decisions} decisions{cut}", json)
    won, lost, open_ = (sum(row.verdict == verdict for row in rows) for verdict in (SUCCESS, FAILURE, UNKNOWN))
    say(words or f"{won} succeeded, {lost} failed, of {open_} nobody knows", json)
    if path is not None:
        say(f"noted in {path}; {recorded.path} stays as it is", json)
    noted = None if path is None else str(path)
    emit_json(NotesSummary(str(recorded.path), noted, won, lost, open_, rows, recorded.remarks), json)
    return DONE


def _rows(recorded: RecordedDemonstrations, notes: DemonstrationNotes) -> tuple[AttemptRow, ...]:
    rows: list[AttemptRow] = []
    for before, after in zip(recorded.attempts, with_notes(recorded, notes).attempts, strict=True):
        note = notes.on(before.number)
        kept = note.kept or (0, before.decisions)
        rows.append(
            AttemptRow(before.number, after.verdict, before.verdict, note.verdict is not None, before.decisions, kept)
        )
    return tuple(rows)
