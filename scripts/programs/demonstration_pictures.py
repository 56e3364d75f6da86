"""Pictures of an attempt for people: what a camera kept, else what the policy saw, else the arm posed as it stood."""

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
from scripts.programs.posed_picture import posed_picture

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
        return _posed(_episode(recorded.path), begin_ns, int(attempt.stamp_ns[-1]), end_ns, count)
    seen = attempt.observations[part.name]
    return [_shown(seen[k], part) for k in _spread(len(seen), count)]


def is_posed(recorded: RecordedDemonstrations) -> bool:
    """Whether no camera and no policy kept a picture: the strips are drawn from the joints."""
    return not _episode(recorded.path).picture_stamps_ns and not any(part.is_picture for part in recorded.layout.parts)


def _posed(episode: Episode, begin_ns: int, last_ns: int, end_ns: int, count: int) -> list[Image]:
    """Return the arm at so many moments, as simulation draws it, until its skill was done and the way home began."""
    over_ns = min([stamp_ns for stamp_ns in _done_ns(episode) if stamp_ns >= last_ns], default=end_ns)
    stamps_ns = episode.state_stamp_ns
    recorded_ns = stamps_ns[(stamps_ns >= begin_ns) & (stamps_ns <= min(over_ns, end_ns))]
    nothing = np.full((3, 4, 3), _NOTHING_RGB, dtype=np.uint8)
    if not recorded_ns.size:
        return [nothing] * count
    posed = (posed_picture(episode, int(recorded_ns[k])) for k in _spread(len(recorded_ns), count))
    return [nothing if picture is None else _cropped(picture) for picture in posed]


def _cropped(picture: Image) -> Image:
    height, width = picture.shape[:2]
    left, top, right, bottom = _SCENE_CROP
    return picture[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


def _end_ns(recorded: RecordedDemonstrations, attempt: RecordedAttempt) -> int:
    """Return when an attempt was over: what a skill does after the last decision is part of it."""
    last_ns = int(attempt.stamp_ns[-1])
    nexts = [int(other.stamp_ns[0]) - 1 for other in recorded.attempts if other.number > attempt.number]
    later = [stamp_ns + _HELD_NS for stamp_ns in _done_ns(_episode(recorded.path)) if stamp_ns >= last_ns]
    return min([*nexts, *later], default=last_ns + _HELD_NS)


def _done_ns(episode: Episode) -> list[int]:
    return [event.stamp_ns for event in episode.events if (event.name, event.text) == ("phase", "done")]


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
    image = np.asarray(Pillow.open(io.BytesIO(picture.jpeg)).convert("RGB"), dtype=np.uint8)
    return _cropped(image) if picture.name == SCENE else image


def _shown(part: Part, layout: PartLayout) -> Image:
    """Return the newest picture of a part (C, H, W) as colours: depth near bright, far dark."""
    if layout.dtype == "float16":
        depth_m = part[-1].astype(np.float32)
        known = depth_m[depth_m > 0]
        far_m = float(known.max()) if known.size else 1.0
        return colored(depth_m, (float(known.min()) if known.size else 0.0, far_m + 1e-6))
    channels = part[-3:] if len(part) % 3 == 0 else np.repeat(part[-1:], 3, axis=0)
    return np.ascontiguousarray(channels.transpose(1, 2, 0)).astype(np.uint8)
