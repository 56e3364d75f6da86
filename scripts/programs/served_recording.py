"""ServedRecorder: what an arm's server leaves on the disk, whoever moves the arm. One recording for every motion.

One begins with the first thing that goes to the servos and ends when nothing has for ten seconds, or after ten minutes:
then the next one goes on. It never makes the control loop wait: the files are opened and closed in a thread of its own,
and a disk that is full, or takes nothing, costs the recording and not the arm.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bridge.episode import MAX_QUEUED, EpisodeWriter
from bridge.episode_format import BusSent, EpisodeHeader, Level
from bridge.episode_messages import Event
from bridge.loop import LoopStep
from bridge.messages import RobotState
from bridge.ports import Clock
from calibration.servo import ServoCalibration
from scripts.programs.bus_recording import TORQUE, ArmScribe, BusItem
from scripts.programs.episode_files import SERVED, episodes_folder
from scripts.programs.episode_recording import beginning_now, in_words, open_recording

#: An arm to which nothing has been sent for so long rests; a recording that goes on for so long is cut.
REST_S, LONGEST_S = 10.0, 600.0
#: So much of the disk is left to everybody else.
MIN_FREE_BYTES = 256 << 20
#: A disk that took no file is asked again after so long.
RETRY_S = 60.0
_LOOK_S = 0.05
#: What was said while nothing was recorded belongs to the motion that comes of it.
_KEPT_EVENTS = 64


class ServedRecorder:
    """Takes in what passes on the bus and what the server says, from any thread; `close` ends the recording."""

    def __init__(
        self,
        data: Path,
        header: EpisodeHeader,
        calibration: ServoCalibration,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        """Record under `data` from the first motion on; `tell` hears what became of each recording."""
        #: The witness of the bus on which the arm is.
        self.scribe = ArmScribe(self.take, clock, calibration)
        self._data, self._header, self._clock, self._tell = data, header, clock, tell
        self._queue: deque[BusItem] = deque()
        self._events: deque[Event] = deque(maxlen=_KEPT_EVENTS)
        self._dropped = 0
        self._writer: EpisodeWriter | None = None
        self._began_s = self._moved_s = 0.0
        self._retry_s = 0.0
        self._controller: Callable[[], str] | None = None
        self._in_control = ""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="served recorder", daemon=True)
        self._thread.start()

    def __enter__(self) -> ServedRecorder:
        """Return the recorder, which records already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the recording."""
        self.close("done" if error is None else f"{type(error).__name__}: {error}")

    def take(self, item: BusItem) -> None:
        """Take in what passed on the bus; returns at once, in the worst case without it."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(item)
        else:
            self._dropped += 1

    def note(self, name: str, text: str) -> None:
        """Take in what happened now, in words."""
        self.take(Event(self._clock.now_ns(), Level.INFO, name, text))

    def listening(self, tell: Callable[[str], None]) -> Callable[[str], None]:
        """Return a `tell` that the recording hears as well."""

        def tell_both(text: str) -> None:
            self.note("server", text)
            tell(text)

        return tell_both

    def watch(self, read_state: Callable[[], RobotState], controller: Callable[[], str]) -> None:
        """Ask from now on where the arm is, and who moves it."""
        self.scribe.watch(read_state)
        self._controller = controller

    def close(self, ending: str) -> None:
        """Write what has come, and the end; calling it twice is harmless."""
        if not self._closing.is_set():
            self._closing.set()
            self._thread.join()
            self._pass_on()
            self._end(ending)

    # The recorder's thread ---------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._closing.wait(_LOOK_S):
            self._look_who_is_in_control()
            self._pass_on()
            now_s = time.monotonic()
            if self._writer is not None and now_s - self._moved_s > REST_S:
                self._end("the arm rests")
            elif self._writer is not None and now_s - self._began_s > LONGEST_S:
                self._end("goes on in the next recording")

    def _look_who_is_in_control(self) -> None:
        who = self._controller() if self._controller is not None else ""
        if who != self._in_control:
            self._in_control = who
            self.note("control", who or "nobody")

    def _pass_on(self) -> None:
        """Hand what has come to the recording; begin one where something moves the arm."""
        for _ in range(len(self._queue)):
            item = self._queue.popleft()
            if isinstance(item, BusSent | LoopStep) or (isinstance(item, Event) and item.name == TORQUE):
                self._moved_s = time.monotonic()
                self._begin()
            if self._writer is not None:
                self._writer.take(item)
            elif isinstance(item, Event):
                self._events.append(item)
        if self._dropped and self._writer is not None:
            dropped, self._dropped = self._dropped, 0
            self._writer.event("recording", f"{dropped} things before this are missing", Level.WARNING)

    def _begin(self) -> None:
        now_s = time.monotonic()
        if self._writer is not None or now_s < self._retry_s:
            return
        try:
            self._check_room()
            header = beginning_now(self._header, self._clock)
            self._writer = open_recording(self._data, header, self._clock, self._tell, mark=SERVED)
        except OSError as error:
            self._retry_s = now_s + RETRY_S
            self._tell(f"the arm is served, but not recorded: {error}")
            return
        self._began_s = now_s
        while self._events:
            self._writer.take(self._events.popleft())

    def _check_room(self) -> None:
        folder = episodes_folder(self._data)
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < MIN_FREE_BYTES:
            raise OSError(
                f"{folder} has {free / 1e6:.0f} MB of room, and {MIN_FREE_BYTES / 1e6:.0f} MB are left to others: "
                "remove old recordings"
            )

    def _end(self, ending: str) -> None:
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            self._tell(in_words(writer.close(ending)))
        except Exception as error:  # whatever became of the recording, the arm is served
            self._tell(f"the recording {writer.path} ended early: {type(error).__name__}: {error}")
