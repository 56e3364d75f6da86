"""Pictures of an attempt for people: of the scene where a camera kept them, else what the policy saw."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bridge.episode_attempts import RecordedAttempt, RecordedDemonstrations
from bridge.episode_decisions import PartLayout
from bridge.episode_messages import Picture
from bridge.episode_reader import Episode, read_episode, read_pictures
from bridge.observation import Part
from scripts.programs.contact_sheet import colored
from scripts.programs.demonstration_record import SCENE

Image = NDArray[np.uint8]

#: The middle of the scene's pictures, where the arm is: left, top, right, bottom as shares.
_SCENE_CROP = (0.13, 0.0, 0.87, 0.87)
#: Where nothing kept a picture.
_NOTHING_RGB = (244, 246, 248)
#: An arm that is done holds still for so long at least, before it sets down what it has.
_HELD_NS = 1_000_000_000


def strip_of(recorded: RecordedDemonstrations, attempt: RecordedAttempt, count: int) -> list[Image]:
    """Return so many pictures (H, W, 3) from the first decision to the end of the attempt."""
    begin_ns, end_ns = int(attempt.stamp_ns[0]), _end_ns(recorded, attempt)
    kept = [picture for picture in _kept_pictures(recorded.path) if begin_ns <= picture.stamp_ns <= end_ns]
    if kept:
        return [_decoded(kept[k]) for k in _spread(len(kept), count)]
    part = next((part for part in recorded.layout.parts if part.is_picture), None)
    if part is None:
        return [np.full((3, 4, 3), _NOTHING_RGB, dtype=np.uint8)] * count
    seen = attempt.observations[part.name]
    return [_shown(seen[k], part) for k in _spread(len(seen), count)]


def _end_ns(recorded: RecordedDemonstrations, attempt: RecordedAttempt) -> int:
    """Return when an attempt was over: what a skill does after the last decision is part of it."""
    last_ns = int(attempt.stamp_ns[-1])
    nexts = [int(other.stamp_ns[0]) - 1 for other in recorded.attempts if other.number > attempt.number]
    done = [event.stamp_ns for event in _episode(recorded.path).events if (event.name, event.text) == ("phase", "done")]
    later = [stamp_ns + _HELD_NS for stamp_ns in done if stamp_ns >= last_ns]
    return min([*nexts, *later], default=last_ns + _HELD_NS)


@lru_cache(maxsize=4)
def _episode(path: Path) -> Episode:
    return read_episode(path)


@lru_cache(maxsize=4)
def _kept_pictures(path: Path) -> tuple[Picture, ...]:
    """Return the pictures of the recording's first camera."""
    episode = _episode(path)
    first = next(iter(sorted(episode.picture_stamps_ns)), None)
    pictures: Iterator[Picture] = iter(()) if first is None else read_pictures(episode, first)
    return tuple(pictures)


def _spread(available: int, count: int) -> NDArray[np.int64]:
    return np.linspace(0, available - 1, count).round().astype(np.int64)


def _decoded(picture: Picture) -> Image:
    image = Pillow.open(io.BytesIO(picture.jpeg)).convert("RGB")
    if picture.name == SCENE:
        left, top, right, bottom = _SCENE_CROP
        image = image.crop((left * image.width, top * image.height, right * image.width, bottom * image.height))
    return np.asarray(image, dtype=np.uint8)


def _shown(part: Part, layout: PartLayout) -> Image:
    """Return the newest picture of a part (C, H, W) as colours: depth near bright, far dark."""
    if layout.dtype == "float16":
        depth_m = part[-1].astype(np.float32)
        known = depth_m[depth_m > 0]
        far_m = float(known.max()) if known.size else 1.0
        return colored(depth_m, (float(known.min()) if known.size else 0.0, far_m + 1e-6))
    channels = part[-3:] if len(part) % 3 == 0 else np.repeat(part[-1:], 3, axis=0)
    return np.ascontiguousarray(channels.transpose(1, 2, 0)).astype(np.uint8)
