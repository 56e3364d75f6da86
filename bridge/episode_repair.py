"""repair_episode: gives a recording that was cut off its end and its index, and leaves out what is damaged."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mcap.opcode import Opcode
from mcap.records import Channel, McapRecord, Message, Schema
from mcap.records import Metadata as MetadataRecord
from mcap.writer import CompressionType, Writer

from bridge.episode_format import PROFILE, REPAIR, EpisodeRepair, to_metadata, utc_name
from bridge.episode_reader import Episode, read_episode
from bridge.episode_records import RecordScan, repeated_at_the_end
from bridge.errors import BadEpisode


def repair_episode(path: Path) -> Episode:
    """Make a recording whole again; return what it was before. One that is whole and undamaged stays as it is.

    The repaired file takes the place of the old one at once or not at all, even across a power cut. Raises BadEpisode
    where the file is no recording or is being written, OSError where there is no room.
    """
    with _locked(path) as file:
        episode = read_episode(path)
        if episode.whole and not episode.damaged:
            return episode
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as repaired:
                _copy(file, repaired, episode)
                repaired.flush()
                os.fsync(repaired.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return episode


@contextmanager
def _locked(path: Path) -> Generator[BinaryIO]:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadEpisode(f"{path} is being written: wait until that run has ended") from error
        yield file


def _copy(source: BinaryIO, target: BinaryIO, episode: Episode) -> None:
    """Write every undamaged record again, chunk by chunk, with what was wrong, and an end."""
    writer = Writer(target, compression=CompressionType.ZSTD, enable_data_crcs=True)
    writer.start(PROFILE)
    copy = _Copy(writer)
    for opening in repeated_at_the_end(source):
        copy.take(opening)
    scan = RecordScan(source)
    for record in scan.records():
        if record.opcode == Opcode.METADATA:
            metadata = MetadataRecord.read(record.stream)
            writer.add_metadata(metadata.name, metadata.metadata)
        elif record.opcode == Opcode.CHUNK:
            for item in scan.chunk(record):
                copy.take(item)
            writer.flush()
    now = utc_name(datetime.now(UTC))
    note = EpisodeRepair(repair_utc=now, bytes_before=episode.bytes_on_disk, remarks=episode.remarks)
    writer.add_metadata(REPAIR, to_metadata(note))
    writer.finish()


class _Copy:
    """Gives schemas and channels the numbers that they have in the new file."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._schemas: dict[int, int] = {}
        self._channels: dict[int, int] = {}

    def take(self, item: McapRecord) -> None:
        """Write one record of a chunk; what is known already is not opened again."""
        if isinstance(item, Schema):
            if item.id not in self._schemas:
                self._schemas[item.id] = self._writer.register_schema(item.name, item.encoding, item.data)
        elif isinstance(item, Channel):
            if item.id not in self._channels:
                schema = self._schemas.get(item.schema_id, 0)
                self._channels[item.id] = self._writer.register_channel(item.topic, item.message_encoding, schema)
        elif isinstance(item, Message) and item.channel_id in self._channels:
            channel = self._channels[item.channel_id]
            self._writer.add_message(channel, item.log_time, item.data, item.publish_time, item.sequence)
