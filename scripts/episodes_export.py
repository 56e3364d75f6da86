"""`tandem episodes export` and `import`: demonstrations for other programs, and theirs for ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from bridge.errors import PolicyMismatch
from scripts.cli import data_root, emit_json, say
from scripts.episodes_stats import EpisodeNames
from scripts.exit_codes import DONE
from scripts.programs.demonstration_file import NAME, write_steps
from scripts.programs.demonstration_set import DemonstrationSet
from scripts.programs.demonstration_source import (
    Format,
    demonstrations_folder,
    format_of,
    open_demonstrations,
    read_any,
)
from urdf.description import load_arm
from urdf.errors import ArmError

#: What Minari takes as a name of a dataset, and what is a folder's name everywhere.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True)
class EpisodesExportArgs:
    """Write demonstrations for other programs: plain arrays, a Minari dataset, or a LeRobot dataset.

    Only attempts that succeeded, unless --all; labels and trimming count. The recordings stay as they are.
    """

    episodes: EpisodeNames = ("newest",)
    """Recordings of one arm at one task: names, files, or `newest`; or one export or import in data/demonstrations."""
    format: Format = Format.NPZ
    """npz: steps.npz, plain arrays. minari: the Gymnasium standard (0.5). lerobot: Parquet and MP4 (format v3)."""
    name: str | None = None
    """What to call it (default: arm, task, recording and format)."""
    out: Path | None = None
    """Folder in which it lands (default: demonstrations in the data folder)."""
    all: bool = False
    """Export attempts that failed, or of which nobody knows, as well."""
    lossless_video: bool = False
    """lerobot: keep colours exactly. The video is larger, and web browsers do not play it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class EpisodesImportArgs:
    """Read demonstrations that an export, Minari or LeRobot wrote, check them, and keep them as steps.npz.

    Refused, with the reason: those of another arm, or whose layouts nobody can tell.
    """

    source: Annotated[Path, tyro.conf.Positional]
    """A steps.npz, or the folder of a Minari or LeRobot dataset."""
    name: str | None = None
    """What to call it (default: as its folder)."""
    arm: str | None = None
    """Refuse demonstrations of any other arm."""
    task: str | None = None
    """Refuse demonstrations of any other task."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class ExportSummary(msgspec.Struct, frozen=True):
    """The JSON line of both commands."""

    path: str
    format: str
    arm: str
    task: str
    attempts: int
    decisions: int
    bytes_on_disk: int


def run_export(args: EpisodesExportArgs) -> int:
    """Export; return the exit code."""
    demonstrations = open_demonstrations(args.episodes, data_root(), not args.all)
    origin = demonstrations.origin
    source = origin.recordings[0] if origin.recordings else "imported"
    version = "-v0" if args.format is Format.MINARI else ""
    name = args.name or f"{origin.arm}-{origin.layout.task}-{source}-{args.format.value}{version}"
    _check_name(name)
    path = _writer(args, name)(demonstrations)
    _tell(path, args.format, demonstrations, args.json, "exported")
    for hint in _hints(args.format, path, name):
        say(hint, args.json)
    emit_json(_summary(path, args.format, demonstrations), args.json)
    return DONE


def run_import(args: EpisodesImportArgs) -> int:
    """Import; return the exit code."""
    found = format_of(args.source)
    demonstrations = read_any(args.source)
    origin = demonstrations.origin
    for what, wanted, has in (("arm", args.arm, origin.arm), ("task", args.task, origin.layout.task)):
        if wanted is not None and wanted != has:
            raise PolicyMismatch(f"{args.source} is of {what} {has!r}, not of {wanted!r}")
    origin.check_arm(load_arm(origin.arm))
    name = args.name or (args.source.parent if args.source.is_file() else args.source).resolve().name
    _check_name(name)
    path = write_steps(demonstrations, demonstrations_folder(data_root()) / name / NAME)
    _tell(path, found, demonstrations, args.json, "imported")
    emit_json(_summary(path, found, demonstrations), args.json)
    return DONE


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArmError(f"--name {name!r}: letters, digits, - and _, a letter or digit first")


def _writer(args: EpisodesExportArgs, name: str) -> Callable[[DemonstrationSet], Path]:
    """Return what writes the chosen format; the libraries of the others are not loaded."""
    root = args.out or demonstrations_folder(data_root())
    match args.format:
        case Format.NPZ:
            return lambda demonstrations: write_steps(demonstrations, root / name / NAME)
        case Format.MINARI:
            from scripts.programs.minari_dataset import write_minari

            return lambda demonstrations: write_minari(demonstrations, root, name)
        case Format.LEROBOT:
            from scripts.programs.lerobot_dataset import write_lerobot

            return lambda demonstrations: write_lerobot(demonstrations, root / name, args.lossless_video)


def _hints(kind: Format, path: Path, name: str) -> tuple[str, ...]:
    """Return how to open it elsewhere."""
    match kind:
        case Format.NPZ:
            return ()
        case Format.MINARI:
            return (f"open it: MINARI_DATASETS_PATH={path.parent.resolve()} and minari.load_dataset({name!r})",)
        case Format.LEROBOT:
            return (f"open it: LeRobotDataset('local/{name}', root={str(path.resolve())!r})",)


def _tell(path: Path, kind: Format, demonstrations: DemonstrationSet, json: bool, done: str) -> None:
    origin = demonstrations.origin
    size = _size(path)
    say(
        f"{len(demonstrations.attempts)} demonstrations of {origin.arm} {origin.layout.task} {done} ({kind.value}): "
        f"{demonstrations.decisions} decisions, {size / 1e6:.1f} MB, {path}",
        json,
    )


def _summary(path: Path, kind: Format, demonstrations: DemonstrationSet) -> ExportSummary:
    origin = demonstrations.origin
    return ExportSummary(
        str(path),
        kind.value,
        origin.arm,
        origin.layout.task,
        len(demonstrations.attempts),
        demonstrations.decisions,
        _size(path),
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
