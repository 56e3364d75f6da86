"""What people say of a recording's attempts: labels, and which part of each counts. Beside it, never in it.

data/episodes/<UTC>.mcap         stays as it was recorded
data/episodes/<UTC>.notes.json   labels and kept ranges, by attempt; without it everything counts as it was recorded
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec

from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations, read_demonstrations
from bridge.episode_decisions import Verdict
from bridge.errors import BadEpisode
from calibration.artifacts import write_atomic
from scripts.programs.demonstration_trim import Kept, trimmed

_SUFFIX = ".notes.json"


class AttemptNote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of one attempt. `verdict` None: the judge's word stands. `kept`: decisions from, to (excluded)."""

    verdict: Verdict | None = None
    kept: Kept | None = None


class DemonstrationNotes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The notes on one recording, which `start_utc_ns` and `arm_sha256` tell from any other."""

    schema_version: int = 1
    start_utc_ns: int
    arm_sha256: str
    attempts: dict[int, AttemptNote] = {}

    def on(self, number: int) -> AttemptNote:
        """Return what is said of an attempt."""
        return self.attempts.get(number, AttemptNote())

    def noted(self, notes: dict[int, AttemptNote]) -> DemonstrationNotes:
        """Return these notes with others in place of those on the same attempts; empty notes vanish."""
        merged = {**self.attempts, **notes}
        kept = {number: note for number, note in sorted(merged.items()) if note != AttemptNote()}
        return msgspec.structs.replace(self, attempts=kept)


def notes_path(recording: Path) -> Path:
    """Return where the notes on a recording are."""
    return recording.with_name(recording.stem + _SUFFIX)


def read_notes(recorded: RecordedDemonstrations) -> DemonstrationNotes:
    """Return the notes on a recording, empty where there are none; raises BadEpisode on those of another one."""
    header = recorded.header
    none = DemonstrationNotes(start_utc_ns=header.start_utc_ns, arm_sha256=header.arm_sha256)
    path = notes_path(recorded.path)
    try:
        notes = msgspec.json.decode(path.read_bytes(), type=DemonstrationNotes)
    except FileNotFoundError:
        return none
    except msgspec.MsgspecError as error:
        raise BadEpisode(f"{path} is damaged: {error}. Mend it, or remove it and label anew") from error
    if (notes.start_utc_ns, notes.arm_sha256) != (none.start_utc_ns, none.arm_sha256):
        raise BadEpisode(f"{path} belongs to another recording: remove it, or put it beside its own")
    return notes


def write_notes(recorded: RecordedDemonstrations, notes: DemonstrationNotes) -> Path:
    """Write them, whole or not at all; return where."""
    path = notes_path(recorded.path)
    write_atomic(path, msgspec.json.format(msgspec.json.encode(notes), indent=2) + b"\n")
    return path


def with_notes(recorded: RecordedDemonstrations, notes: DemonstrationNotes) -> RecordedDemonstrations:
    """Return a recording's attempts as the notes say: labelled and cut."""
    attempts: list[RecordedAttempt] = []
    for attempt in recorded.attempts:
        note = notes.on(attempt.number)
        cut = attempt if note.kept is None else trimmed(attempt, note.kept)
        attempts.append(cut if note.verdict is None else dataclasses.replace(cut, verdict=note.verdict))
    return dataclasses.replace(recorded, attempts=tuple(attempts))


def read_noted(recording: Path) -> RecordedDemonstrations:
    """Return the attempts of a recording with its notes applied; raises BadEpisode."""
    recorded = read_demonstrations(recording)
    return with_notes(recorded, read_notes(recorded))


def check_attempts(recorded: RecordedDemonstrations, numbers: tuple[int, ...]) -> None:
    """Raise BadEpisode for a number that no attempt has."""
    valid = [attempt.number for attempt in recorded.attempts]
    for number in numbers:
        if number not in valid:
            raise BadEpisode(
                f"{recorded.path} has no whole attempt {number}; it has {', '.join(map(str, valid)) or 'none'}"
            )
