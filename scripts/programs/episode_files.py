"""Where recordings lie, and which one a name means."""

from __future__ import annotations

from pathlib import Path

from bridge.errors import BadEpisode
from urdf.errors import UnknownName

SUFFIX = ".mcap"
#: What the names of those that an arm's server leaves have behind their time.
SERVED = "_serve"


def episodes_folder(data: Path) -> Path:
    """Return where recordings lie."""
    return data / "episodes"


def episode_files(data: Path) -> list[Path]:
    """Return every recording, the newest first."""
    return sorted(episodes_folder(data).glob(f"[!.]*{SUFFIX}"), key=lambda path: path.stem, reverse=True)


def resolve_episode(name: str, data: Path) -> Path:
    """Return a recording by path, by name (with or without .mcap), or the `newest`.

    What a server has recorded is the newest only where there is nothing else: it records along with every run.
    Raises UnknownName, which lists the recordings that exist, the most similar name first.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise BadEpisode(f"{path} is a folder: name one recording in it")
    files = episode_files(data)
    if name == "newest" and files:
        return min(files, key=lambda file: SERVED in file.stem)  # the first of the smallest: of the newest first
    for file in files:
        if name in (file.name, file.stem):
            return file
    hint = "" if files else f"`tandem run` leaves one in {episodes_folder(data)}"
    raise UnknownName("recording", name, [*(file.stem for file in files), "newest"] if files else [], hint)
