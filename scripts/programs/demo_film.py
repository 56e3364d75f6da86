"""The demo's film: every filmed attempt again in the training world, both in one GIF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bridge.sensing import SensingPolicy
from scripts.counted_progress import CountedProgress
from scripts.evaluate import PolicyChoice
from scripts.programs.film import Take
from scripts.programs.footage import Image
from scripts.programs.gif import write_gif
from scripts.programs.rehearsal import Rehearsal
from scripts.programs.side_by_side import FRAMES_PER_S, HALF_PX, compose


def film_side_by_side(choice: PolicyChoice, takes: Sequence[Take], path: Path, console: Console) -> None:
    """Write the GIF of all takes, one after the other."""
    env = choice.make_env()
    try:
        policy = choice.make_policy(env, 0)
        sensing = SensingPolicy(policy, choice.spec, env.attempt, env.robot)
        rehearsal = Rehearsal(env, sensing, HALF_PX)
        frames: list[Image] = []
        with CountedProgress(console, "attempts", len(takes)) as progress:
            for take in takes:
                frames += _side_by_side(take, rehearsal)
                progress.advance()
    finally:
        env.close()
    write_gif(path, frames, FRAMES_PER_S)


def _side_by_side(take: Take, rehearsal: Rehearsal) -> list[Image]:
    record = take.record
    assert record.desk_from_block is not None  # the judge calls nothing a success that it has not seen before
    twin = rehearsal.film(record.desk_from_block)
    x, y, _ = 1000 * record.desk_from_block.position_m
    caption = f"Attempt {record.number}: block seen at ({x:+.0f}, {y:.0f}) mm"
    return list(compose(take.footage, twin, caption, f"lifted {1000 * record.rise_m:.0f} mm, says the camera"))
