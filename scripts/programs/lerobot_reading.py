"""read_lerobot: a LeRobot dataset v3 that Tandem wrote, as demonstrations again; others are refused with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bridge.episode_attempts import RecordedAttempt
from bridge.episode_decisions import FAILURE, SUCCESS, UNKNOWN, Verdict
from bridge.errors import BadEpisode, PolicyMismatch
from bridge.observation import Part
from scripts.programs import lerobot_format as form
from scripts.programs.demonstration_set import DemonstrationOrigin, DemonstrationSet
from scripts.programs.lerobot_format import Column, DatasetInfo
from scripts.programs.lerobot_video import read_video
from urdf.description import arm_names

_PLACES = {"chunk": "data/chunk_index", "file": "data/file_index"}


class _EpisodeRow(msgspec.Struct, frozen=True, kw_only=True, rename=_PLACES):
    """What is read of meta/episodes."""

    episode_index: int
    length: int
    dataset_from_index: int
    chunk: int
    file: int
    verdict: str = ""


def read_lerobot(folder: Path) -> DemonstrationSet:
    """Read a dataset; raises BadEpisode where it cannot be read, PolicyMismatch where it is of another arm."""
    info = _read_info(folder)
    origin = _origin(info, folder)
    try:
        rows = [msgspec.convert(row, _EpisodeRow) for row in _rows(folder)]
        last = np.load(folder / form.LAST, allow_pickle=False)
        parts = {name: last[name] for name in last.files}
        tables = {(row.chunk, row.file): _data(folder, row) for row in rows}
        columns = form.columns(origin)
        pictures = {column.part.name: _pictures(folder, column, rows) for column in columns if column.is_video}
        attempts = [_attempt(row, tables[row.chunk, row.file], columns, pictures, parts) for row in rows]
    except (OSError, pa.ArrowException, KeyError, ValueError, BadZipFile, msgspec.MsgspecError) as error:
        raise BadEpisode(f"{folder} is damaged or not whole: {error}") from error
    if not attempts:
        raise BadEpisode(f"{folder} holds no episode")
    return DemonstrationSet(origin, tuple(attempts))


def _read_info(folder: Path) -> DatasetInfo:
    path = folder / form.INFO
    try:
        return msgspec.json.decode(path.read_bytes(), type=DatasetInfo)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadEpisode(f"{folder} is no LeRobot dataset: it has no {form.INFO}") from error
    except msgspec.MsgspecError as error:
        raise BadEpisode(f"{path} is none of a LeRobot dataset of format {form.VERSION}: {error}") from error


def _origin(info: DatasetInfo, folder: Path) -> DemonstrationOrigin:
    """Return what a dataset is of; raises where that is no arm of ours, or nobody can tell."""
    if not info.codebase_version.startswith("v3."):
        raise BadEpisode(
            f"{folder} has format {info.codebase_version}: this program reads v3. LeRobot's own script converts it"
        )
    if info.tandem is not None:
        return info.tandem
    names = ", ".join(str(name) for name in info.features.get(form.ACTION, form.Feature("", ())).names or ())
    arms = arm_names()
    if info.robot_type not in arms:
        raise PolicyMismatch(
            f"{folder} is of another arm: robot_type {info.robot_type!r}, with actions {names or 'without names'}. "
            f"Known here: {', '.join(arms)}. Its actions cannot be told in those of one of these"
        )
    raise PolicyMismatch(
        f"{folder} was not written by Tandem: it does not say which layouts its actions ({names or 'without names'}) "
        "and observations have"
    )


def _rows(folder: Path) -> Sequence[Mapping[str, object]]:
    files = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    fields = [field.encode_name for field in msgspec.structs.fields(_EpisodeRow)]
    return [row for file in files for row in pq.read_table(file, columns=fields).to_pylist()]


def _data(folder: Path, row: _EpisodeRow) -> pa.Table:
    return pq.read_table(folder / form.DATA_PATH.format(chunk_index=row.chunk, file_index=row.file))


def _pictures(folder: Path, column: Column, rows: Sequence[_EpisodeRow]) -> dict[int, Part]:
    """Return the pictures (n, C, H, W) of every episode by its number."""
    found: dict[int, Part] = {}
    for chunk, file in sorted({(row.chunk, row.file) for row in rows}):
        path = folder / form.VIDEO_PATH.format(video_key=column.key, chunk_index=chunk, file_index=file)
        video = read_video(path, column.part.shape[0])
        for row in (row for row in rows if (row.chunk, row.file) == (chunk, file)):
            taken = list(islice(video, row.length))
            if len(taken) != row.length:
                raise BadEpisode(f"{path} ends after {len(taken)} pictures of episode {row.episode_index}")
            found[row.episode_index] = np.stack(taken)
    return found


def _attempt(
    row: _EpisodeRow,
    table: pa.Table,
    columns: Sequence[Column],
    pictures: Mapping[str, Mapping[int, Part]],
    last: Mapping[str, Part],
) -> RecordedAttempt:
    own = table.filter(pa.array(_values(table, "episode_index") == row.episode_index))
    if len(own) != row.length:
        raise BadEpisode(f"episode {row.episode_index} has {len(own)} of {row.length} frames")
    observations: dict[str, Part] = {}
    for column in columns:
        name = column.part.name
        seen = pictures[name][row.episode_index] if column.is_video else _values(own, column.key)
        shaped = seen.reshape(row.length, *column.part.shape).astype(column.part.dtype)
        observations[name] = np.concatenate([shaped, last[name][row.episode_index][None]])  # pyright: ignore
    truncated = bool(_values(own, form.TRUNCATED)[-1])
    return RecordedAttempt(
        number=row.episode_index + 1,
        stamp_ns=_values(own, form.STAMP).astype(np.int64),
        observations=observations,
        actions=_values(own, form.ACTION).reshape(row.length, -1).astype(np.float32),
        rewards=_values(own, form.REWARD).astype(np.float64),
        terminated=not truncated,
        truncated=truncated,
        verdict=_verdict(row.verdict),
    )


def _values(table: pa.Table, key: str) -> np.ndarray:
    """Return a column's numbers, flat, in the precision that they are kept in."""
    array = table[key].combine_chunks()
    while pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)


def _verdict(word: str) -> Verdict:
    return SUCCESS if word == SUCCESS else FAILURE if word == FAILURE else UNKNOWN
