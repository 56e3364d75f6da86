"""What a Minari dataset of one of Tandem's environments is of, where Minari's own collector made it."""

from __future__ import annotations

from typing import cast

import gymnasium
import msgspec
from gymnasium.envs.registration import EnvSpec

from bridge.episode_witness import demonstration_header
from bridge.errors import PolicyMismatch
from scripts.programs.demonstration_set import DemonstrationOrigin
from sim.env import ArmEnv

_PREFIX = "Tandem/"


def origin_of_environment(spec: EnvSpec | None, dataset: str) -> DemonstrationOrigin:
    """Return the origin of demonstrations in an environment; raises PolicyMismatch where it is none of Tandem's."""
    if spec is None or not spec.id.startswith(_PREFIX):
        of = "no environment" if spec is None else f"the environment {spec.id!r}"
        raise PolicyMismatch(
            f"{dataset} is of {of}, not of an arm of Tandem's (Tandem/ARM-TASK-v0, `tandem env list`): its actions "
            "mean nothing here"
        )
    made = gymnasium.make(spec, disable_env_checker=True)
    env = cast(ArmEnv, made.unwrapped)
    try:
        layouts = env.observation_layout, env.action_layout
        task = str(spec.kwargs["task"])
        header = demonstration_header(task, env.observation_spec, *layouts, env.action_repeat, env.description)
        layout = msgspec.structs.replace(header, environment=spec.id, discount=env.discount)
        return DemonstrationOrigin(
            arm=env.description.name,
            arm_sha256=env.description.sha256,
            rig=env.rig.name,
            robots=("sim",),
            policies=("minari",),
            period_s=1.0 / env.control_rate_hz,
            layout=layout,
        )
    finally:
        made.close()
