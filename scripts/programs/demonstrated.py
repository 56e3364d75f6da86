"""From recordings to what a learner reads: their successful attempts, held against the run that learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from policies.artifact import LayoutRecord, PolicyManifest
from policies.config import TrainConfig
from policies.demonstrations import Demonstration, Demonstrations
from policies.errors import BadConfig, UnfitDemonstrations
from scripts.programs.demonstration_notes import read_noted
from scripts.programs.demonstration_set import DemonstrationSet, gathered
from scripts.programs.episode_files import resolve_episode
from urdf.description import load_arm


def read_demonstrated(config: TrainConfig, manifest: PolicyManifest, data: Path) -> Demonstrations | None:
    """Return what a run learns from, None where it names no recording.

    Raises UnknownName, BadEpisode, PolicyMismatch or UnfitDemonstrations, and BadConfig where one is needed.
    """
    if not config.demonstrations:
        if config.algo == "bc":
            raise BadConfig("bc learns from demonstrations alone: name recordings with --demonstrations")
        return None
    paths = [resolve_episode(name, data) for name in config.demonstrations]
    shown = gathered([read_noted(path) for path in paths], only_successes=True)
    shown.origin.check_arm(load_arm(config.arm))
    _check(shown, config, manifest)
    return as_demonstrations(shown)


def as_demonstrations(shown: DemonstrationSet) -> Demonstrations:
    """Return attempts as a learner reads them."""
    return Demonstrations(
        tuple(Demonstration(a.observations, a.actions, a.rewards, a.terminated) for a in shown.attempts)
    )


def _check(shown: DemonstrationSet, config: TrainConfig, manifest: PolicyManifest) -> None:
    """Raise UnfitDemonstrations where what was seen, done or rewarded has another meaning in this run."""
    layout = shown.origin.layout
    action = layout.action_layout
    rate_hz = 1.0 / shown.origin.period_s
    rows: Sequence[tuple[str, object, object]] = (
        ("the task", layout.task, config.task),
        ("the rig", shown.origin.rig, manifest.rig),
        ("the action", LayoutRecord(action.name, action.version, action.names), manifest.action),
        ("control periods a decision", layout.action_repeat, config.action_repeat),
        ("control periods a second", round(rate_hz, 3), round(manifest.control_rate_hz, 3)),
        *(
            (("the state", LayoutRecord.of(layout.state_layout), manifest.observation),)
            if "state" in config.sees
            else ()
        ),
        *((("the discount of the shaping", layout.discount, config.shaping_discount),) if config.algo == "sac" else ()),
    )
    for what, was, wanted in rows:
        if was != wanted:
            names = ", ".join(shown.origin.recordings)
            raise UnfitDemonstrations(f"{names}: {what} is {was} there and {wanted} in this run: record it anew")
