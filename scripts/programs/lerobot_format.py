"""The files of a LeRobot dataset, format v3: where they lie, what the columns are called, and how parts map onto them.

Ref: github.com/huggingface/lerobot, release 0.4.4, dataset format v3.0.

    meta/info.json  meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet
    videos/KEY/chunk-000/file-000.mp4
    meta/tandem_last.npz    ours: what was seen when each attempt was over, which the format has no place for
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import msgspec

from bridge.episode_decisions import PartLayout
from bridge.errors import BadEpisode
from bridge.observation import PROPRIOCEPTION, STATE
from scripts.programs.demonstration_set import DemonstrationOrigin

VERSION = "v3.0"
INFO, STATS, TASKS, LAST = "meta/info.json", "meta/stats.json", "meta/tasks.parquet", "meta/tandem_last.npz"
FILES_PER_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200
_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES_PATH = f"meta/episodes/{_PLACE}.parquet"
DATA_PATH = f"data/{_PLACE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{_PLACE}.mp4"
ACTION, REWARD, DONE, TRUNCATED, SUCCESS = "action", "next.reward", "next.done", "next.truncated", "next.success"
STAMP, VERDICT = "stamp_ns", "verdict"
_SENTENCES = {
    "reach": "Reach the goal.",
    "grasp": "Grasp the block and lift it.",
    "pick-place": "Pick up the block and put it on the mark.",
}


class Feature(msgspec.Struct, frozen=True):
    """What info.json says of a column or a video."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None
    info: dict[str, object] | None = None


class DatasetInfo(msgspec.Struct, frozen=True):
    """info.json. `tandem` is ours; other programs pass over it."""

    codebase_version: str
    robot_type: str | None
    total_episodes: int
    total_frames: int
    total_tasks: int
    chunks_size: int
    data_files_size_in_mb: int
    video_files_size_in_mb: int
    fps: float
    splits: dict[str, str]
    data_path: str
    video_path: str | None
    features: dict[str, Feature]
    tandem: DemonstrationOrigin | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """Where one part of an observation goes: a column of numbers, or a video."""

    part: PartLayout
    key: str

    @property
    def is_video(self) -> bool:
        """Whether it is written as a video: colours and grey; depth would not survive that and is a column."""
        return self.part.is_picture and self.part.dtype == "uint8"


def place(index: int) -> tuple[int, int]:
    """Return the chunk and the file in it of the file with this number."""
    return divmod(index, FILES_PER_CHUNK)


def frames_per_s(origin: DemonstrationOrigin) -> Fraction:
    """Return how many decisions a second there are, exactly."""
    return Fraction(1.0 / origin.decision_s).limit_denominator(1000)


def columns(origin: DemonstrationOrigin) -> tuple[Column, ...]:
    """Return where each part goes; raises BadEpisode for stacked colour pictures, for which a video has no place."""
    parts = origin.layout.parts
    own = any(part.name == PROPRIOCEPTION for part in parts)
    found: list[Column] = []
    for part in parts:
        if part.name == STATE:
            # What an arm knows of itself is LeRobot's state; what is known of the task beside it the environment's.
            key = "observation.environment_state" if own else "observation.state"
        elif part.name == PROPRIOCEPTION:
            key = "observation.state"
        else:
            key = f"observation.images.{part.name}" if part.dtype == "uint8" else f"observation.{part.name}"
            if part.dtype == "uint8" and part.shape[0] not in (1, 3):
                raise BadEpisode(
                    f"part {part.name} stacks several pictures: a video shows one. Export --format npz or minari"
                )
        found.append(Column(part, key))
    return tuple(found)


def sentence(task: str) -> str:
    """Return the task in words, as LeRobot's language policies read it."""
    return _SENTENCES.get(task, task)
