"""The reference's demo as a GIF: the person's skeleton on the left, the twin Kukas on the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from perception.body import PeopleSighting, Side
from scripts.programs.footage import Image
from scripts.programs.gif import write_gif
from scripts.programs.kuka_twin import RATE_HZ, KukaTwin, TwinStep
from scripts.programs.lettering import font
from scripts.programs.stick_figure import GROUND, LIMB_COLOURS, StickFigure, window_of
from sim.twin_world import TwinWorld

SIZE_PX = 420
FRAMES_PER_S = 15.0
_OVERSIZE = 2
_TITLE_PX, _FOOT_PX = 34, 30
_WHITE = (0.86, 0.87, 0.88, 1.0)
#: The floor fades into the ground between these distances.
_FADE_M = (1.2, 4.2)
#: ... and below this share of the picture's height.
_FADE_ROWS = 0.78
_GRAIN = 2.0
#: Stamps are whole nanoseconds: a picture that comes so early, in frames, is not left for the next.
_EARLY = 0.01
_TAKE_UP_S = 1.0
_TEXT, _QUIET = (226, 230, 238), (140, 150, 166)


def film_twin(
    sightings: Sequence[PeopleSighting], path: Path, caption: str, on_progress: Callable[[str, float], None]
) -> list[TwinStep]:
    """Let the twin Kukas copy the person of `sightings` and write the GIF; return what happened in each picture.

    Raises ValueError where nobody is in any of them.
    """
    bodies = [sighting.bodies[0] for sighting in sightings if sighting.bodies]
    if not bodies:
        raise ValueError(f"nobody is in any of {len(sightings)} pictures: there is nothing to copy")
    figure = StickFigure(SIZE_PX, window_of(bodies, sightings[0].aspect))
    twin = KukaTwin()
    steps: list[TwinStep] = []
    frames: list[Image] = []
    try:
        dress(twin.world)
        _take_up(twin, sightings[0])
        for k, sighting in enumerate(sightings):
            steps.append(twin.see(sighting))
            person = figure.draw(steps[-1].body, sighting.aspect)
            elapsed_s = 1e-9 * (sighting.stamp_ns - sightings[0].stamp_ns)
            if elapsed_s * FRAMES_PER_S >= len(frames) - _EARLY:
                frames.append(_sheet(person, twin_picture(twin.world, SIZE_PX), steps[-1], caption))
            on_progress("film", (k + 1) / len(sightings))
    finally:
        twin.close()
    write_gif(path, frames, FRAMES_PER_S)
    return steps


def _take_up(twin: KukaTwin, first: PeopleSighting) -> None:
    """Let the arms come to where the person holds theirs before the film begins."""
    for k in range(round(_TAKE_UP_S * RATE_HZ), 0, -1):
        twin.see(replace(first, stamp_ns=first.stamp_ns - round(1e9 * k / RATE_HZ)))


def dress(world: TwinWorld) -> None:
    """Give either arm the colour of the person's arm that it copies."""
    for arm, side in enumerate(Side):
        colour = (*(value / 255 for value in LIMB_COLOURS[side]), 1.0)
        world.paint(arm, [_WHITE, _WHITE, _WHITE, colour, _WHITE, colour, _WHITE, colour, *([_WHITE] * 4)])


def twin_picture(world: TwinWorld, size_px: int) -> Image:
    """Return the twins from the reference's camera (size, size, 3): smooth edges, a floor that fades into the dark."""
    large = size_px * _OVERSIZE
    rgb, depth_m, bodies = world.picture(large, large)
    ground = np.array(GROUND, dtype=np.float64)
    fade = np.clip((depth_m - _FADE_M[0]) / (_FADE_M[1] - _FADE_M[0]), 0.0, 1.0)[..., None]
    rows = np.linspace(0.0, 1.0, large)[:, None, None]
    fade = np.maximum(fade, np.clip((rows - _FADE_ROWS) / (1.0 - _FADE_ROWS), 0.0, 1.0))
    floor = (bodies == world.floor)[..., None]
    shown = np.where(floor, rgb * (1.0 - fade) + ground * fade, rgb)
    shown[bodies < 0] = ground
    small = cv2.resize(shown, (size_px, size_px), interpolation=cv2.INTER_AREA)
    # A grain that stands still: without it the few colours of a GIF make steps of the floor.
    grain = np.random.default_rng(0).uniform(-_GRAIN, _GRAIN, (size_px, size_px, 1))
    return np.clip(small + grain, 0, 255).round().astype(np.uint8)


def _sheet(person: Image, twins: Image, step: TwinStep, caption: str) -> Image:
    height, width = person.shape[:2]
    sheet = Pillow.new("RGB", (2 * width, _TITLE_PX + height + _FOOT_PX), GROUND)
    for x, picture, title, remark in (
        (0, person, "Person", "landmarks of the camera, filtered"),
        (width, twins, "Twin Kukas", "joints clamped and slewed"),
    ):
        sheet.paste(Pillow.fromarray(picture), (x, _TITLE_PX))
        draw = ImageDraw.Draw(sheet)
        draw.text((x + 16, 12), title, fill=_TEXT, font=font(15, bold=True))
        draw.text((x + 24 + draw.textlength(title, font(15, bold=True)), 15), remark, fill=_QUIET, font=font(12))
    draw = ImageDraw.Draw(sheet)
    draw.line((width, _TITLE_PX + 8, width, _TITLE_PX + height - 8), fill=(44, 50, 62))
    foot = step.why_held or caption
    draw.text((16, _TITLE_PX + height + 6), foot, fill=_QUIET, font=font(12))
    return np.asarray(sheet)
