"""A run of `tandem train-locator` on disk: scenes in chunks, a checkpoint an epoch, and at the end the locator.

data/locators/<UTC>_<arm>_<kinds>_seed<n>/
    config.json              what was asked for
    scenes/chunk_00012.npz   pictures and truths, made by worker processes
    checkpoint_0007.safetensors, checkpoint.json   the newest epoch
    metrics.jsonl            one line an epoch
    locator.onnx, golden.npz, manifest.json, locator.png
"""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.observation import ImageKind
from calibration.artifacts import utc_now, write_atomic
from perception.learned import MANIFEST_NAME
from scripts.programs.depth_scenes import BlockScene, BlockScenes
from scripts.programs.process_tree import die_with_parent
from urdf.errors import UnknownName
from urdf.pose import Array

SCHEMA = 1
CONFIG_NAME, METRICS_NAME, PICTURE_NAME = "config.json", "metrics.jsonl", "locator.png"
CHUNK = 200
#: One of so many scenes is kept for validation.
VALIDATION_EVERY = 10
#: Half of the scenes at home, where a run looks first; the others from where the arm goes.
_HOME_SHARE = 0.5


class LocatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was asked for; `scenes` are made before the first epoch."""

    schema: int
    arm: str
    rig: str
    kinds: tuple[ImageKind, ...]
    randomization: str
    scenes: int
    epochs: int
    batch: int
    learning_rate: float
    seed: int
    git_commit: str


@dataclass(frozen=True, slots=True)
class SceneTable:
    """Scenes as arrays: pictures by kind (n, C, H, W), place (n, 2), yaw4 (n, 2), shown (n,), and where things were.

    `camera` (n, 7): the true `desk_from_camera`; `block` (n, 3): x, y, yaw; `focal_px` (n,).
    """

    pictures: dict[ImageKind, NDArray[np.generic]]
    place: Array
    yaw4: Array
    shown: NDArray[np.bool_]
    camera: Array
    block: Array
    focal_px: Array

    def __len__(self) -> int:
        return len(self.shown)

    def only(self, rows: NDArray[np.int64]) -> SceneTable:
        """Return some of the scenes."""
        pictures = {kind: part[rows] for kind, part in self.pictures.items()}
        rest = (self.place[rows], self.yaw4[rows], self.shown[rows], self.camera[rows], self.block[rows])
        return SceneTable(pictures, *rest, self.focal_px[rows])

    def parts(self) -> tuple[SceneTable, SceneTable]:
        """Return the scenes to learn from and those to be judged by."""
        rows = np.arange(len(self))
        held = rows % VALIDATION_EVERY == 0
        return self.only(rows[~held]), self.only(rows[held])


def create_run(data: Path, config: LocatorConfig) -> Path:
    """Make the folder of a run and write what it was asked for."""
    kinds = "+".join(kind.value for kind in config.kinds)
    name = f"{utc_now()}_{config.arm}_{kinds}_seed{config.seed}"
    for number in range(1, 1000):
        folder = data / "locators" / (name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        write_atomic(folder / CONFIG_NAME, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
        return folder
    raise FileExistsError(f"{data / 'locators' / name} and 998 more exist")


def find_run(data: Path, name: str) -> Path:
    """Return a run by path, name, or as the `newest`; raises UnknownName with those that there are."""
    if (Path(name) / CONFIG_NAME).exists():
        return Path(name)
    known = sorted(path.parent.name for path in (data / "locators").glob(f"*/{CONFIG_NAME}"))
    if name == "newest" and known:
        return data / "locators" / known[-1]
    if name not in known:
        raise UnknownName("locator", name, [*known, "newest"] if known else [])
    return data / "locators" / name


def newest_locator(data: Path) -> Path:
    """Return the newest run that has ended with a locator; raises UnknownName where none has."""
    ended = sorted(path.parent for path in (data / "locators").glob(f"*/{MANIFEST_NAME}"))
    if not ended:
        raise UnknownName("locator", "newest", [], "tandem train-locator makes one")
    return ended[-1]


# Scenes ------------------------------------------------------------------------------------------
def make_scenes(folder: Path, config: LocatorConfig, workers: int, should_stop: Callable[[], bool]) -> Iterator[int]:
    """Make the chunks that are not there yet, in several processes; yield how many scenes each was worth."""
    (folder / "scenes").mkdir(exist_ok=True)
    counts = [min(CHUNK, config.scenes - first) for first in range(0, config.scenes, CHUNK)]
    left = [(k, count) for k, count in enumerate(counts) if not _chunk_path(folder, k).exists()]
    for k, count in enumerate(counts):
        if (k, count) not in left:
            yield count
    if not left:
        return
    context = multiprocessing.get_context("spawn")
    parent = os.getpid()
    with context.Pool(min(workers, len(left)), _begin_worker, (str(folder), config, parent)) as pool:
        for count in pool.imap_unordered(_make_chunk, left):
            yield count
            if should_stop():
                return


def load_scenes(folder: Path, config: LocatorConfig) -> SceneTable:
    """Return all scenes of a run, in their order."""
    tables: list[dict[str, NDArray[np.generic]]] = []
    for k in range((config.scenes + CHUNK - 1) // CHUNK):
        with np.load(io.BytesIO(_chunk_path(folder, k).read_bytes()), allow_pickle=False) as arrays:
            tables.append({name: arrays[name] for name in arrays.files})
    joined = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    pictures = {kind: joined.pop(kind.value) for kind in config.kinds}
    fields = [field.name for field in dataclasses.fields(SceneTable)][1:]
    return SceneTable(pictures, *(joined[name] for name in fields))  # pyright: ignore[reportArgumentType]


def table_of(scenes: list[BlockScene]) -> SceneTable:
    """Return scenes as arrays."""
    kinds = list(scenes[0].pictures)
    pictures = {kind: np.stack([scene.pictures[kind] for scene in scenes]) for kind in kinds}
    return SceneTable(
        pictures,
        np.array([scene.place for scene in scenes]),
        np.array([scene.yaw4 for scene in scenes]),
        np.array([scene.shown for scene in scenes]),
        np.array([[*scene.true.position_m, *scene.true.quat_xyzw] for scene in scenes]),
        np.array([[*s.desk_from_block.position_m[:2], s.desk_from_block.yaw_rad] for s in scenes]),
        np.array([scene.true_lens.fx_px for scene in scenes]),
    )


def _chunk_path(folder: Path, number: int) -> Path:
    return folder / "scenes" / f"chunk_{number:05d}.npz"


_worker: tuple[Path, BlockScenes] | None = None


def _begin_worker(folder: str, config: LocatorConfig, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent ends its pool
    die_with_parent(signal.SIGKILL, parent)
    scenes = BlockScenes(config.arm, config.rig, config.randomization, config.kinds, config.seed, _HOME_SHARE)
    _worker = Path(folder), scenes


def _make_chunk(asked: tuple[int, int]) -> int:
    assert _worker is not None
    (folder, scenes), (number, count) = _worker, asked
    table = table_of([scenes.scene(number * CHUNK + k) for k in range(count)])
    arrays = {field.name: getattr(table, field.name) for field in dataclasses.fields(SceneTable)[1:]}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, **arrays, **{kind.value: part for kind, part in table.pictures.items()}
    )
    write_atomic(_chunk_path(folder, number), buffer.getvalue())
    return count
