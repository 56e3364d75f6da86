"""The records of an MCAP file, whole or cut off anywhere: where each begins, how long it is, and what a chunk holds.

The library's own readers stop at the first byte that is missing; here every record that is there comes out first.
Ref: https://mcap.dev/spec: magic, then records of one byte opcode and eight bytes length, then magic again.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, DataEnd, Footer, McapRecord, Schema
from mcap.stream_reader import breakup_chunk

from bridge.errors import BadEpisode

MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
#: A footer: two places and a CRC; the CRC itself is not part of what it covers.
_CRC_BYTES = 4
_END_BYTES = _HEAD.size + 8 + 8 + _CRC_BYTES + len(MAGIC)
#: What the library's parsers raise on bytes that are not what they seem. CRCValidationError is a ValueError.
PARSE_ERRORS = (McapError, struct.error, ValueError, RuntimeError, MemoryError, OverflowError, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class Record:
    """One whole record: where it begins, and what it holds after its head."""

    opcode: int
    offset: int
    content: bytes

    @property
    def stream(self) -> ReadDataStream:
        """What it holds, as the library's parsers want it."""
        return ReadDataStream(io.BytesIO(self.content))


@dataclass(slots=True)
class RecordScan:
    """Gives the records of a file in order. After the last one the other fields say what is wrong with the file."""

    file: BinaryIO
    remarks: list[str] = field(default_factory=lambda: [])
    """What is missing or damaged, in words."""
    whole: bool = False
    """Whether the file has its end."""
    damaged: bool = False
    """Whether bytes before the end are not what was written."""
    _crc: int = 0

    def records(self) -> Iterator[Record]:
        """Give every whole record; raises BadEpisode where the file is no MCAP."""
        magic = self._read(len(MAGIC))
        size = os.fstat(self.file.fileno()).st_size
        if magic != MAGIC:
            if MAGIC.startswith(magic):
                raise BadEpisode(f"cut off after {len(magic)} bytes: nothing had been recorded yet")
            raise BadEpisode(f"no MCAP file: it begins with {magic!r}, expected {MAGIC!r}")
        offset = len(MAGIC)
        while True:
            crc_before = self._crc
            head = self._read(_HEAD.size)
            opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, size)
            if offset + len(head) + length > size:
                self._cut_off(offset, size)
                return
            record = Record(opcode, offset, self._read(length))
            if opcode == Opcode.DATA_END:
                self._check_data(record, crc_before)
            yield record
            offset += _HEAD.size + length
            if opcode == Opcode.FOOTER:
                self.whole = self._read(len(MAGIC)) == MAGIC
                if not self.whole:
                    self._cut_off(offset, size)
                return

    def chunk(self, record: Record) -> list[McapRecord]:
        """Return what a chunk holds; nothing, with a remark, where its bytes are not what was written."""
        try:
            return breakup_chunk(Chunk.read(record.stream), validate_crc=True)
        except PARSE_ERRORS as error:
            self.damaged = True
            self.remarks.append(
                f"the chunk at byte {record.offset} ({len(record.content)} bytes) is damaged and left out: "
                f"{' '.join(str(error).split()) or type(error).__name__}"
            )
            return []

    def _read(self, count: int) -> bytes:
        data = self.file.read(count)
        self._crc = zlib.crc32(data, self._crc)
        return data

    def _check_data(self, record: Record, crc: int) -> None:
        written = DataEnd.read(record.stream).data_section_crc
        if written not in (0, crc) and not self.damaged:
            self.damaged = True
            self.remarks.append(f"the file's CRC is {crc:#010x}, written was {written:#010x}: a byte has changed")

    def _cut_off(self, offset: int, size: int) -> None:
        rest = f", {size - offset} bytes of an unfinished record left out" if size > offset else ""
        self.remarks.append(f"cut off at byte {offset}{rest}")


def repeated_at_the_end(file: BinaryIO) -> list[Schema | Channel]:
    """Return the schemas and channels that a whole file repeats behind its data; none where there is no sound end.

    What a damaged chunk opened is not lost by that. Leaves the file at its beginning.
    """
    try:
        file.seek(-_END_BYTES, os.SEEK_END)
        opcode, length = _HEAD.unpack(file.read(_HEAD.size))
        end = file.read()
        footer = Footer.read(ReadDataStream(io.BytesIO(end[:length])))
        begin = footer.summary_start
        if opcode != Opcode.FOOTER or not end.endswith(MAGIC) or begin == 0:
            return []
        file.seek(begin)
        summary = file.read()[: -len(MAGIC)]
    except (OSError, *PARSE_ERRORS):
        return []
    finally:
        file.seek(0)
    if zlib.crc32(summary[:-_CRC_BYTES]) != footer.summary_crc:
        return []
    return list(_openings(summary))


def _openings(summary: bytes) -> Iterator[Schema | Channel]:
    offset = 0
    while offset < len(summary):
        opcode, length = _HEAD.unpack_from(summary, offset)
        offset += _HEAD.size
        stream = ReadDataStream(io.BytesIO(summary[offset : offset + length]))
        if opcode == Opcode.SCHEMA:
            yield Schema.read(stream)
        elif opcode == Opcode.CHANNEL:
            yield Channel.read(stream)
        offset += length
