"""Functions that Numba compiles, kept compiled for the next process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile for one thread and keep the machine code for the next process.

    Numba keeps it beside the function's file, where that folder is read-only in the user's cache folder; where no
    folder can be written, every process compiles for itself. $NUMBA_CACHE_DIR names another. It looks at the function's
    own file alone to see whether it has changed, so what a kernel calls stands in the same file.
    """
    try:
        return cast(_Function, njit(cache=True)(function))
    except RuntimeError:  # what Numba raises where it finds no folder to write to
        return cast(_Function, njit(function))
