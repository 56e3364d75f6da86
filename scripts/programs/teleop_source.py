"""Where people are seen: a camera or a video through the models, in a thread of its own; or a recorded landmark file.

camera   uvc:0   realsense   remote:ENDPOINT   video.mp4   FILE.landmarks
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bridge.errors import StaleFrame
from bridge.ports import Clock, Frame
from calibration.artifacts import utc_now
from hardware.cameras.newest import FrameSource, NewestCamera
from hardware.cameras.recorded import VideoSource
from hardware.errors import RecordingOver
from perception.body import PeopleSighting
from perception.landmark_log import SUFFIX, LandmarkLog, read_landmarks
from perception.landmark_models import Finds, find_model
from perception.pose import PoseEstimator, PoseSettings
from perception.teleop_policy import Sightings
from scripts.models import models_folder
from scripts.programs.camera_choice import CameraChoice, open_camera
from urdf.errors import ArmError, UnknownName

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
#: What --source takes, for errors.
SOURCES = ("camera", "uvc:0", "realsense", "remote:ENDPOINT", "FILE.mp4", "FILE.landmarks")
_STILLS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".heic")
_WAIT_S = 0.1


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """A source by its name. `recorded`: nobody stands there now."""

    text: str
    path: Path | None
    recorded: bool

    @property
    def is_landmarks(self) -> bool:
        """Whether it is a landmark file."""
        return self.path is not None and self.path.suffix == SUFFIX

    @staticmethod
    def parse(text: str) -> SourceChoice:
        """Read it; raises ArmError for a file that is not there or of another kind, UnknownName for what is neither."""
        path = Path(text.removeprefix("video:")).expanduser()
        if path.suffix.lower() not in (*VIDEOS, SUFFIX):
            if path.suffix.lower() in _STILLS or path.is_file():
                kinds = ", ".join((*VIDEOS, SUFFIX))
                raise ArmError(f"--source {text}: nobody moves there; a recording ends in one of {kinds}")
            return SourceChoice(_camera(text), None, recorded=False)
        if not path.is_file():
            raise ArmError(f"--source {text}: there is no such file")
        return SourceChoice(text, path, recorded=True)


def _camera(text: str) -> str:
    """Return a camera as every other command names it; raises UnknownName."""
    name = "uvc:0" if text == "camera" else text
    try:
        CameraChoice.parse(name)
    except UnknownName as error:
        raise UnknownName("source", text, SOURCES) from error
    return name


class FrameView(Protocol):
    """Whoever has the picture that belongs to the newest sighting, for the screen."""

    def frame(self) -> Frame | None:
        """Return it, None where there are landmarks alone."""
        ...


class TeleopSightings(Sightings, FrameView, Protocol):
    """What a teleoperation needs of its source."""

    @property
    def model(self) -> str:
        """The file of the model that sees people; empty where they come from a file."""
        ...

    def keep(self, log: LandmarkLog | None) -> None:
        """Write every sighting from now on to a log as well, or to none."""
        ...


class RecordedSightings:
    """A landmark file, played by a clock from the moment at which it is first asked."""

    model = ""

    def __init__(self, sightings: Sequence[PeopleSighting], clock: Clock, late_s: float = 0.015) -> None:
        """`late_s`: how long after its capture a sighting is there, as with a model."""
        self._sightings, self._clock, self._late_ns = sightings, clock, round(1e9 * late_s)
        self._shift_ns: int | None = None
        self._next = 0

    def newest(self) -> PeopleSighting | None:
        """Return the newest whose time has come, its stamp on our clock."""
        if not self._sightings:
            return None
        now_ns = self._clock.now_ns()
        if self._shift_ns is None:
            self._shift_ns = now_ns - self._sightings[0].stamp_ns
        shift_ns = self._shift_ns
        while self._next < len(self._sightings) and self._due_ns(self._next, shift_ns) <= now_ns:
            self._next += 1
        if self._next == 0:
            return None
        seen = self._sightings[self._next - 1]
        return replace(seen, stamp_ns=seen.stamp_ns + shift_ns)

    def missing(self) -> str:
        """Say that the recording is over, once it is."""
        return "the recording is over" if self._next == len(self._sightings) else ""

    def over(self) -> bool:
        """Return whether the last has been shown for a moment."""
        if not self._sightings:
            return True
        last = len(self._sightings) - 1
        return self._shift_ns is not None and self._clock.now_ns() > self._due_ns(last, self._shift_ns) + 100_000_000

    def frame(self) -> Frame | None:
        """Return nothing: there are landmarks alone."""
        return None

    def keep(self, log: LandmarkLog | None) -> None:
        """Keep nothing: they are kept already."""

    def _due_ns(self, number: int, shift_ns: int) -> int:
        return self._sightings[number].stamp_ns + shift_ns + self._late_ns


class _EndNoting:
    """A source of pictures that says when its recording is over."""

    def __init__(self, source: FrameSource) -> None:
        self.name = source.name
        self.over = threading.Event()
        self._source = source

    def open(self) -> None:
        self._source.open()

    def grab(self) -> Frame | None:
        try:
            return self._source.grab()
        except RecordingOver:
            self.over.set()
            raise

    def missing(self) -> str:
        return self._source.missing()

    def close(self) -> None:
        self._source.close()


class CameraSightings:
    """A camera's newest picture through the models, in a thread: whoever asks never waits for either."""

    def __init__(
        self,
        open_camera: Callable[[], NewestCamera],
        estimator: PoseEstimator,
        over: threading.Event | None,
        model: str,
    ) -> None:
        """Nothing is opened before `begin`. `over` is set where a recording has ended."""
        self._open, self._estimator, self._end, self.model = open_camera, estimator, over, model
        self._log: LandmarkLog | None = None
        self._lock = threading.Lock()
        self._newest: tuple[PeopleSighting, Frame] | None = None
        self._failure: BaseException | None = None
        self._camera: NewestCamera | None = None
        self._thread: threading.Thread | None = None
        self._done = self._stop = False

    def begin(self) -> None:
        """Open the camera and look; raises what opening it raises."""
        camera = self._camera = self._open()
        self._thread = threading.Thread(target=self._run, args=(camera,), name="landmarks", daemon=True)
        self._thread.start()

    def newest(self) -> PeopleSighting | None:
        """Return the newest sighting; raises what ended the thread, where something did. A recording begins now."""
        if self._camera is None:
            self.begin()
        with self._lock:
            if self._failure is not None:
                raise self._failure
            return None if self._newest is None else self._newest[0]

    def missing(self) -> str:
        """Say what is wrong with the camera; empty where nothing is."""
        if self.over() or (self._end is not None and self._end.is_set()):
            return "the recording is over"
        return "" if self._camera is None else self._camera.trouble

    def over(self) -> bool:
        """Return whether a recording has ended and its last picture been looked at."""
        return self._done

    def frame(self) -> Frame | None:
        """Return the picture of the newest sighting."""
        with self._lock:
            return None if self._newest is None else self._newest[1]

    def keep(self, log: LandmarkLog | None) -> None:
        """Write every sighting from now on to a log as well, or to none; no sighting is being written after that."""
        with self._lock:
            self._log = log

    def close(self) -> None:
        """Stop looking and give the camera back; models and log stay their owner's."""
        self._stop = True
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if self._camera is not None:
            self._camera.close()

    def _run(self, camera: NewestCamera) -> None:
        frame: Frame | None = None
        try:
            while not self._stop:
                try:
                    frame = camera.wait(_WAIT_S, after=frame)
                except StaleFrame:  # whoever needs a picture is told by `missing`
                    self._done = self._end is not None and self._end.is_set()
                    continue
                sighting = self._estimator.detect(frame)
                with self._lock:
                    self._newest = sighting, frame
                    if self._log is not None:
                        self._log.add(sighting)
        except BaseException as error:  # a thread that died must not look like an empty picture
            with self._lock:
                self._failure = error


@contextmanager
def open_source(choice: SourceChoice, clock: Clock, hands: bool, people: int) -> Generator[TeleopSightings]:
    """Open a source: models and camera, so that what is missing is told before anything is recorded.

    Raises CameraMissing, SettingRefused, ModelMissing, ModelUnfit, LibraryMissing or BadLandmarks.
    """
    if choice.is_landmarks and choice.path is not None:
        yield RecordedSightings(read_landmarks(choice.path).sightings, clock)
        return
    with ExitStack() as stack:
        pose_model = find_model(models_folder(), Finds.PEOPLE)
        hand_model = find_model(models_folder(), Finds.HANDS) if hands else None
        estimator = stack.enter_context(PoseEstimator(pose_model, hand_model, PoseSettings(most_people=people)))
        if choice.path is None:
            sightings = CameraSightings(lambda: open_camera(choice.text), estimator, None, pose_model.name)
            stack.callback(sightings.close)
            sightings.begin()
        else:
            noting = _EndNoting(_warmed_up(choice.path, estimator))
            sightings = CameraSightings(lambda: NewestCamera(noting), estimator, noting.over, pose_model.name)
            stack.callback(sightings.close)
        yield sightings


@contextmanager
def landmarks_kept(sightings: TeleopSightings, choice: SourceChoice, path: Path | None) -> Generator[None]:
    """Keep what is seen from now on at `path`, where there is one and it does not come from such a file."""
    if path is None or not sightings.model:
        yield
        return
    with LandmarkLog(path, choice.text, sightings.model, utc_now()) as log:
        sightings.keep(log)
        try:
            yield
        finally:
            sightings.keep(None)


def _warmed_up(path: Path, estimator: PoseEstimator) -> VideoSource:
    """Return a film that has yet to begin. The models have seen its first picture, which takes them longest."""
    source = VideoSource(path, loop=False)
    source.open()
    try:
        frame = source.grab()
        if frame is not None:
            estimator.detect(frame)
    finally:
        source.close()
    return VideoSource(path, loop=False)


def look_through(choice: SourceChoice, hands: bool) -> list[PeopleSighting]:
    """Return who is in every picture of a recording, one after the other, none left out, at no particular pace."""
    assert choice.path is not None
    if choice.is_landmarks:
        return list(read_landmarks(choice.path).sightings)
    hand_model = find_model(models_folder(), Finds.HANDS) if hands else None
    seen: list[PeopleSighting] = []
    with PoseEstimator(find_model(models_folder(), Finds.PEOPLE), hand_model) as estimator:
        source = VideoSource(choice.path, loop=False)
        source.open()
        try:
            while True:
                frame = source.grab()
                if frame is not None:
                    seen.append(estimator.detect(frame))
        except RecordingOver:
            return seen
        finally:
            source.close()
