"""recovered_env: an ArmEnv from plain values, as a dataset or another program keeps them in JSON."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from gymnasium.envs.registration import EnvSpec

from bridge.observation import ObservationSpec
from sim.env import ArmEnv
from sim.errors import SimError


def recovered_env(
    arm: str,
    task: str,
    rig: str,
    spec: Mapping[str, object],
    action_repeat: int,
    control_hz: int,
    randomization: str,
    discount: float,
    render_mode: str | None = None,
) -> ArmEnv:
    """Return the environment; raises SimError where `spec` is none, and what ArmEnv raises."""
    try:
        observed = msgspec.convert(spec, ObservationSpec)
    except msgspec.ValidationError as error:
        raise SimError(f"spec is no ObservationSpec as JSON has it: {error}") from error
    return ArmEnv(
        arm=arm,
        task=task,
        rig=rig,
        spec=observed,
        action_repeat=action_repeat,
        control_hz=control_hz,
        randomization=randomization,
        discount=discount,
        render_mode=render_mode,
    )


def environment_spec(
    environment: str,
    arm: str,
    task: str,
    rig: str,
    spec: ObservationSpec,
    action_repeat: int,
    control_hz: int,
    randomization: str,
    discount: float,
) -> EnvSpec:
    """Return the Gymnasium spec that makes such an environment again: all of it can be written as JSON."""
    kwargs: dict[str, object] = {
        "arm": arm,
        "task": task,
        "rig": rig,
        "spec": msgspec.to_builtins(spec),
        "action_repeat": action_repeat,
        "control_hz": control_hz,
        "randomization": randomization,
        "discount": discount,
    }
    return EnvSpec(environment, entry_point="sim.recovered:recovered_env", kwargs=kwargs)
