"""DurableFile: bytes that go to the disk as a whole or stay in memory until there is room, and the lock on the file."""

from __future__ import annotations

import fcntl
import io
import os
from pathlib import Path


class DurableFile(io.BytesIO):
    """A stream that is only ever appended to. What is written stays in memory until `commit` has it on the disk.

    The file is locked for as long as it is open: that is how others see that it is being written.
    """

    def __init__(self, path: Path) -> None:
        """Make the file; raises FileExistsError where there is one."""
        super().__init__()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self._on_disk = 0
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a file whose name is lost is lost
        finally:
            os.close(folder)

    @property
    def on_disk(self) -> int:
        """How many bytes a power cut cannot take any more."""
        return self._on_disk

    @property
    def waiting(self) -> int:
        """How many bytes are in memory alone."""
        return super().tell()

    def tell(self) -> int:
        """Return the place in the file at which the next byte will stand."""
        return self._on_disk + super().tell()

    def commit(self) -> None:
        """Put everything on the disk. Raises OSError where that fails: the file then ends where it ended before.

        Nothing is lost by that: the next commit begins with what this one could not write.
        """
        data = memoryview(self.getvalue())
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._handle, data[done:], self._on_disk + done)
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._on_disk)
            raise
        self._on_disk += len(data)
        self.seek(0)
        self.truncate()

    def release(self) -> None:
        """Close the file and give up the lock; what was not committed is lost."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_being_written(path: Path) -> bool:
    """Return whether a DurableFile at this path is open, in whichever process."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
