"""What tells the next action: how near a network comes to a teacher's from each part of an observation, and how fast.

`python -m scripts.programs.bench_sight` makes the two tables of docs/learning.md: a teacher learns
the grasp from the state, acts in depth worlds with noise, and small networks learn by regression what it does there.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from bridge.encoding import GRASP_STATE, proprioception_layout
from policies.adam import FlatAdam
from policies.distill import imitation_loss
from policies.learner_config import EncoderKind
from policies.learners import make_learner
from policies.networks import Encoder
from policies.off_policy import OffPolicy
from policies.parts import ALONE
from policies.precision import choose_precision
from policies.presets import find_preset
from policies.sac import Actor, DeterministicPolicy
from policies.workers import Stepper
from scripts.simulation import simulated, training_worlds
from urdf.description import load_arm

_LESSONS, _DECISIONS, _HELD_BACK, _UPDATES, _BATCH = 3_000, 8_000, 1_500, 2_000, 128
_MOST_NOISE = 0.8
_PICTURE = "wrist_depth"

Columns = Mapping[str, NDArray[np.float32]]


def taught() -> OffPolicy:
    """Return a learner that has learnt the grasp from the state."""
    preset = find_preset("grasp")
    config = dataclasses.replace(preset, sighting_error_mm=0.0)
    with closing(training_worlds(simulated(config, "table"), config)) as worlds:
        learner, stepper = make_learner(config, worlds, 0), Stepper(worlds)
        assert isinstance(learner, OffPolicy)
        learner.begin(stepper.reset(0))
        while learner.decisions < _LESSONS:
            stepper.send(learner.act(stepper.observations))
            learner.improve()
            step = stepper.wait()
            learner.take_in(step._replace(rewards=step.rewards * config.reward_scale))
    return learner


def met(teacher: OffPolicy) -> Columns:
    """Return what the teacher saw and would have done, by name (n, ...), where its noise took it."""
    preset = find_preset("depth-asym")
    config = dataclasses.replace(preset, critic_sees=("state",))
    rng, rows = np.random.default_rng(0), dict[str, list[NDArray[np.float32]]]()
    with closing(training_worlds(simulated(config, "table"), config)) as worlds:
        stepper = Stepper(worlds)
        parts = stepper.reset(1)
        noise = rng.uniform(0.0, _MOST_NOISE, (stepper.count, 1))
        while len(rows.get("action", ())) < _DECISIONS:
            with torch.no_grad():
                action = teacher.policy({ALONE: torch.from_numpy(np.asarray(parts["state"]))}).numpy()
            for name, part in {**parts, "action": action}.items():
                rows.setdefault(name, []).extend(np.array(part))
            stepper.send((action + noise * rng.normal(size=action.shape)).clip(-1.0, 1.0).astype(np.float32))
            step, parts = stepper.wait(), stepper.observations
            over = (step.terminated | step.truncated)[:, None]
            noise = np.where(over, rng.uniform(0.0, _MOST_NOISE, noise.shape), noise)
    return {name: np.stack(row) for name, row in rows.items()}


def chosen(columns: Columns, names: Sequence[str], every: Sequence[str], part: str) -> NDArray[np.float32]:
    """Return those columns of a part whose names begin with one of `names`."""
    kept = [k for k, name in enumerate(every) if name.startswith(tuple(names))]
    return columns[part][:, kept]


def fit(
    columns: Columns,
    vector: NDArray[np.float32],
    sees_picture: bool,
    kind: EncoderKind = EncoderKind.STRIDED,
    spatial_softmax: bool = False,
    coordinates: bool = False,
) -> tuple[float, float]:
    """Return the error on what was held back, root mean square, and the milliseconds of an update."""
    boxes: dict[str, gymnasium.spaces.Box] = {}
    boxes["vector"] = gymnasium.spaces.Box(-np.inf, np.inf, vector.shape[1:], np.float32)
    parts = {"vector": torch.from_numpy(vector)}
    if sees_picture:
        pictures = columns[_PICTURE]
        boxes[_PICTURE] = gymnasium.spaces.Box(0.0, np.inf, pictures.shape[1:], np.float16)
        parts[_PICTURE] = torch.from_numpy(pictures).float()
    wanted, known = torch.from_numpy(columns["action"]), len(vector) - _HELD_BACK
    torch.manual_seed(0)
    seeing = Encoder(boxes, kind, spatial_softmax=spatial_softmax, coordinates=coordinates)
    network = DeterministicPolicy(seeing, Actor(seeing.size, (128, 128), wanted.shape[1]))
    adam, rng = FlatAdam(list(network.parameters()), 1e-3), np.random.default_rng(0)
    spent_s = 0.0
    for _ in range(_UPDATES):
        rows = torch.from_numpy(rng.integers(known, size=_BATCH))
        batch = {name: part[rows] for name, part in parts.items()}
        began_s = time.perf_counter()
        adam.minimise(imitation_loss(network(batch), wanted[rows]))
        spent_s += time.perf_counter() - began_s
    with torch.no_grad():
        error = imitation_loss(network({name: part[known:] for name, part in parts.items()}), wanted[known:])
    return float(error.sqrt()), 1000 * spent_s / _UPDATES


def main() -> int:
    """Print both tables."""
    torch.set_num_threads(1)
    choose_precision()
    columns = met(taught())
    own = proprioception_layout(load_arm("dofbot")).feature_names
    told = ("command",)
    without = chosen(columns, [name for name in own if not name.startswith(told)], own, "proprioception")
    whole = columns["proprioception"]
    distance = chosen(columns, ("block_from_tool",), GRASP_STATE.feature_names, "state")
    print(f"length of the action: {np.sqrt(np.square(columns['action']).sum(1).mean()):.2f}\n")
    print("| from | error |\n|---|---|")
    for what, vector, sees in (
        ("state", columns["state"], False),
        ("joints, speeds, tool", without, False),
        ("the same and the exact distance from tool to block", np.hstack([without, distance]), False),
        ("the same and how far the command is ahead of the tool", np.hstack([whole, distance]), False),
        ("depth, joints, speeds, tool", without, True),
        ("depth, joints, speeds, tool, and how far the command is ahead", whole, True),
    ):
        print(f"| {what} | {fit(columns, vector, sees)[0]:.2f} |", flush=True)
    print("\n| encoder | error | ms an update |\n|---|---|---|")
    for kind in EncoderKind:
        for softmax, coordinates in ((False, False), (True, False), (False, True)):
            error, update_ms = fit(columns, whole, True, kind, softmax, coordinates)
            more = ", spatial softmax" if softmax else ", coordinates" if coordinates else ""
            print(f"| `{kind.value}`{more} | {error:.2f} | {update_ms:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
