"""`tandem randomize`: list the ranges of a preset, or draw a contact sheet of what they do."""

from __future__ import annotations

import itertools
import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from calibration.artifacts import write_atomic
from scripts.cli import data_root, emit_json, say
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE
from scripts.programs.contact_sheet import COLUMNS, DEPTH_PX, ROWS, SHOWN_PX, draw_sheet
from sim.randomization import LIMITS, Randomization, randomization
from sim.studio import Sample, Studio


@dataclass(frozen=True)
class RandomizeArgs:
    """List the ranges of a preset of domain randomisation, or draw 32 episodes of it as one picture."""

    preview: bool = False
    """Draw the contact sheet: what the camera sees in 32 episodes, colour and depth, and what was drawn for each."""
    preset: str = "hard"
    """Which ranges: none, mild or hard."""
    strength: float = 1.0
    """How much of the ranges, 0 (the nominal world) to 1: every range shrinks towards its nominal value."""
    arm: str = "dofbot"
    """Which arm poses."""
    rig: str = "table"
    """How it is mounted."""
    camera: str = "wrist"
    """Which of its cameras looks."""
    seed: int = 0
    """Seed of the draws."""
    out: Path | None = None
    """The PNG to write; default: pictures/randomization_ARM_PRESET.png in the data folder."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


def run(args: RandomizeArgs) -> int:
    """Show the preset; return the exit code."""
    ranges = randomization(args.preset).scaled(args.strength)
    if args.preview:
        return _preview(args, ranges)
    for name in LIMITS:
        say(_line(ranges, name), args.json)
    emit_json({"preset": args.preset, "strength": args.strength, "ranges": ranges}, args.json)
    return DONE


def _line(ranges: Randomization, name: str) -> str:
    low, high = ranges.range_of(name).low, ranges.range_of(name).high
    text = f"  {name:<26} {low:8.4g} to {high:8.4g}"
    if name.endswith("_rad"):
        text += f"   ({math.degrees(low):.2g} to {math.degrees(high):.2g} degrees)"
    return text


def _preview(args: RandomizeArgs, ranges: Randomization) -> int:
    count = COLUMNS * ROWS
    samples: list[Sample] = []
    with closing(Studio(args.arm, args.rig, args.camera, SHOWN_PX, DEPTH_PX)) as plain:
        nominal = next(plain.samples(args.seed))
    studio = Studio(args.arm, args.rig, args.camera, SHOWN_PX, DEPTH_PX, ranges)
    with closing(studio), CountedProgress(Console(stderr=True), "episodes", count) as progress:
        for sample in itertools.islice(studio.samples(args.seed), count):
            samples.append(sample)
            progress.advance()
    of_strength = "" if args.strength == 1.0 else f" at strength {args.strength:g}"
    picture = draw_sheet(
        samples,
        nominal,
        f"Domain randomisation: {args.preset}{of_strength}",
        (
            f"{count} episodes of {args.arm}, rig {args.rig}, seed {args.seed}, before their first step:",
            f"what the {args.camera} camera sees in colour, and its depth at {DEPTH_PX} x {DEPTH_PX} pixels.",
            "The arm stands at home and the cube where it always lies; all else is drawn anew.",
        ),
    )
    path = args.out or data_root() / "pictures" / f"randomization_{args.arm}_{args.preset}.png"
    write_atomic(path, picture)
    say(f"{count} episodes of {args.preset}: {path}", args.json)
    draws = [sample.draw.as_info() for sample in samples]
    cubes = [sample.cube for sample in samples]
    result = {"path": path, "preset": args.preset, "strength": args.strength, "seed": args.seed}
    emit_json({**result, "draws": draws, "cubes": cubes}, args.json)
    return DONE
