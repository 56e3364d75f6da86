"""From recordings and exports to what a learner reads: successful attempts, held against the run that is to learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bridge.episode_decisions import SUCCESS
from policies.artifact import LayoutRecord, PolicyManifest
from policies.config import TrainConfig
from policies.demonstrations import Demonstrations
from policies.errors import BadConfig, UnfitDemonstrations
from scripts.programs.demonstration_set import DemonstrationSet
from scripts.programs.demonstration_source import as_demonstrations, open_demonstrations
from urdf.description import load_arm


def read_demonstrated(config: TrainConfig, manifest: PolicyManifest, data: Path) -> Demonstrations | None:
    """Return what a run learns from, None where it names nothing: recordings, or one export or import.

    Raises UnknownName, BadEpisode, PolicyMismatch or UnfitDemonstrations, and BadConfig where one is needed.
    """
    if not config.demonstrations:
        if config.algo == "bc":
            raise BadConfig("bc learns from demonstrations alone: name recordings with --demonstrations")
        return None
    shown = open_demonstrations(config.demonstrations, data)
    shown.origin.check_arm(load_arm(config.arm))
    _check(shown, config, manifest)
    return as_demonstrations(_succeeded(shown))


def _succeeded(shown: DemonstrationSet) -> DemonstrationSet:
    """Return the attempts that succeeded: an export may hold others as well; raises UnfitDemonstrations."""
    kept = tuple(attempt for attempt in shown.attempts if attempt.verdict == SUCCESS)
    if not kept:
        raise UnfitDemonstrations(
            f"{', '.join(shown.origin.recordings)}: none of {len(shown.attempts)} attempts is known to have succeeded: "
            "label the recording with `tandem episodes label` and export it again"
        )
    return dataclasses.replace(shown, attempts=kept)


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
