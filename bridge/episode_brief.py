"""read_brief: the few facts of a recording that a list of many shows, without reading all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcap.reader import SeekingReader

from bridge.episode_format import ENDING, HEADER, SENT, EpisodeEnding, EpisodeHeader, from_metadata
from bridge.episode_output import is_being_written
from bridge.episode_reader import read_episode
from bridge.episode_records import MAGIC, PARSE_ERRORS
from bridge.errors import BadEpisode

Condition = Literal["whole", "cut off", "damaged", "being written"]


@dataclass(frozen=True, slots=True)
class EpisodeBrief:
    """One recording in short. `ending` is None where it was cut off, even after a repair."""

    path: Path
    header: EpisodeHeader
    ending: EpisodeEnding | None
    steps: int
    duration_s: float
    bytes_on_disk: int
    condition: Condition


def read_brief(path: Path) -> EpisodeBrief:
    """Read what a whole recording says at its beginning and its end, or all of one that has none.

    Raises BadEpisode where it is none. A changed byte between the two is for read_episode to find.
    """
    written = is_being_written(path)
    brief = None if written else _from_index(path)
    if brief is not None:
        return brief
    episode = read_episode(path)
    condition = "being written" if written else "damaged" if episode.damaged else "cut off"
    return EpisodeBrief(
        path, episode.header, episode.ending, episode.steps, episode.duration_s, episode.bytes_on_disk, condition
    )


def _from_index(path: Path) -> EpisodeBrief | None:
    """Return what the index at the end of the file says; None where there is none to trust."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            file.seek(-len(MAGIC), 2)
            if file.read() != MAGIC:
                return None
            file.seek(0)
            reader = SeekingReader(file)
            summary = reader.get_summary()
            notes = {note.name: note.metadata for note in reader.iter_metadata()}
        except (*PARSE_ERRORS, OSError):
            return None
    if summary is None or summary.statistics is None or HEADER not in notes:
        return None
    statistics = summary.statistics
    sent = [number for number, channel in summary.channels.items() if channel.topic == SENT]
    try:
        header = from_metadata(EpisodeHeader, notes[HEADER])
        ending = from_metadata(EpisodeEnding, notes[ENDING]) if ENDING in notes else None
    except BadEpisode as error:
        raise BadEpisode(f"{path}: {error}") from error
    return EpisodeBrief(
        path=path,
        header=header,
        ending=ending,
        steps=sum(statistics.channel_message_counts.get(number, 0) for number in sent),
        duration_s=(statistics.message_end_time - statistics.message_start_time) * 1e-9,
        bytes_on_disk=size,
        condition="whole",
    )
