"""`tandem models`: the models that find people and hands in pictures. They do not come with this version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from perception.landmark_models import MODELS, Finds
from scripts.cli import data_root, emit_json, refuse, say
from scripts.exit_codes import DONE, FAILED
from scripts.programs.model_download import OnBytes
from scripts.programs.model_fetch import SERVER, ModelFetcher, Source, is_whole


@dataclass(frozen=True)
class ModelsListArgs:
    """List the landmark models that are known, which of them are here, and whether they are whole.

    It is a list: one that is missing is no failure, and what fetches it is said. Exits 1 where a file is damaged.
    """

    json: bool = False
    """Print one JSON object as the last line of stdout."""


@dataclass(frozen=True)
class ModelsFetchArgs:
    """Fetch the models that find people and hands into data/models/, and check their SHA-256."""

    source: Literal["url", "wheel", "auto"] = "url"
    """`url`: Google's files (6 MB and 8 MB). `wheel`: built from a MediaPipe wheel of the package index (35 MB).
    `auto`: Google's files, and where the server cannot be reached it says so and builds them."""
    hands: bool = True
    """The hand model too, which closes the gripper."""
    full: bool = False
    """Google's full pose model (9 MB) instead of the lite one: steadier, and slower."""
    mirror: str = SERVER
    """Another server with the same files at the same places."""
    wheel: Path | None = None
    """A wheel that is here already: builds from it, without any network."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class ModelRow(msgspec.Struct, frozen=True):
    """One model: `state` is `here`, `missing` or `damaged`; `fetched` whether it came just now."""

    name: str
    finds: Finds
    path: Path
    sha256: str
    state: str
    fetched: bool = False


class ModelList(msgspec.Struct, frozen=True):
    """The JSON line."""

    models: tuple[ModelRow, ...]


def models_folder() -> Path:
    """Return where models are kept."""
    return data_root() / "models"


def run_list(args: ModelsListArgs) -> int:
    """Print the list; return the exit code: 1 where a file is damaged."""
    rows: list[ModelRow] = []
    for model in MODELS:
        path = models_folder() / model.file_name
        state = "here" if is_whole(path, model) else "damaged" if path.exists() else "missing"
        rows.append(ModelRow(model.name, model.finds, path, model.sha256, state))
        say(f"{model.name:<24} finds {model.finds:<6}  {state:<8} {path if state != 'missing' else ''}", args.json)
    for kind in Finds:
        if not any(row.state == "here" and row.finds is kind for row in rows):
            say(f"no model that finds {kind} is here: `tandem models fetch` (docs/models.md)", args.json)
    emit_json(ModelList(tuple(rows)), args.json)
    damaged = [row.name for row in rows if row.state == "damaged"]
    if damaged:
        say(f"damaged: {', '.join(damaged)}. `tandem models fetch` replaces it", args.json)
    return FAILED if damaged else DONE


def run_fetch(args: ModelsFetchArgs) -> int:
    """Fetch; return the exit code."""
    if args.wheel is not None and not args.wheel.is_file():
        return refuse(f"tandem models fetch: --wheel {args.wheel}: no such file")
    source = Source(args.source) if args.wheel is None else Source.WHEEL
    finds = (Finds.PEOPLE, Finds.HANDS) if args.hands else (Finds.PEOPLE,)
    with _bar() as on_bytes:
        fetcher = ModelFetcher(models_folder(), lambda words: say(words, args.json), on_bytes, args.mirror, args.wheel)
        kept = fetcher.fetch(source, finds, args.full)
    for one in kept:
        say(f"{one.model.name} finds {one.model.finds}: {one.path}{'' if one.fetched else ' (was here)'}", args.json)
    rows = (ModelRow(k.model.name, k.model.finds, k.path, k.model.sha256, "here", k.fetched) for k in kept)
    emit_json(ModelList(tuple(rows)), args.json)
    return DONE


@contextmanager
def _bar() -> Iterator[OnBytes]:
    """Show how many bytes have come, on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total or None, visible=True)
