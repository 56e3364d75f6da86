"""What every run on an arm does beside running: leave a recording of itself in data/episodes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import cv2

from bridge.episode import EpisodeTally, EpisodeWriter
from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_format import EpisodeHeader, Level, utc_name
from bridge.errors import StaleFrame
from bridge.loop import LoopStep
from bridge.ports import Camera, Clock
from calibration.artifacts import calibration_dir
from scripts.programs.episode_files import episodes_folder
from scripts.programs.robot_file import robot_file_path
from scripts.programs.robot_run import Watcher
from scripts.provenance import git_commit, versions
from urdf.description import ArmDescription, Rig

#: Pictures a second: enough to see what happened, 0.2 MB/s of a 640x480 camera.
PICTURES_HZ = 5.0
_JPEG_QUALITY = 80
_MAX_AGE_S = 0.5


@dataclass(slots=True)
class Recording:
    """A run's recording under way. `outcome` is what the run says of itself at its end; `tally` is there after it."""

    writer: EpisodeWriter
    outcome: str = ""
    tally: EpisodeTally | None = field(default=None)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What is run on what: the part of a recording's header that only the run knows."""

    robot: str
    description: ArmDescription
    rig: Rig
    period_s: float
    policy: str


@contextmanager
def recording(
    data: Path,
    run: RecordedRun,
    clock: Clock,
    tell: Callable[[str], None],
    demonstration: DemonstrationHeader | None = None,
) -> Generator[Recording]:
    """Record for as long as the context lasts; how it is left is how the recording says that the run ended.

    `demonstration`: of what a Demonstrator will write the decisions into it.
    """
    ongoing = Recording(_open(episodes_folder(data), _header(data, run, clock), clock, tell, demonstration))
    try:
        yield ongoing
    except KeyboardInterrupt:
        ongoing.tally = ongoing.writer.close("interrupted", ongoing.outcome)
        raise
    except BaseException as error:
        ongoing.tally = ongoing.writer.close(f"{type(error).__name__}: {error}", ongoing.outcome)
        raise
    else:
        ongoing.tally = ongoing.writer.close("done", ongoing.outcome)
    finally:
        if ongoing.tally is not None:
            tell(_in_words(ongoing.tally))


def _header(data: Path, run: RecordedRun, clock: Clock) -> EpisodeHeader:
    now = datetime.now(UTC)
    return EpisodeHeader(
        robot=run.robot,
        arm=run.description.name,
        arm_sha256=run.description.sha256,
        rig=run.rig.name,
        joint_names=run.description.joint_names,
        period_s=run.period_s,
        policy=run.policy,
        configuration_sha256=_hashes([robot_file_path(run.robot, data)]),
        calibration_sha256=_hashes(sorted(calibration_dir(data, run.robot).glob("*.json"))),
        versions={"git": git_commit(), **versions()},
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9),
        start_clock_ns=clock.now_ns(),
    )


def _hashes(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def _open(
    folder: Path,
    header: EpisodeHeader,
    clock: Clock,
    tell: Callable[[str], None],
    demonstration: DemonstrationHeader | None,
) -> EpisodeWriter:
    for number in range(1, 1000):
        name = header.start_utc if number == 1 else f"{header.start_utc}_{number}"
        try:
            return EpisodeWriter(folder / f"{name}.mcap", header, clock, tell, demonstration)
        except FileExistsError:  # two runs started within one second
            continue
    raise FileExistsError(f"{folder / header.start_utc}.mcap and 998 more exist")


def _in_words(tally: EpisodeTally) -> str:
    text = (
        f"recorded: {tally.path} ({tally.steps} periods, {tally.pictures} pictures, {tally.bytes_on_disk / 1e6:.1f} MB)"
    )
    if tally.dropped or tally.lost:
        text += f"; {tally.dropped + tally.lost} periods, events or pictures are missing in it"
    if not tally.whole:
        text += f"; it has no end: `tandem episodes repair {tally.path.stem}`"
    return text


def watch_attempts(watcher: Watcher, writer: EpisodeWriter) -> None:
    """Have every period recorded, and what is waited for and which attempt begins, beside whoever else looks on."""
    onward, on_waiting = watcher.onward, watcher.on_waiting

    def record(step: LoopStep) -> None:
        writer.record(step)
        if onward is not None:
            onward(step)

    def wait(missing: str) -> None:
        writer.event("waiting", missing, Level.WARNING)
        if on_waiting is not None:
            on_waiting(missing)

    watcher.onward, watcher.on_waiting = record, wait
    watcher.on_attempt = lambda number: writer.event("attempt", f"attempt {number} begins")


class PictureFeed:
    """Hands a camera's pictures to a recording, a few a second, compressed in a thread of its own."""

    def __init__(self, camera: Camera, writer: EpisodeWriter) -> None:
        self._camera = camera
        self._writer = writer
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="picture feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; the camera stays its owner's."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        last_seq: int | None = None
        due_s = time.monotonic()
        while not self._stop.is_set():
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame:  # whoever needs to see says so: here it is a picture less
                pass
            else:
                if frame.seq != last_seq:
                    last_seq = frame.seq
                    bgr = cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)
                    done, jpeg = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
                    if done:
                        self._writer.frame(frame.name, frame.stamp_ns, jpeg.tobytes())
            due_s = max(due_s + 1.0 / PICTURES_HZ, time.monotonic())
            self._stop.wait(due_s - time.monotonic())
