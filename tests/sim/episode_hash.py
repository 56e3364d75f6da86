"""Plays episodes and prints the hash of the last: `python -m tests.sim.episode_hash RIG EPISODES_BEFORE`."""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from bridge.loop import ControlLoop, LoopStep
from sim.env import ArmEnv
from sim.sim_robot import TrueBlock
from tests.sim.states import State, advance, start

SEED = 20_000
OFFSET_SCALE_M = 0.03


class Transcript:
    """A Recorder that hashes every bit of every control period: state, block, command."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.periods = 0

    def record(self, step: LoopStep) -> None:
        self.periods += 1
        sighting = step.sighting
        assert sighting is not None
        block = [*sighting.base_from_block.position_m, *sighting.base_from_block.quat_xyzw]
        numbers = [*step.state.position_rad, *step.state.velocity_rad_s, *block, *step.sent.position_rad]
        self.digest.update(np.array(numbers, dtype=np.float64).tobytes())


def straight(observation: State, env: ArmEnv) -> State:
    motion = observation[:2] * (OFFSET_SCALE_M / (0.010 * env.action_repeat))
    return (motion / max(1.0, float(np.linalg.norm(motion)))).astype(np.float32)


def play(env: ArmEnv, seed: int, rng: np.random.Generator | None, noise: float = 1.0) -> None:
    """Play an episode straight for the block; with a generator, so much of every action is random."""
    observation = start(env, seed)
    over = False
    while not over:
        action = straight(observation, env)
        if rng is not None:
            action = ((1.0 - noise) * action + noise * rng.uniform(-1.0, 1.0, 2)).astype(np.float32)
        observation, _, over, _, _ = advance(env, action)


def main(rig_name: str, before: int) -> str:
    """Return hash and length of one seed's episode, after `before` others full of contacts."""
    env = ArmEnv(rig=rig_name)
    rng = np.random.default_rng(before)
    for k in range(before):
        # By turns: grasped and lifted, knocked over by jaws that come down askew, missed altogether.
        play(env, seed=k, rng=None if k % 3 == 0 else rng, noise=0.35 if k % 3 == 1 else 1.0)
    transcript = Transcript()
    env.loop = ControlLoop(env.robot, env.robot, TrueBlock(env.robot), env.attempt, transcript)
    play(env, SEED, None)
    height_mm = 1000.0 * env.world.block_pose().position_m[2]
    env.close()
    return f"{transcript.digest.hexdigest()} {transcript.periods} {height_mm:.6f}"


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2])))  # noqa: T201
