"""How fast a saved policy answers, and whether it answers as the network that it was exported from.

The networks are untrained: what they compute takes as long. Observations are those of the simulated grasp.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from bridge.observation import CameraView, ImageKind, ObservationSpec, Observed
from policies.artifact import SCHEMA, LayoutRecord, PolicyManifest, SpecRecord, proprioception_record
from policies.export import export_policy, network_actions
from policies.networks import Encoder, EncoderKind
from policies.onnx_policy import OnnxPolicy
from policies.parts import Parts, as_parts, parts_of
from policies.sac import Actor, DeterministicPolicy
from scripts.programs.figures import Row, at_most
from scripts.provenance import git_commit, versions
from sim.env import ArmEnv

AGREEMENT_BAR = 1e-5
_OBSERVATIONS = 1_000
_GOLDEN = 64
_CALLS, _WARM_UP = 5_000, 200
_SEED = 2026
_HIDDEN = (256, 256)


@dataclass(frozen=True, slots=True)
class Case:
    """A policy and how long its median answer may take."""

    label: str
    spec: ObservationSpec
    median_ms: float


CASES = (
    Case("state, 256x256", ObservationSpec(), 0.05),
    Case(
        "64x64 wrist depth and proprioception, strided encoder, 256x256",
        ObservationSpec(state=False, proprioception=True, views=(CameraView("wrist", ImageKind.DEPTH),)),
        0.3,
    ),
)


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield the rows of the policies with a figure that contains `only`."""
    for case in CASES:
        if any(only in figure for figure in _figures(case)):
            yield from measure_one(case, on_progress)


def _figures(case: Case) -> tuple[str, str]:
    return f"policy of {case.label}: median act()", f"policy of {case.label}: ONNX against torch"


def measure_one(
    case: Case, on_progress: Callable[[str, float], None], calls: int = _CALLS, observations: int = _OBSERVATIONS
) -> list[Row]:
    """Return how long the median answer takes, and how far any action is from the torch network's."""
    what = f"policy of {case.label}"
    with tempfile.TemporaryDirectory(prefix="bench_policy_") as folder:
        on_share = partial(on_progress, f"{what}: playing")
        policy, network, seen = exported(case, Path(folder), observations, on_share)
    took_ms = _answers_ms(policy, seen, calls)
    on_progress(f"{what}: answering", 1.0)
    single = np.array([policy.act(observation) for observation in seen])
    apart = float(np.abs(single - network_actions(network, _stacked(seen))).max())
    speed, agreement = _figures(case)
    p99 = statistics.quantiles(took_ms, n=100)[98]
    return [
        at_most(
            speed, statistics.median(took_ms), "ms", case.median_ms, f"one core, {calls:,} calls, p99 {p99:.3f} ms"
        ),
        at_most(agreement, apart, "", AGREEMENT_BAR, f"largest difference of an action on {len(seen):,} observations"),
    ]


def exported(
    case: Case, folder: Path, observations: int, on_share: Callable[[float], None]
) -> tuple[OnnxPolicy, DeterministicPolicy, list[Observed]]:
    """Return a case's policy, saved in `folder` and loaded, the network that it was, and observations to answer."""
    with closing(ArmEnv(spec=case.spec)) as env:
        seen = _play(env, observations, on_share)
        network = _untrained(env)
        policy = export_policy(folder, network, _manifest(env), _stacked(seen[:_GOLDEN]))
    return policy, network, seen


def _play(env: ArmEnv, count: int, on_share: Callable[[float], None]) -> list[Observed]:
    """Return what random actions lead to see."""
    rng = np.random.default_rng(_SEED)
    seen: list[Observed] = [env.reset(seed=_SEED)[0]]
    while len(seen) < count:
        action = rng.uniform(-1.0, 1.0, len(env.action_layout.names)).astype(np.float32)
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(env.reset()[0] if terminated or truncated else observation)
        on_share(len(seen) / count)
    return seen


def _stacked(seen: Sequence[Observed]) -> Parts:
    """Return observations as parts (n, ...)."""
    rows = [as_parts(observation) for observation in seen]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _untrained(env: ArmEnv) -> DeterministicPolicy:
    torch.manual_seed(_SEED)
    encoder = Encoder(parts_of(env.observation_space), EncoderKind.STRIDED)
    return DeterministicPolicy(encoder, Actor(encoder.size, _HIDDEN, len(env.action_layout.names)))


def _answers_ms(policy: OnnxPolicy, seen: Sequence[Observed], calls: int) -> list[float]:
    """Return the time that each of many answers took."""
    took_ms: list[float] = []
    for call in range(_WARM_UP + calls):
        observation = seen[call % len(seen)]
        started_ns = time.perf_counter_ns()
        policy.act(observation)
        took_ms.append(1e-6 * (time.perf_counter_ns() - started_ns))
    return took_ms[_WARM_UP:]


def _manifest(env: ArmEnv) -> PolicyManifest:
    action = env.action_layout
    return PolicyManifest(
        schema=SCHEMA,
        task="grasp",
        rig=env.rig.name,
        arm=env.description.name,
        arm_sha256=env.description.sha256,
        reads=SpecRecord.of(env.observation_spec),
        inputs=(),
        observation=LayoutRecord.of(env.observation_layout),
        proprioception=proprioception_record(env.description, env.observation_spec),
        action=LayoutRecord(action.name, action.version, action.names),
        control_rate_hz=env.control_rate_hz,
        action_repeat=env.action_repeat,
        normaliser="none",
        training_run="",
        git_commit=git_commit(),
        versions=versions(),
        onnx_sha256="",
        golden_sha256="",
    )
