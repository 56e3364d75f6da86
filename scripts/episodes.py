"""`tandem episodes list`, `show` and `repair`: what runs on an arm have left on the disk."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from bridge.episode_brief import EpisodeBrief, read_brief
from bridge.episode_reader import Episode, read_episode
from bridge.episode_repair import repair_episode
from bridge.errors import BadEpisode
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE
from scripts.programs.episode_files import episode_files, resolve_episode
from scripts.programs.episode_numbers import (
    JointFigures,
    LoopFigures,
    ServoFigures,
    joint_figures,
    loop_figures,
    servo_figures,
)
from scripts.programs.picture_file import check_picture

_ENDED_LETTERS = 60

EpisodeName = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EPISODE")]


@dataclass(frozen=True)
class EpisodesListArgs:
    """List the recordings in data/episodes, the newest first."""

    json: bool = False
    """Print one JSON object as the last line of stdout: durations in s, sizes in bytes."""


@dataclass(frozen=True)
class EpisodesShowArgs:
    """Show what a recording says in numbers and in a picture: loop, joints, tool path, events."""

    episode: EpisodeName = "newest"
    """A recording: its name, its file, or `newest`."""
    out: Path | None = None
    """Where to draw the picture, .png, .pdf or .svg (default: plots/episode_NAME.png in the data folder)."""
    plot: bool = True
    """Draw the picture."""
    json: bool = False
    """Print one JSON object as the last line of stdout: times in ms and s, angles in degrees."""


@dataclass(frozen=True)
class EpisodesRepairArgs:
    """Give a recording that was cut off its end and its index. What is damaged is left out, and said."""

    episode: EpisodeName = "newest"
    """A recording: its name, its file, or `newest`."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class EpisodeRow(msgspec.Struct, frozen=True):
    """One recording of the list. `ending` and `outcome` are empty where it was cut off."""

    name: str
    file: str
    start_utc: str
    robot: str
    arm: str
    policy: str
    duration_s: float
    steps: int
    ending: str
    outcome: str
    bytes_on_disk: int
    condition: str


class EpisodeList(msgspec.Struct, frozen=True):
    """The JSON line. `unreadable` names the files that are no recordings, and why."""

    episodes: tuple[EpisodeRow, ...]
    unreadable: tuple[str, ...]


class EventRow(msgspec.Struct, frozen=True):
    """Something that happened, `at_s` after the recording began."""

    at_s: float
    level: str
    name: str
    text: str


class EpisodeFigures(msgspec.Struct, frozen=True):
    """The JSON line of `show`."""

    file: str
    start_utc: str
    robot: str
    arm: str
    rig: str
    policy: str
    ending: str
    outcome: str
    whole: bool
    damaged: bool
    remarks: tuple[str, ...]
    duration_s: float
    steps: int
    missing_steps: int
    pictures: dict[str, int]
    bytes_on_disk: int
    loop: LoopFigures
    joints: tuple[JointFigures, ...]
    servos: tuple[ServoFigures, ...]
    events: tuple[EventRow, ...]
    versions: dict[str, str]
    calibration_sha256: dict[str, str]
    picture: str | None


class RepairSummary(msgspec.Struct, frozen=True):
    """The JSON line of `repair`."""

    file: str
    repaired: bool
    steps: int
    remarks: tuple[str, ...]


# List ----------------------------------------------------------------------------------------------
def run_list(args: EpisodesListArgs) -> int:
    """Print the table; return the exit code."""
    rows: list[EpisodeRow] = []
    unreadable: list[str] = []
    for file in episode_files(data_root()):
        try:
            rows.append(_row(read_brief(file)))
        except BadEpisode as error:
            unreadable.append(str(error))
    say(_table(rows) if rows else f"no recording in {data_root() / 'episodes'}: `tandem run` leaves one", args.json)
    for text in unreadable:
        say(text, args.json)
    if any(row.condition != "whole" for row in rows):
        say("tandem episodes repair NAME gives one that was cut off its end", args.json)
    emit_json(EpisodeList(tuple(rows), tuple(unreadable)), args.json)
    return DONE


def _row(brief: EpisodeBrief) -> EpisodeRow:
    header, ending = brief.header, brief.ending
    return EpisodeRow(
        name=brief.path.stem,
        file=str(brief.path),
        start_utc=header.start_utc,
        robot=header.robot,
        arm=header.arm,
        policy=header.policy,
        duration_s=round(brief.duration_s, 3),
        steps=brief.steps,
        ending=ending.ending if ending else "",
        outcome=ending.outcome if ending else "",
        bytes_on_disk=brief.bytes_on_disk,
        condition=brief.condition,
    )


def _table(rows: list[EpisodeRow]) -> str:
    """Return the table as text: one line each, whatever the width of the terminal. `show` says whole how it ended."""
    head = ("episode", "robot", "policy", "duration", "periods", "size", "file", "ended")
    lines = [
        (
            row.name,
            row.robot,
            row.policy,
            f"{row.duration_s:.1f} s",
            str(row.steps) if row.steps else "-",
            f"{row.bytes_on_disk / 1e6:.1f} MB",
            row.condition,
            _shortened(": ".join(filter(None, (row.ending, row.outcome))) or "unknown"),
        )
        for row in rows
    ]
    widths = [max(len(line[k]) for line in (head, *lines)) for k in range(len(head))]
    numbers = {3, 4, 5}
    padded = [
        [
            word.rjust(width) if k in numbers else word.ljust(width)
            for k, (word, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in (head, *lines)
    ]
    return "\n".join("  ".join(words).rstrip() for words in padded)


def _shortened(text: str) -> str:
    return text if len(text) <= _ENDED_LETTERS else text[: _ENDED_LETTERS - 1].rstrip() + "…"


# Show ----------------------------------------------------------------------------------------------
def run_show(args: EpisodesShowArgs) -> int:
    """Print the numbers and draw the picture; return the exit code."""
    file = resolve_episode(args.episode, data_root())
    picture = args.out or data_root() / "plots" / f"episode_{file.stem}.png"
    if args.plot:
        check_picture(picture, "a plot")
    if read_brief(file).condition == "being written":
        say("it is being written: this is what there is so far", args.json)
    episode = read_episode(file)
    drawn = args.plot and bool(episode.steps or episode.bus_sent or episode.bus_read)
    figures = episode_figures(episode, picture if drawn else None)
    for line in _lines(figures):
        say(line, args.json)
    if args.plot and not drawn:
        say("nothing moved in it: no picture", args.json)
    if drawn:
        from scripts.programs.episode_plot import draw_episode

        draw_episode(episode, figures.joints, figures.loop, picture)
        say(f"Picture: {picture}", args.json)
    emit_json(figures, args.json)
    return DONE


def episode_figures(episode: Episode, picture: Path | None) -> EpisodeFigures:
    """Return what a recording says in numbers."""
    header, ending = episode.header, episode.ending
    return EpisodeFigures(
        file=str(episode.path),
        start_utc=header.start_utc,
        robot=header.robot,
        arm=header.arm,
        rig=header.rig,
        policy=header.policy,
        ending=ending.ending if ending else "",
        outcome=ending.outcome if ending else "",
        whole=episode.whole,
        damaged=episode.damaged,
        remarks=episode.remarks,
        duration_s=round(episode.duration_s, 3),
        steps=episode.steps,
        missing_steps=episode.missing_steps,
        pictures={name: len(stamps) for name, stamps in episode.picture_stamps_ns.items()},
        bytes_on_disk=episode.bytes_on_disk,
        loop=loop_figures(episode),
        joints=joint_figures(episode),
        servos=servo_figures(episode),
        events=tuple(
            EventRow(round((e.stamp_ns - header.start_clock_ns) * 1e-9, 3), e.level.name.lower(), e.name, e.text)
            for e in episode.events
        ),
        versions=header.versions,
        calibration_sha256=header.calibration_sha256,
        picture=str(picture) if picture else None,
    )


def _lines(f: EpisodeFigures) -> Generator[str]:
    arm = f"{f.arm} {f.robot!r} on rig {f.rig}" if f.arm else f"servos on {f.robot}"
    yield f"{f.file}: {arm}, policy {f.policy}, {f.start_utc}"
    for remark in f.remarks:
        yield f"  ATTENTION: {remark}"
    yield f"  ended: {f.ending or 'unknown'}" + (f", {f.outcome}" if f.outcome else "")
    pictures = ", ".join(f"{count} pictures of {name}" for name, count in f.pictures.items()) or "no pictures"
    yield f"  {f.duration_s:.1f} s, {f.steps} periods, {pictures}, {f.bytes_on_disk / 1e6:.1f} MB"
    if f.loop.rate_hz is not None:
        yield (
            f"  {f.loop.rate_hz:.2f} Hz; period p50 {f.loop.period_p50_ms:.1f} ms, p99 {f.loop.period_p99_ms:.1f} ms, "
            f"longest {f.loop.period_max_ms:.1f} ms, {f.loop.late_periods} late; {f.loop.pauses} pauses, "
            f"{f.loop.held_periods} periods held"
        )
    width = max((len(j.joint) for j in f.joints), default=0)
    if f.joints:
        against = "servo readings" if all(j.measured for j in f.joints) else "running estimate"
        yield f"  {'joint':<{width}}  travel  off: rms     max  lag     left: rms  ({against} against sent, degrees)"
    for j in f.joints:
        lag = "      -" if j.lag_ms is None else f"{j.lag_ms:4.0f} ms"
        rest = "-" if j.rest_rms_deg is None else f"{j.rest_rms_deg:.2f}"
        yield f"  {j.joint:<{width}}  {j.travel_deg:6.1f}  {j.rms_deg:8.2f}  {j.max_deg:6.2f}  {lag}  {rest:>9}"
    for s in f.servos if not f.joints else ():
        sent = f"sent {s.sent} times, {s.lowest_sent_ticks}..{s.highest_sent_ticks}" if s.sent else "sent nowhere"
        read = f"read {s.read} times, {s.lowest_read_ticks}..{s.highest_read_ticks}" if s.read else "never read"
        yield f"  servo {s.servo_id}: {sent}; {read} (counts)"
    for e in f.events:
        yield f"  {e.at_s:8.2f} s  {'' if e.level == 'info' else e.level + ': '}{e.name}: {e.text}"


# Repair --------------------------------------------------------------------------------------------
def run_repair(args: EpisodesRepairArgs) -> int:
    """Repair; return the exit code."""
    file = resolve_episode(args.episode, data_root())
    before = repair_episode(file)
    repaired = not before.whole or before.damaged
    for remark in before.remarks:
        say(f"it was {remark}" if remark.startswith("cut off") else remark, args.json)
    what = "is whole now" if repaired else "is whole: nothing to repair"
    say(f"{file} {what}, {before.steps} periods", args.json)
    emit_json(RepairSummary(str(file), repaired, before.steps, before.remarks), args.json)
    return DONE
