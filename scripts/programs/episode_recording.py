"""What every run on an arm does beside running: leave a recording of itself in data/episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bridge.episode import EpisodeTally, EpisodeWriter
from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_format import EpisodeHeader, utc_name
from bridge.ports import Clock
from calibration.artifacts import calibration_dir
from scripts.programs.episode_files import episodes_folder
from scripts.programs.robot_file import robot_file_path
from scripts.provenance import git_commit, versions
from urdf.description import ArmDescription, Rig


@dataclass(slots=True)
class Recording:
    """A run's recording under way. `outcome` is what the run says of itself at its end; `tally` is there after it."""

    writer: EpisodeWriter
    outcome: str = ""
    tally: EpisodeTally | None = field(default=None)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """What is run on what: the part of a recording's header that only the run knows.

    Neither arm nor rig where nobody knows more than the numbers of the servos; `robot` is their port then.
    """

    robot: str
    description: ArmDescription | None
    rig: Rig | None
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
    header = recording_header(data, run, clock)
    ongoing = Recording(open_recording(data, header, clock, tell, demonstration))
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
            tell(in_words(ongoing.tally))


def recording_header(data: Path, run: RecordedRun, clock: Clock) -> EpisodeHeader:
    """Return what a recording that begins now says of itself; reads the robot's files and asks git."""
    now, arm = datetime.now(UTC), run.description
    return EpisodeHeader(
        robot=run.robot,
        arm=arm.name if arm else "",
        arm_sha256=arm.sha256 if arm else "",
        rig=run.rig.name if run.rig else "",
        joint_names=arm.joint_names if arm else (),
        period_s=run.period_s,
        policy=run.policy,
        configuration_sha256=_hashes([robot_file_path(run.robot, data)]) if arm else {},
        calibration_sha256=_hashes(sorted(calibration_dir(data, run.robot).glob("*.json"))) if arm else {},
        versions={"git": git_commit(), **versions()},
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9),
        start_clock_ns=clock.now_ns(),
    )


def beginning_now(header: EpisodeHeader, clock: Clock) -> EpisodeHeader:
    """Return the header of another recording of the same, which begins now; reads nothing."""
    now = datetime.now(UTC)
    return msgspec.structs.replace(
        header,
        start_utc=utc_name(now),
        start_utc_ns=round(now.timestamp() * 1e9),
        start_clock_ns=clock.now_ns(),
    )


def _hashes(paths: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def open_recording(
    data: Path,
    header: EpisodeHeader,
    clock: Clock,
    tell: Callable[[str], None],
    demonstration: DemonstrationHeader | None = None,
    mark: str = "",
) -> EpisodeWriter:
    """Begin a recording that is named after its time, and `mark`; raises OSError."""
    stem = header.start_utc + mark
    for number in range(1, 1000):
        name = stem if number == 1 else f"{stem}_{number}"
        try:
            return EpisodeWriter(episodes_folder(data) / f"{name}.mcap", header, clock, tell, demonstration)
        except FileExistsError:  # two runs started within one second
            continue
    raise FileExistsError(f"{episodes_folder(data) / stem}.mcap and 998 more exist")


def in_words(tally: EpisodeTally) -> str:
    """Return what a recording came to."""
    counted = [f"{count} {what}" for count, what in ((tally.steps, "periods"), (tally.pictures, "pictures")) if count]
    text = f"recorded: {tally.path} ({', '.join([*counted, f'{tally.bytes_on_disk / 1e6:.2f} MB'])})"
    if tally.dropped or tally.lost:
        text += f"; {tally.dropped + tally.lost} periods, events or pictures are missing in it"
    if not tally.whole:
        text += f"; it has no end: `tandem episodes repair {tally.path.stem}`"
    return text
