"""EpisodeWriter: the flight recorder. Takes in a run as it goes, and has it on the disk within half a second.

Whoever records only puts something into a queue. A thread of the recorder's own turns that into MCAP, closes a chunk
five times a second and waits until the disk has it: a power cut takes what is younger than that, a kill no more. A full
disk costs what does not fit, never the run, and never what is there already.
Ref: https://mcap.dev/spec: a file that ends anywhere is readable up to its last whole chunk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.episode_decisions import Decision, DemonstrationHeader, Outcome
from bridge.episode_format import BusRead, BusSent, EpisodeEnding, EpisodeHeader, Level, utc_name
from bridge.episode_messages import EpisodeMessages, Event, Item, Picture
from bridge.episode_output import DurableFile
from bridge.loop import LoopStep
from bridge.ports import Clock

#: How often a chunk is closed and forced to the disk. What a power cut takes is this and the time that the disk needs.
CHUNK_S = 0.2
#: A disk that took nothing is asked again after so long.
RETRY_S = 1.0
#: How many periods, events and pictures may wait to be written: 40 s of a loop at 100 Hz.
MAX_QUEUED = 4096
MAX_QUEUED_PICTURE_BYTES = 16 << 20
#: While the disk takes nothing, so much is kept in memory; pictures leave half of it to the rest.
MAX_WAITING_BYTES = 16 << 20
#: A disk that has not answered for so long when a run ends is not waited for.
CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class EpisodeTally:
    """What a recording came to. `whole` says whether it has its end; without, it is readable all the same."""

    path: Path
    steps: int
    pictures: int
    dropped: int
    lost: int
    bytes_on_disk: int
    whole: bool


def _ignore(_: str) -> None:
    """Tell nobody."""


class EpisodeWriter:
    """Records one run; a `bridge.loop.Recorder`. May be called from several threads, and never makes one wait."""

    def __init__(
        self,
        path: Path,
        header: EpisodeHeader,
        clock: Clock,
        on_trouble: Callable[[str], None] = _ignore,
        demonstration: DemonstrationHeader | None = None,
    ) -> None:
        """Make the file and have its header on the disk; raises OSError where that is not possible.

        `demonstration` says of what `demonstrate` will be told, where it will be.
        `on_trouble` is told once, from the thread that finds out, that something is being lost, and why.
        """
        self.path = path
        #: Of what `demonstrate` may be told; None: of nothing.
        self.demonstration = demonstration
        self._clock = clock
        self._on_trouble = on_trouble
        self._told = False
        self._queue: deque[Item] = deque()
        self._lock = threading.Lock()
        self._picture_bytes = 0
        self._dropped = self._lost = self._noted = self._uncommitted = 0
        self._retry_s = 0.0
        self._closing = threading.Event()
        self._ending = self._outcome = ""
        self._whole = False
        self._failure: BaseException | None = None
        self._file = DurableFile(path)
        try:
            self._messages = EpisodeMessages(self._file, header, demonstration)
            self._messages.take(Event(clock.now_ns(), Level.INFO, "recording", "begins"))
            self._messages.flush()
            self._file.commit()
        except BaseException:
            self._file.release()
            path.unlink(missing_ok=True)
            raise
        self._thread = threading.Thread(target=self._run, name="flight recorder", daemon=True)
        self._thread.start()

    def record(self, step: LoopStep) -> None:
        """Take in one control period; returns at once, in the worst case without it."""
        self.take(step)

    def event(self, name: str, text: str, level: Level = Level.INFO) -> None:
        """Take in something that happened now."""
        self.take(Event(self._clock.now_ns(), level, name, text))

    def frame(self, name: str, stamp_ns: int, jpeg: bytes) -> None:
        """Take in a picture of camera `name`, captured at `stamp_ns` of the run's clock."""
        with self._lock:
            fits = self._picture_bytes + len(jpeg) <= MAX_QUEUED_PICTURE_BYTES
            self._picture_bytes += len(jpeg) if fits else 0
        if fits:
            self._queue.append(Picture(stamp_ns, name, jpeg))
        else:
            self._drop()

    def demonstrate(self, item: Decision | Outcome) -> None:
        """Take in a policy's decision, or what came of one."""
        self.take(item)

    def take(self, item: LoopStep | Event | BusSent | BusRead | Decision | Outcome) -> None:
        """Take in what carries its own time; returns at once, in the worst case without it."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(item)
        else:
            self._drop()

    def wait_for_room(self) -> None:
        """Wait until most of what came has been written: for a simulation, which can wait; an arm cannot."""
        while len(self._queue) > MAX_QUEUED // 4 and self._thread.is_alive():
            time.sleep(CHUNK_S / 4)

    def close(self, ending: str = "done", outcome: str = "") -> EpisodeTally:
        """Write the end of the file and close it; return what it holds. Calling it twice is harmless.

        Raises what the recorder's thread died of, which no full disk is.
        """
        if not self._closing.is_set():
            self._ending, self._outcome = ending, outcome
            self._closing.set()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._tell(f"the disk has not answered for {CLOSE_S:g} s")
        if self._failure is not None:
            raise self._failure
        counted = self._messages
        return EpisodeTally(
            self.path, counted.steps, counted.pictures, self._dropped, self._lost, self._file.on_disk, self._whole
        )

    def _drop(self) -> None:
        with self._lock:
            self._dropped += 1
        self._tell("the disk cannot keep up")

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            self._on_trouble(f"the recording {self.path} is losing something: {why}. The run goes on")

    # The recorder's thread ---------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            due_s = time.monotonic()
            while not self._closing.is_set():
                due_s = max(due_s + CHUNK_S, time.monotonic())
                self._closing.wait(max(due_s - time.monotonic(), 0.0))
                self._write()
            self._finish()
        except BaseException as error:  # told where the run ends: a recorder that fails must not end it sooner
            self._failure = error
            self._tell(f"{type(error).__name__}: {error}")
        finally:
            self._file.release()

    def _write(self) -> None:
        """Turn what has come into a chunk, and have it on the disk."""
        for _ in range(len(self._queue)):
            self._take(self._queue.popleft())
            time.sleep(0)  # whoever waits for the interpreter need not wait for more than one message
        self._messages.flush()
        if time.monotonic() >= self._retry_s:
            self._commit()

    def _take(self, item: Item) -> None:
        room = MAX_WAITING_BYTES
        if isinstance(item, Picture):
            room //= 2
            with self._lock:
                self._picture_bytes -= len(item.jpeg)
        if self._file.waiting > room:
            self._lost += 1
            return
        missed = self._dropped + self._lost
        if missed > self._noted:
            text = f"{missed - self._noted} periods, events or pictures before this are missing"
            self._messages.take(Event(self._clock.now_ns(), Level.WARNING, "recording", text))
            self._noted = missed
        self._messages.take(item)
        self._uncommitted += 1

    def _commit(self) -> bool:
        """Return whether the disk has everything."""
        try:
            self._file.commit()
        except OSError as error:
            self._retry_s = time.monotonic() + RETRY_S
            self._tell(f"{error}: make room")
            return False
        self._uncommitted = 0
        return True

    def _finish(self) -> None:
        """Write the end, where there is room for it; what stays in memory is lost."""
        self._retry_s = 0.0
        self._write()
        messages = self._messages
        messages.take(Event(self._clock.now_ns(), Level.INFO, "recording", f"ends: {self._ending}"))
        messages.finish(
            EpisodeEnding(
                end_utc=utc_name(datetime.now(UTC)),
                ending=self._ending,
                outcome=self._outcome,
                steps=messages.steps,
                pictures=messages.pictures,
                dropped=self._dropped,
                lost=self._lost,
            )
        )
        before = self._uncommitted
        self._whole = self._commit()
        self._lost += 0 if self._whole else before
