"""The garbage collector is kept away from what a real-time loop stands on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_memory() -> Iterator[None]:
    """Keep the garbage collector away from everything that exists already.

    Looking through the libraries and a finished training takes it 0.1-0.3 s, in which no command is sent: the watchdog
    would hold the arm.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
