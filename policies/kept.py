"""The checkpoints of one run: the newest two to go on from, and those of the best policy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from policies.artifact import PolicyManifest
from policies.checkpoint import (
    Checkpoint,
    Counters,
    Recovered,
    oldest_decisions,
    read_newest,
    remove_beyond,
    save_checkpoint,
)
from policies.config import TrainConfig
from policies.errors import CheckpointError
from policies.learner import LearnerState

_FOLDER, _LAST, _BEST = "checkpoints", "last", "best"
_MADE_FOR = "made_for"


def can_be_resumed(folder: Path) -> bool:
    """Return whether a run has left a checkpoint in its folder."""
    return any((folder / _FOLDER).glob(f"{_LAST}_*"))


class KeptCheckpoints:
    """Writes and reads what a run keeps. Where there is no room, what was there stays, and it is said."""

    def __init__(
        self, folder: Path, config: TrainConfig, manifest: PolicyManifest, on_note: Callable[[str], None]
    ) -> None:
        self._run, self._folder, self._on_note = folder, folder / _FOLDER, on_note
        self._made_for = _made_for(manifest, config)
        self._best_owed: Checkpoint | None = None

    def recover(self) -> Recovered | None:
        """Return the newest sound checkpoint, None where there is none; raises CheckpointError where none is sound.

        A run that was killed before its first checkpoint begins again, and learns what it would have learnt.
        """
        if not can_be_resumed(self._run):
            return None
        recovered = read_newest(self._folder, _LAST)
        was = recovered.checkpoint.learner.facts.get(_MADE_FOR)
        if was != self._made_for:
            raise CheckpointError(
                f"{recovered.path}: the checkpoint was made for {_difference(was, self._made_for)}: "
                "resume it with the settings, the arm and the version that it was begun with"
            )
        return recovered

    def go_on_from(self, recovered: Recovered) -> None:
        """Take away what is newer than the checkpoint that the run goes on from, and say which one that is."""
        decisions = recovered.checkpoint.counters.decisions
        for kind in (_BEST, _LAST):
            remove_beyond(self._folder, kind, decisions)
        self._tell_refused(recovered)
        self._on_note(f"going on from {recovered.path.name}: {decisions} decisions")

    def keep_last(self, counters: Counters, learner: LearnerState, worlds: str) -> None:
        """Write what a run goes on from."""
        learner = dataclasses.replace(learner, facts={**learner.facts, _MADE_FOR: self._made_for})
        self._keep(_LAST, Checkpoint(counters, learner, worlds))
        if self._best_owed is not None:
            self._keep(_BEST, self._best_owed)

    def keep_best(self, counters: Counters, learner: LearnerState) -> None:
        """Write the best policy so far; one that finds no room is written with the next of the run's own."""
        self._keep(_BEST, Checkpoint(counters, learner))

    def best(self) -> LearnerState:
        """Return the best policy; raises CheckpointError where none is left."""
        best = read_newest(self._folder, _BEST)
        self._tell_refused(best)
        return best.checkpoint.learner

    def last_good(self) -> str:
        """Say which checkpoint a run can go on from."""
        with suppress(CheckpointError):
            return f"the last good checkpoint is {read_newest(self._folder, _LAST).path}"
        return "there is no checkpoint yet"

    def _keep(self, kind: str, checkpoint: Checkpoint) -> None:
        try:
            # Who goes on from the older of the last two needs the best of that time.
            since = oldest_decisions(self._folder, _LAST) if kind == _BEST else None
            save_checkpoint(self._folder, kind, checkpoint, since=since)
            self._best_owed = None if kind == _BEST else self._best_owed
        except OSError as error:
            self._best_owed = checkpoint if kind == _BEST else self._best_owed
            self._on_note(f"a checkpoint could not be written: {error}; {self.last_good()}")

    def _tell_refused(self, recovered: Recovered) -> None:
        for reason in recovered.refused:
            self._on_note(f"damaged checkpoint left out: {reason}")


#: What weights and replay mean: two runs of the same sizes may differ in it.
_TELLING = (
    "task", "rig", "arm", "description of the arm", "parts of the observation", "layout of the state",
    "layout of proprioception", "layout of the action", "action repeat", "control rate", "discount", "layer norms",
    "steps of a return",
)  # fmt: skip
_MOST_SHOWN = 40


def _made_for(manifest: PolicyManifest, config: TrainConfig) -> str:
    """Return the values of `_TELLING` as text."""
    told = (
        manifest.task, manifest.rig, manifest.arm, manifest.arm_sha256, manifest.reads, manifest.observation,
        manifest.proprioception, manifest.action, manifest.action_repeat, manifest.control_rate_hz,
        config.discount, config.sac.layer_norm, config.sac.steps,
    )  # fmt: skip
    return msgspec.json.encode(told).decode()


def _difference(was: object, now: str) -> str:
    """Say in words what a checkpoint was made for and the run is not."""
    try:
        then = msgspec.json.decode(was if isinstance(was, str) else "", type=list[msgspec.Raw])
    except msgspec.DecodeError:
        then = []
    here = msgspec.json.decode(now, type=list[msgspec.Raw])
    if len(then) != len(here):
        return "another version of this program"
    pairs = [(name, bytes(a).decode(), bytes(b).decode()) for name, a, b in zip(_TELLING, then, here, strict=True)]
    return ", ".join(
        f"{name} {a} and not {b}" if max(len(a), len(b)) <= _MOST_SHOWN else f"another {name}"
        for name, a, b in pairs
        if a != b
    )
