"""Checkpoints of a training run: safetensors + `.npz` + JSON with the hash of each. Nothing is ever unpickled.

A checkpoint is a folder that appears whole: written under a temporary name, forced to disk, then renamed. The two
newest are kept; when the newest is damaged the one before it is used and the caller is told.
"""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors.torch
from numpy.typing import NDArray

from policies.artifact import sha256_of
from policies.errors import CheckpointError
from policies.learner import LearnerState

SCHEMA = 2
_WEIGHTS, _ARRAYS, _STATE = "weights.safetensors", "replay.npz", "state.json"
_KEPT = 2


class Counters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a run has come. `best_score` is success rate and return of the best evaluation.

    `streak` counts the evaluations in a row that met the stop rate.
    """

    decisions: int
    episodes: int
    updates: int
    wall_s: float
    last_evaluation: int
    best_score: tuple[float, float] | None
    best_decisions: int
    streak: int


class CheckpointState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `state.json` holds: counters, what the learner and the worlds keep as text, and the hash of each file."""

    schema: int
    counters: Counters
    facts: dict[str, str]
    worlds: str
    files_sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything that a run needs to go on; of a policy alone, only its tensors. `worlds` is what the worlds keep."""

    counters: Counters
    learner: LearnerState
    worlds: str = ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A checkpoint that was read, where it lay, and what was wrong with the newer ones."""

    checkpoint: Checkpoint
    path: Path
    refused: tuple[str, ...]


def save_checkpoint(root: Path, kind: str, checkpoint: Checkpoint, keep: int = _KEPT, since: int | None = None) -> Path:
    """Write `root/<kind>_<decisions>` and remove all but the `keep` newest of its kind; return its path.

    `since`: the newest one that is no younger than so many decisions stays as well.
    """
    root.mkdir(parents=True, exist_ok=True)
    learner = checkpoint.learner
    files = {_WEIGHTS: safetensors.torch.save({k: t.contiguous() for k, t in learner.tensors.items()})}
    if learner.arrays:
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **learner.arrays)
        files[_ARRAYS] = buffer.getvalue()
    state = CheckpointState(
        schema=SCHEMA,
        counters=checkpoint.counters,
        facts=dict(learner.facts),
        worlds=checkpoint.worlds,
        files_sha256={name: sha256_of(data) for name, data in files.items()},
    )
    files[_STATE] = msgspec.json.format(msgspec.json.encode(state), indent=2)
    path = root / f"{kind}_{checkpoint.counters.decisions:09d}"
    _write_folder(path, files)
    others = _of_kind(root, kind)[keep:]
    needed = None if since is None else next((p for p in _of_kind(root, kind) if _decisions(p) <= since), None)
    for old in others:
        if old != needed:
            shutil.rmtree(old)
    return path


def oldest_decisions(root: Path, kind: str) -> int | None:
    """Return the decisions of the oldest checkpoint of a kind; None where there is none."""
    return _decisions(kept[-1]) if (kept := _of_kind(root, kind)) else None


def _write_folder(path: Path, files: dict[str, bytes]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        # What a full disk took of it is room for the next one.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    # A run that was resumed from an older checkpoint can reach the same count again.
    shutil.rmtree(path, ignore_errors=True)
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_beyond(root: Path, kind: str, decisions: int) -> None:
    """Remove the checkpoints of a kind that came after so many decisions: a run that goes on makes its own."""
    for path in _of_kind(root, kind):
        if _decisions(path) > decisions:
            shutil.rmtree(path)


def _decisions(path: Path) -> int:
    return int(path.name.rpartition("_")[2])


def _of_kind(root: Path, kind: str) -> list[Path]:
    """Return the checkpoints of a kind, the newest first."""
    return sorted((p for p in root.glob(f"{kind}_*") if p.is_dir()), key=lambda p: p.name, reverse=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return one checkpoint; raises CheckpointError when a file is missing, truncated or changed."""
    try:
        state = msgspec.json.decode((path / _STATE).read_bytes(), type=CheckpointState)
        data = {name: (path / name).read_bytes() for name in state.files_sha256}
    except (OSError, msgspec.MsgspecError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    if state.schema != SCHEMA:
        raise CheckpointError(f"{path}: schema {state.schema}, this version reads {SCHEMA}")
    for name, content in data.items():
        if sha256_of(content) != state.files_sha256[name]:
            raise CheckpointError(f"{path / name}: truncated or changed: {len(content)} bytes, another SHA-256")
    arrays: dict[str, NDArray[np.generic]] = {}
    if _ARRAYS in data:
        with np.load(io.BytesIO(data[_ARRAYS]), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    learner = LearnerState(safetensors.torch.load(data[_WEIGHTS]), arrays, state.facts)
    return Checkpoint(state.counters, learner, state.worlds)


def read_newest(root: Path, kind: str) -> Recovered:
    """Return the newest sound checkpoint of a kind; raises CheckpointError when there is none."""
    refused: list[str] = []
    for path in _of_kind(root, kind):
        try:
            return Recovered(read_checkpoint(path), path, tuple(refused))
        except CheckpointError as error:
            refused.append(str(error))
    reasons = "; ".join(refused) or "there is none"
    raise CheckpointError(f"{root}: no usable checkpoint '{kind}_…': {reasons}; start the run again without --resume")
