"""Films of a policy while it learns: when the next one is due, and the folder that holds the newest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.artifacts import write_atomic
from policies.parts import Parts

#: How many films a run keeps.
KEPT = 20
_FOLDER = "films"

#: Returns the actions (n, a) of the present policy for the named parts of n observations.
Act = Callable[[Parts], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A PNG, or an animated GIF, and its size; `name` says what it shows."""

    name: str
    data: bytes
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Film:
    """One episode as a GIF, and the first picture that the policy read in it, where it reads pictures."""

    episode: EncodedPicture
    seen: EncodedPicture | None = None


#: Plays one episode with this seed and films it; must draw nothing from a generator that learning uses.
Filmer = Callable[[Act, int], Film]


class Films:
    """Has a film made every `every_min` minutes (0: never) and keeps the newest in the folder of a run.

    On a resumed run the films after decision `keep_until` are dropped: those moments come again.
    """

    def __init__(self, run: Path, every_min: float, filmer: Filmer | None, keep_until: int | None) -> None:
        self._folder, self._filmer = run / _FOLDER, filmer
        self._every_s = 60.0 * every_min
        self._last_s = time.monotonic()
        if keep_until is not None:
            for path in _films_in(run):
                if int(path.stem) > keep_until:
                    path.unlink()

    @property
    def due(self) -> bool:
        """Whether the last film, or the start of the run, is long enough ago."""
        wanted = self._filmer is not None and self._every_s > 0
        return wanted and time.monotonic() - self._last_s >= self._every_s

    def make(self, act: Act, seed: int, decisions: int) -> Film:
        """Make a film and keep it; raises whatever the filmer or the disk raises."""
        assert self._filmer is not None
        try:
            film = self._filmer(act, seed)
        finally:
            self._last_s = time.monotonic()
        self._folder.mkdir(exist_ok=True)
        write_atomic(self._folder / f"{decisions:09d}.gif", film.episode.data)
        for path in _films_in(self._folder.parent)[:-KEPT]:
            path.unlink()
        return film


def newest_film(run: Path) -> Path | None:
    """Return the newest film in the folder of a run."""
    return max(_films_in(run), default=None)


def _films_in(run: Path) -> list[Path]:
    """Return the films of a run, the oldest first: each is named by the decisions before it, in nine digits."""
    return sorted(path for path in (run / _FOLDER).glob("*.gif") if path.stem.isdecimal())
