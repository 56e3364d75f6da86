"""What the subcommands share: where data lives, the JSON line, and finding a run by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from scripts.exit_codes import BAD_INPUT
from urdf.errors import UnknownName

_MARKS_OF_A_RUN = ("run.json", "metrics.jsonl", "policy")


def data_root() -> Path:
    """Return the folder of robots, runs and episodes: $TANDEM_DATA, or `data` in the working directory."""
    return Path(os.environ.get("TANDEM_DATA") or "data")


def say(text: str, json: bool = False) -> None:
    """Print a line for people at once: on stderr when `json` keeps stdout for the JSON object."""
    print(text, file=sys.stderr if json else sys.stdout, flush=True)


def refuse(text: str) -> int:
    """Say on stderr what is wrong with the arguments; return the exit code for that."""
    print(text, file=sys.stderr, flush=True)
    return BAD_INPUT


def emit_json(result: object, enabled: bool = True) -> None:
    """Print `result` (dataclass, Struct or mapping; paths as text, NaN as null) as one line, the last of stdout."""
    if enabled:
        print(msgspec.json.encode(result, enc_hook=_path_as_text).decode(), flush=True)


def run_folders(data: Path | None = None) -> list[Path]:
    """Return every run `runs/<task>/<UTC>_<preset>_seed<n>` under the data root, the newest first."""
    runs = (data or data_root()) / "runs"
    return sorted((p for p in runs.glob("*/*") if p.is_dir()), key=lambda p: (p.name, p.parent.name), reverse=True)


def resolve_run(name: str, data: Path | None = None) -> Path:
    """Return a run by path, by folder name (with or without its task), or the `newest`.

    Raises UnknownName, which lists the runs that exist, the most similar name first.
    """
    path = Path(name).expanduser()
    if any((path / mark).exists() for mark in _MARKS_OF_A_RUN):
        return path
    folders = run_folders(data)
    if name == "newest" and folders:
        return folders[0]
    for folder in folders:
        if name in (folder.name, f"{folder.parent.name}/{folder.name}"):
            return folder
    valid = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    raise UnknownName("run", name, [*valid, "newest"] if valid else [])


def _path_as_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
