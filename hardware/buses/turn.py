"""Turn: whose turn it is to speak on a wire that one speaks on at a time. Writes go before reads that wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator


class Turn:
    """A lock with two ranks. An urgent holder waits for the present holder alone, whoever else has waited longer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False
        self._urgent = 0

    @contextlib.contextmanager
    def urgent(self) -> Generator[None]:
        """Hold the turn as soon as it is given back."""
        with self._changed:
            self._urgent += 1
            try:
                self._changed.wait_for(lambda: not self._taken)
                self._taken = True
            finally:
                self._urgent -= 1
        try:
            yield
        finally:
            self._give_back()

    @contextlib.contextmanager
    def patient(self) -> Generator[None]:
        """Hold the turn once nobody urgent wants it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken and not self._urgent)
            self._taken = True
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()
