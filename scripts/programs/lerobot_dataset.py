"""Demonstrations as a LeRobot dataset v3: Parquet and MP4, whole or not at all. A frame is a decision."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bridge.episode_attempts import RecordedAttempt
from bridge.episode_decisions import SUCCESS as SUCCEEDED
from bridge.errors import BadEpisode
from scripts.programs import lerobot_format as form
from scripts.programs.demonstration_set import DemonstrationOrigin, DemonstrationSet
from scripts.programs.lerobot_format import Column, DatasetInfo, Feature
from scripts.programs.lerobot_stats import Stats, Values, flat, plain, stats_of
from scripts.programs.lerobot_video import VideoWriter

_COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


def write_lerobot(demonstrations: DemonstrationSet, folder: Path, lossless_video: bool = False) -> Path:
    """Write the dataset as `folder`, whole or not at all; raises BadEpisode where there is such a folder."""
    if folder.exists():
        raise BadEpisode(f"{folder} exists: give the dataset another --name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    try:
        _Writer(demonstrations, temporary, lossless_video).write()
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


class _Writer:
    """Writes one dataset, file by file: as many attempts in each as fit."""

    def __init__(self, demonstrations: DemonstrationSet, root: Path, lossless: bool) -> None:
        self._origin, self._attempts = demonstrations.origin, demonstrations.attempts
        self._root, self._lossless = root, lossless
        self._columns = form.columns(self._origin)
        self._rate = form.frames_per_s(self._origin)
        self._rows: list[dict[str, object]] = []
        self._pixel_formats: dict[str, str] = {}

    def write(self) -> None:
        """Write everything; info.json last."""
        first = 0
        for number, attempts in enumerate(_files(self._attempts)):
            self._write_file(number, attempts, first)
            first += sum(attempt.decisions for attempt in attempts)
        self._write_episodes()
        self._write_tasks()
        self._write_last()
        self._write_stats()
        info = _info(self._origin, self._attempts, self._columns, self._pixel_formats)
        self._put(form.INFO, msgspec.json.format(msgspec.json.encode(info), indent=2))

    def _write_file(self, number: int, attempts: Sequence[RecordedAttempt], first: int) -> None:
        chunk, file = form.place(number)
        tables: list[pa.Table] = []
        begins = first
        for attempt in attempts:
            values = self._values(attempt, begins)
            tables.append(_table(values, self._features()))
            self._rows.append(self._row(attempt, values, begins, begins - first, chunk, file))
            begins += attempt.decisions
        path = self._path(form.DATA_PATH.format(chunk_index=chunk, file_index=file))
        pq.write_table(pa.concat_tables(tables), path, compression="zstd")
        for column in self._columns:
            if column.is_video:
                self._write_video(column, attempts, chunk, file)

    def _write_video(self, column: Column, attempts: Sequence[RecordedAttempt], chunk: int, file: int) -> None:
        _, height, width = column.part.shape
        relative = form.VIDEO_PATH.format(video_key=column.key, chunk_index=chunk, file_index=file)
        video = VideoWriter(self._path(relative), self._rate, height, width, self._lossless)
        self._pixel_formats[column.key] = video.pixel_format
        for attempt in attempts:
            video.add(attempt.observations[column.part.name][:-1].astype(np.uint8))
        video.close()

    def _values(self, attempt: RecordedAttempt, begins: int) -> dict[str, Values]:
        """Return every column of an attempt (n, ...), videos left out."""
        count = attempt.decisions
        frame = np.arange(count, dtype=np.int64)
        last = frame == count - 1
        values: dict[str, Values] = {
            column.key: attempt.observations[column.part.name][:-1].astype(np.float32)
            for column in self._columns
            if not column.is_video
        }
        values[form.ACTION] = attempt.actions
        values[form.REWARD] = attempt.rewards
        values[form.DONE] = last
        values[form.TRUNCATED] = last & attempt.truncated
        values[form.SUCCESS] = last & (attempt.verdict == SUCCEEDED)
        values[form.STAMP] = attempt.stamp_ns
        values["timestamp"] = (frame / float(self._rate)).astype(np.float32)
        values["frame_index"] = frame
        values["episode_index"] = np.full(count, attempt.number - 1, dtype=np.int64)
        values["index"] = begins + frame
        values["task_index"] = np.zeros(count, dtype=np.int64)
        return values

    def _row(
        self, attempt: RecordedAttempt, values: dict[str, Values], begins: int, in_file: int, chunk: int, file: int
    ) -> dict[str, object]:
        """Return what meta/episodes says of an attempt."""
        row: dict[str, object] = {
            "episode_index": attempt.number - 1,
            "tasks": [form.sentence(self._origin.layout.task)],
            "length": attempt.decisions,
            form.VERDICT: attempt.verdict,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": begins,
            "dataset_to_index": begins + attempt.decisions,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        stats = {key: stats_of(value, is_video=False) for key, value in values.items()}
        for column in self._columns:
            if column.is_video:
                stats[column.key] = stats_of(attempt.observations[column.part.name][:-1], is_video=True)
                row[f"videos/{column.key}/chunk_index"] = chunk
                row[f"videos/{column.key}/file_index"] = file
                row[f"videos/{column.key}/from_timestamp"] = in_file / float(self._rate)
                row[f"videos/{column.key}/to_timestamp"] = (in_file + attempt.decisions) / float(self._rate)
        return {**row, **flat(stats)}

    def _write_episodes(self) -> None:
        path = self._path(form.EPISODES_PATH.format(chunk_index=0, file_index=0))
        pq.write_table(pa.Table.from_pylist(self._rows), path, compression="snappy")

    def _write_tasks(self) -> None:
        # LeRobot reads it with pandas, whose index, the sentence, is told by the metadata.
        index = "__index_level_0__"
        pandas = {
            "index_columns": [index],
            "column_indexes": [
                {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
            ],
            "columns": [
                {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
                {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"},
            ],
            "pandas_version": "2.2.3",
        }
        table = pa.table({"task_index": pa.array([0], pa.int64()), index: [form.sentence(self._origin.layout.task)]})
        pq.write_table(table.replace_schema_metadata({"pandas": msgspec.json.encode(pandas)}), self._path(form.TASKS))

    def _write_last(self) -> None:
        seen = {
            column.part.name: np.stack([attempt.observations[column.part.name][-1] for attempt in self._attempts])
            for column in self._columns
        }
        with self._path(form.LAST).open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **seen)

    def _write_stats(self) -> None:
        """Write the statistics of all attempts together."""
        stats: dict[str, Stats] = {}
        every = [self._values(attempt, 0) for attempt in self._attempts]
        for key in every[0]:
            stats[key] = stats_of(np.concatenate([values[key] for values in every]), is_video=False)
        for column in self._columns:
            if column.is_video:
                pictures = [attempt.observations[column.part.name][:-1] for attempt in self._attempts]
                stats[column.key] = stats_of(np.concatenate(pictures), is_video=True)
        data = msgspec.json.encode({key: plain(of) for key, of in stats.items()})
        self._put(form.STATS, msgspec.json.format(data, indent=2))

    def _features(self) -> dict[str, Feature]:
        return features(self._origin, self._columns, self._pixel_formats)

    def _path(self, relative: str) -> Path:
        path = self._root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _put(self, relative: str, data: bytes) -> None:
        self._path(relative).write_bytes(data)


def features(
    origin: DemonstrationOrigin, columns: Sequence[Column], pixel_formats: dict[str, str]
) -> dict[str, Feature]:
    """Return what info.json says of every column and video."""
    found: dict[str, Feature] = {}
    for column in columns:
        part = column.part
        if column.is_video:
            _, height, width = part.shape
            facts: dict[str, object] = {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": pixel_formats.get(column.key, ""),
                "video.is_depth_map": False,
                "video.fps": float(form.frames_per_s(origin)),
                "video.channels": 3,
                "has_audio": False,
            }
            found[column.key] = Feature("video", (height, width, 3), ("height", "width", "channels"), facts)
        else:
            names = ("channels", "height", "width") if part.is_picture else part.feature_names
            found[column.key] = Feature("float32", part.shape, names)
    names = origin.layout.action_layout.names
    found[form.ACTION] = Feature("float32", (len(names),), names)
    found[form.REWARD] = Feature("float64", (1,))
    found |= {key: Feature("bool", (1,)) for key in (form.DONE, form.TRUNCATED, form.SUCCESS)}
    found[form.STAMP] = Feature("int64", (1,))
    return found | {key: Feature("float32" if key == "timestamp" else "int64", (1,)) for key in _COUNTERS}


def _info(
    origin: DemonstrationOrigin,
    attempts: Sequence[RecordedAttempt],
    columns: Sequence[Column],
    pixel_formats: dict[str, str],
) -> DatasetInfo:
    rate = form.frames_per_s(origin)
    return DatasetInfo(
        codebase_version=form.VERSION,
        robot_type=origin.arm,
        total_episodes=len(attempts),
        total_frames=sum(attempt.decisions for attempt in attempts),
        total_tasks=1,
        chunks_size=form.FILES_PER_CHUNK,
        data_files_size_in_mb=form.DATA_MB,
        video_files_size_in_mb=form.VIDEO_MB,
        fps=int(rate) if rate.denominator == 1 else float(rate),
        splits={"train": f"0:{len(attempts)}"},
        data_path=form.DATA_PATH,
        video_path=form.VIDEO_PATH if any(column.is_video for column in columns) else None,
        features=features(origin, columns, pixel_formats),
        tandem=origin,
    )


def _files(attempts: Sequence[RecordedAttempt]) -> list[list[RecordedAttempt]]:
    """Return the attempts file by file: a file is full when its numbers, unpacked, come to DATA_MB."""
    files: list[list[RecordedAttempt]] = [[]]
    size = 0
    for attempt in attempts:
        own = sum(2 * part.nbytes for part in attempt.observations.values())  # half precision becomes single
        if files[-1] and size + own > form.DATA_MB << 20:
            files.append([])
            size = 0
        files[-1].append(attempt)
        size += own
    return files


def _table(values: dict[str, Values], kinds: dict[str, Feature]) -> pa.Table:
    return pa.table({key: _array(value, kinds[key]) for key, value in values.items()})


def _array(values: Values, feature: Feature) -> pa.Array:
    """Return a column: numbers, lists of a fixed length, or lists of lists of lists for pictures."""
    array: pa.Array = pa.array(values.reshape(-1))
    sizes = values.shape[1:]
    if feature.shape == (1,):
        return array
    for size in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, size) if len(sizes) == 1 else _list_array(array, size)
    return array


def _list_array(array: pa.Array, size: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(array) + 1, size), pa.int32()), array)
