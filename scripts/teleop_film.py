"""The part of `tandem teleop` that films: the twin Kukas copy a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from perception.landmark_log import SUFFIX
from scripts.cli import data_root, emit_json
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE, FAILED
from scripts.programs.teleop_gif import film_twin
from scripts.programs.teleop_source import SourceChoice, look_through
from urdf.errors import ArmError

if TYPE_CHECKING:
    from scripts.teleop import TeleopArgs


def film(args: TeleopArgs, choice: SourceChoice, tell: Callable[[str], None]) -> int:
    """Let the twin Kukas copy a recording, and film them; return the exit code."""
    if not choice.recorded:
        raise ArmError(f"--robot {args.robot} films a recording: --source video.mp4 or FILE{SUFFIX}")
    path = args.out or data_root() / "teleop" / "kuka-twin.gif"
    if path.suffix != ".gif":
        raise ArmError(f"--out {path}: the film is a GIF, name it so: {path.with_suffix('.gif').name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    tell(f"looking for a person in every picture of {args.source}")
    sightings = look_through(choice, hands=False)
    seen = sum(bool(sighting.bodies) for sighting in sightings)
    if not seen:
        tell(f"nobody is in any of the {len(sightings)} pictures of {args.source}: there is nothing to copy")
        return FAILED
    with CountedProgress(Console(stderr=args.json), "film", len(sightings)) as bar:
        steps = film_twin(sightings, path, f"tandem teleop --robot {args.robot}", lambda what, share: bar.advance())
    moved_rad = max(float(np.abs(next(iter(step.sent_rad.values()))).max()) for step in steps)
    tell(f"{seen} of {len(sightings)} pictures show a person; the film: {path}")
    emit_json({"pictures": len(sightings), "with_person": seen, "film": path, "largest_rad": moved_rad}, args.json)
    return DONE
