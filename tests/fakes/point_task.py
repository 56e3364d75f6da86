"""`tandem train` on the tiny task of `point_env`."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from policies.config import TrainConfig
from policies.learner_config import PpoConfig, SacConfig
from sim.vector_worker import WorldFactory
from tests.fakes.odd_worlds import FailingTask, StagedEnv, choosing, unreadable
from tests.fakes.point_env import PointEnv, PointTask

__all__ = ["POINT", "PRESETS", "PointEnv", "PointTask"]

POINT = TrainConfig(
    task="point",
    action_repeat=1,
    discount=0.9,
    reward_scale=3.0,
    sac=SacConfig(
        hidden=(32, 32),
        learning_rate=3e-3,
        batch_size=64,
        updates_per_decision=0.5,
        warm_up=200,
        target_rate=0.01,
        entropy_per_action=-0.5,
    ),
    ppo=PpoConfig(hidden=(32, 32), learning_rate=3e-3, rollout_steps=64, batch_size=64),
    max_decisions=6_000,
    evaluate_every=500,
    evaluation_episodes=20,
    final_episodes=20,
    checkpoint_every=100,
)
#: One world in one process, and no evaluation that could end it early.
ALONE = dataclasses.replace(POINT, workers=1, evaluate_every=700, stop_evaluations=99)
PRESETS = {
    "grasp": POINT,  # what `tandem train` takes where no preset is named
    "point": POINT,
    "point-slow": POINT,
    "point-mortal": POINT,
    "point-staged": POINT,
    "point-choosing": POINT,
    "point-unreadable": POINT,
    "point-alone-slow": ALONE,
}


def environments(config: TrainConfig, rig: str) -> PointTask:
    """Stand in for the simulation in `scripts.train.run`."""
    return PointTask()


def slow_environments(config: TrainConfig, rig: str) -> PointTask:
    """Like `environments`, at 2 ms a step."""
    return PointTask(step_s=0.002)


def mortal_environments(config: TrainConfig, rig: str) -> FailingTask:
    """Like `slow_environments`, but world 0 kills its worker at every step while $TANDEM_DATA/0 exists."""
    return FailingTask("step", "die", Path(os.environ["TANDEM_DATA"]), step_s=0.002)


def staged_environments(config: TrainConfig, rig: str) -> WorldFactory:
    """Worlds with stages; every episode in them is a success."""
    return StagedEnv


#: By the last word of the preset's name, which a resumed run's name ends with.
ENVIRONMENTS: Mapping[str, Callable[[TrainConfig, str], WorldFactory]] = {
    "point": environments,
    "slow": slow_environments,
    "mortal": mortal_environments,
    "staged": staged_environments,
    "choosing": lambda config, rig: choosing,
    "unreadable": lambda config, rig: unreadable,
}


def main() -> int:
    """Run `tandem train` on this task: the process that tests interrupt and kill."""
    from scripts import main as tandem
    from scripts.commands import Command

    tandem.COMMANDS["train"] = Command("train on the point", _train)
    return tandem.main(["train", *sys.argv[1:]])


def _train(words: Sequence[str]) -> int:
    from scripts.train import run
    from scripts.train_settings import parse

    args = parse(words, PRESETS)
    name = args.preset if args.resume is None else args.resume.partition("_seed")[0]
    return run(args, ENVIRONMENTS.get(name.rpartition("-")[2], environments), PRESETS)


if __name__ == "__main__":
    sys.exit(main())
