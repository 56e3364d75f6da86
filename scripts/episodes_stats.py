"""`tandem episodes stats`: how many demonstrations, how long, how good, in what ranges; and a contact sheet."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from bridge.errors import BadEpisode
from scripts.cli import data_root, emit_json, say
from scripts.exit_codes import DONE
from scripts.programs.demonstration_notes import read_noted
from scripts.programs.demonstration_numbers import (
    DemonstrationFigures,
    Spread,
    check_belong_together,
    demonstration_figures,
)
from scripts.programs.demonstration_sheet import draw_sheet
from scripts.programs.episode_files import resolve_episode
from scripts.programs.picture_file import check_picture

EpisodeNames = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="EPISODE...")]


@dataclass(frozen=True)
class EpisodesStatsArgs:
    """Count demonstrations: how many, how long, how many succeeded, the ranges of actions and observations.

    Labels and trimming count. The contact sheet shows every attempt as a film strip with its actions.
    """

    episodes: EpisodeNames = ("newest",)
    """Recordings of one arm at one task: names, files, or `newest`."""
    out: Path | None = None
    """Where to draw the contact sheet, .png (default: plots/demonstrations_NAME.png in the data folder)."""
    sheet: bool = True
    """Draw the contact sheet."""
    json: bool = False
    """Print one JSON object as the last line of stdout: times in s, observations in the units of their layout."""


class StatsSummary(msgspec.Struct, frozen=True):
    """The JSON line."""

    files: tuple[str, ...]
    arm: str
    rig: str
    task: str
    policies: tuple[str, ...]
    figures: DemonstrationFigures
    remarks: tuple[str, ...]
    sheet: str | None


def run(args: EpisodesStatsArgs) -> int:
    """Print the numbers and draw the sheet; return the exit code."""
    files = [resolve_episode(name, data_root()) for name in args.episodes]
    sheet = args.out or data_root() / "plots" / f"demonstrations_{files[0].stem}.png"
    if args.sheet:
        check_picture(sheet, "a contact sheet")
        if sheet.suffix.lower() != ".png":
            raise BadEpisode(f"--out {sheet}: a contact sheet is a .png")
    sets = [read_noted(file) for file in files]
    remarks = tuple(f"{recorded.path.name}: {remark}" for recorded in sets for remark in recorded.remarks)
    for remark in remarks:
        say(f"ATTENTION: {remark}", args.json)
    check_belong_together(sets)
    if not any(recorded.attempts for recorded in sets):
        raise BadEpisode(f"{', '.join(str(file) for file in files)}: no attempt has an end, there is nothing to count")
    figures = demonstration_figures(sets)
    header, layout = sets[0].header, sets[0].layout
    policies = tuple(sorted({recorded.header.policy for recorded in sets}))
    say(f"{header.arm} {layout.task} on rig {header.rig}, by {', '.join(policies)}", args.json)
    for line in _lines(figures):
        say(line, args.json)
    if args.sheet:
        draw_sheet(sets, figures, sheet)
        say(f"Contact sheet: {sheet}", args.json)
    emit_json(
        StatsSummary(
            tuple(map(str, files)), header.arm, header.rig, layout.task, policies, figures, remarks,
            str(sheet) if args.sheet else None,
        ),
        args.json,
    )  # fmt: skip
    return DONE


def _lines(f: DemonstrationFigures) -> Generator[str]:
    known = f.successes + f.failures
    rate = "nobody knows which succeeded"
    if f.success_rate is not None:
        rate = f"{f.successes} of {known} succeeded ({100 * f.wilson_low:.0f}-{100 * f.wilson_high:.0f} % with 95 %)"
    unknown = f", of {f.unknown} nobody knows" if f.unknown and known else ""
    yield f"  {f.attempts} attempts, {rate}{unknown}"
    yield (
        f"  {f.decisions} decisions, {f.decisions_least} to {f.decisions_most} an attempt (median "
        f"{f.decisions_median:g}), {f.duration_s:.1f} s; mean return {f.mean_return:.3f}"
    )
    yield from _table("action", f.actions)
    for name, spreads in f.observations.items():
        yield from _table(name, spreads)


def _table(name: str, spreads: tuple[Spread, ...]) -> Generator[str]:
    width = max(len(spread.name) for spread in spreads)
    yield f"  {name}:"
    for s in spreads:
        yield f"    {s.name:<{width}}  {s.least:8.3f} to {s.most:8.3f}, mean {s.mean:8.3f}, spread {s.std:.3f}"
