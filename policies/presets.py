"""The named presets of `tandem train`: frozen configurations, each for what it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from policies.config import TrainConfig
from policies.learner_config import SacConfig
from urdf.errors import UnknownName

#: An entropy of -0.5: success asks no precision, only a block somewhere between the jaws, and noise is what makes the
#: middle worth aiming at.
_STATE = SacConfig(
    hidden=(64, 64), learning_rate=1e-3, updates_per_decision=2.0, target_rate=0.01, entropy_per_action=-0.5
)
_DEPTH = SacConfig(
    hidden=(128, 128), learning_rate=1e-3, batch_size=128, updates_per_decision=2.0, target_rate=0.01,
    entropy_per_action=-0.5,
)  # fmt: skip
_GRASP = TrainConfig(task="grasp", sac=_STATE, shaping_discount=1.0, randomization="mild", judged_randomization="mild")
#: The block is where the camera sees it: there is no sighting that could err.
_SEEN = dataclasses.replace(
    _GRASP, sees=("proprioception", "wrist_depth"), sighting_error_mm=0.0, sac=_DEPTH, max_decisions=20_000
)
_TAUGHT = dataclasses.replace(_SEEN, algo="distill", sac=_STATE, critic_sees=("state",), evaluate_every=1_000)
#: The way from depth that is taken unless another is named: the quickest of the three (docs/learning.md).
DEPTH_DEFAULT = "depth-distill"
PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "grasp": _GRASP,
        "reach": dataclasses.replace(_GRASP, task="reach", discount=0.8, evaluate_every=1_000),
        "depth-asym": dataclasses.replace(_SEEN, critic_sees=("state", "privileged"), evaluate_every=1_000),
        "depth": _TAUGHT,
        DEPTH_DEFAULT: _TAUGHT,
        "depth-sac": dataclasses.replace(_SEEN, curriculum="reference", max_decisions=40_000),
        "bc": dataclasses.replace(_GRASP, algo="bc", evaluate_every=500, max_decisions=4_000),
        # A hundred decisions an episode, and a long way from the first push to the last: a longer horizon, rewards of
        # three decisions summed, and networks with room for all of it.
        "pick-place": dataclasses.replace(
            _GRASP,
            task="pick-place",
            discount=0.97,
            sighting_error_mm=2.0,  # a goal forgives 12 mm in all
            sac=SacConfig(learning_rate=5e-4, steps=3, warm_up=2_000, capacity=200_000),
            max_decisions=250_000,
            evaluate_every=10_000,
        ),
    }
)


def alias_of(name: str) -> str | None:
    """Return the preset that a preset stands for, if it is but another name."""
    return DEPTH_DEFAULT if name == "depth" else None


def find_preset(name: str, presets: Mapping[str, TrainConfig] = PRESETS) -> TrainConfig:
    """Return a preset; raises UnknownName with the valid names, nearest first."""
    if name not in presets:
        raise UnknownName("preset", name, presets)
    return presets[name]
