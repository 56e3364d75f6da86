"""What a native library writes past Python to the terminal, held back while a block runs."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

#: How MediaPipe and TensorFlow Lite begin lines that are not about errors.
_CHATTER = re.compile(rb"(?:[IW]\d{4} \d\d:\d\d:|[IW]0000 |INFO: |WARNING: )")


@contextmanager
def without_chatter() -> Iterator[None]:
    """Leave out a native library's information and warnings; whatever else is written to stderr comes at the end.

    For the few moments in which a library says how it was set up: it holds for all threads.
    """
    sys.stderr.flush()
    try:
        terminal = os.dup(2)
    except OSError:  # closed, as in a service: nobody is disturbed
        yield
        return
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            kept.seek(0)
            rest = b"".join(line for line in kept if not _CHATTER.match(line))
            if rest:
                os.write(2, rest)
