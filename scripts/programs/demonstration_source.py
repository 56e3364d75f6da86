"""open_demonstrations: demonstrations by name, whatever they are kept in: recordings, steps.npz, Minari, LeRobot."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from bridge.errors import BadEpisode
from policies.demonstrations import Demonstration, Demonstrations
from scripts.programs.demonstration_file import NAME, read_steps
from scripts.programs.demonstration_notes import read_noted
from scripts.programs.demonstration_set import DemonstrationSet, gathered
from scripts.programs.episode_files import resolve_episode
from urdf.errors import UnknownName


class Format(StrEnum):
    """What demonstrations are exported to and imported from."""

    NPZ = "npz"
    MINARI = "minari"
    LEROBOT = "lerobot"


def demonstrations_folder(data: Path) -> Path:
    """Return where exports and imports lie."""
    return data / "demonstrations"


def open_demonstrations(names: Sequence[str], data: Path, only_successes: bool = True) -> DemonstrationSet:
    """Return the demonstrations of recordings, or of one export or import, by path or by name.

    Raises UnknownName, BadEpisode, or PolicyMismatch where they do not belong together.
    """
    if len(names) == 1:
        for path in (Path(names[0]).expanduser(), demonstrations_folder(data) / names[0]):
            if path.is_dir() or path.suffix == ".npz":
                return read_any(path)
    return gathered([read_noted(_recording(name, data)) for name in names], only_successes)


def _recording(name: str, data: Path) -> Path:
    try:
        return resolve_episode(name, data)
    except UnknownName as unknown:
        kept = sorted(path.name for path in demonstrations_folder(data).glob("[!.]*"))
        raise UnknownName("demonstration", name, [*unknown.valid, *kept]) from None


def read_any(path: Path) -> DemonstrationSet:
    """Return the demonstrations in a file or folder that an export or somebody else wrote; its format is found out."""
    found = format_of(path)
    if found is Format.NPZ:
        return read_steps(path if path.is_file() else path / NAME)
    if found is Format.MINARI:
        from scripts.programs.minari_dataset import read_minari

        return read_minari(path)
    from scripts.programs.lerobot_reading import read_lerobot

    return read_lerobot(path)


def format_of(path: Path) -> Format:
    """Return what demonstrations are kept in; raises BadEpisode where it is none of the three."""
    if path.suffix == ".npz" or (path / NAME).is_file():
        return Format.NPZ
    if (path / "meta" / "info.json").is_file():
        return Format.LEROBOT
    if any((folder / "metadata.json").is_file() for folder in (path, path / "data")):
        return Format.MINARI
    raise BadEpisode(
        f"{path} is none of these: a file {NAME}, a Minari dataset (a folder with data/metadata.json), a LeRobot "
        "dataset (a folder with meta/info.json)"
    )


def as_demonstrations(demonstrations: DemonstrationSet) -> Demonstrations:
    """Return them as a learner reads them."""
    return Demonstrations(
        tuple(
            Demonstration(attempt.observations, attempt.actions, attempt.rewards, attempt.terminated)
            for attempt in demonstrations.attempts
        )
    )
