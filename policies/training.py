"""One training run: learn while the workers simulate, evaluate, keep checkpoints, stop when it is good enough."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from policies.artifact import PolicyManifest
from policies.checkpoint import Checkpoint, Recovered, read_newest, save_checkpoint
from policies.config import TrainConfig
from policies.evaluation import EvaluationResult
from policies.export import export_policy
from policies.ledger import Ledger, Progress
from policies.onnx_policy import OnnxPolicy
from policies.replay import ALONE
from policies.sb3 import (
    AveragedActor,
    VectorAdapter,
    Worlds,
    actor_tensors,
    build_sac,
    capture,
    entropy_coefficient,
    replay_observations,
    restore,
    restore_actor,
)
from policies.workers import Curriculum, TrainingWorkers, evaluate_workers

_GOLDEN_PAIRS = 64

End = Literal["success", "budget", "interrupted"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended. `final` is the exported policy on episodes that chose nothing; None when interrupted."""

    end: End
    decisions: int
    episodes: int
    updates: int
    wall_s: float
    final: EvaluationResult | None
    policy_decisions: int


@dataclass(frozen=True, slots=True)
class Hooks:
    """How the outside follows and ends a run; `on_note` receives sentences that a person must see."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_note: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False


def train(
    config: TrainConfig,
    simulations: Worlds,
    judges: Worlds,
    folder: Path,
    manifest: PolicyManifest,
    seed: int,
    hooks: Hooks | None = None,
    resume: bool = False,
    curriculum: Curriculum | None = None,
) -> TrainResult:
    """Train into `folder` (checkpoints, metrics, tensorboard, policy) and return how it ended.

    Learns in `simulations` and judges policies in `judges`, which stay the caller's to close. `curriculum` is the one
    that `simulations` follow, if any: its state is kept with the run. `resume` goes on from the newest sound
    checkpoint. A run that is stopped by `hooks.should_stop` leaves one.
    """
    torch.set_num_threads(config.torch_threads)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, simulations, judges, folder, manifest, seed, hooks or Hooks(), resume, curriculum)
    try:
        return run.finish(run.learn())
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        simulations: Worlds,
        judges: Worlds,
        folder: Path,
        manifest: PolicyManifest,
        seed: int,
        hooks: Hooks,
        resume: bool,
        curriculum: Curriculum | None,
    ) -> None:
        self._config, self._folder, self._manifest, self._seed, self._hooks = config, folder, manifest, seed, hooks
        self._checkpoints = folder / "checkpoints"
        recovered = read_newest(self._checkpoints, "last") if resume else None
        self._ledger = Ledger(config, folder, recovered.checkpoint.counters if recovered else None, hooks.on_progress)
        self._curriculum = curriculum
        self._judges = VectorAdapter(judges)
        self._workers = TrainingWorkers(VectorAdapter(simulations), config.reward_scale)
        self._model = build_sac(config, self._workers, seed, folder / "tensorboard")
        self._actor = AveragedActor(self._model)
        if recovered:
            self._restore(recovered)
        self._saved_s = time.monotonic()
        self.end: End | None = None

    def _restore(self, recovered: Recovered) -> None:
        restore(self._model, self._actor, recovered.checkpoint)
        if self._curriculum is not None and recovered.checkpoint.curriculum:
            self._curriculum.resume(recovered.checkpoint.curriculum.encode())
        decisions = recovered.checkpoint.counters.decisions
        # The simulations themselves are not saved: new episodes, other than those the run began with.
        self._workers.seed(_derived_seed(self._seed, decisions, "resumed"))
        for reason in recovered.refused:
            self._hooks.on_note(f"damaged checkpoint left out: {reason}")
        self._hooks.on_note(f"going on from {recovered.path.name}: {decisions} decisions")

    def close(self) -> None:
        """Close the files."""
        self._ledger.close()
        self._model.logger.close()

    # Learning --------------------------------------------------------------------------------------------------------
    def learn(self) -> End:
        """Run until the policy is good enough, the budget is spent or somebody stops it."""
        ledger, config = self._ledger, self._config
        if ledger.counters.streak >= config.stop_evaluations:
            return "success"
        self._workers.while_stepping = self._update
        ledger.begin_learning()
        remaining = config.max_decisions - ledger.counters.decisions
        if remaining > 0:
            self._model.learn(
                remaining,
                callback=_BetweenSteps(self),
                log_interval=10**9,  # the ledger writes metrics and TensorBoard
                reset_num_timesteps=False,
            )
        if self.end is not None:
            # The step that told SB3 to stop was counted, but is not in the replay buffer: it does not count.
            self._model.num_timesteps = ledger.counters.decisions
        self._count()
        if self.end is None and ledger.counters.decisions > ledger.counters.last_evaluation:
            self._evaluate()
        if self.end is None:
            self.end = "budget"
        if self.end != "interrupted":
            self.save()
        return self.end

    def _update(self) -> None:
        config = self._config
        if self._model.num_timesteps > config.learning_starts:
            self._model.train(config.updates_per_step, config.batch_size)
            # The average begins where the actor begins to learn: nearly all of it, then less and less.
            share = max(config.averaging_rate, 1.0 / (1.0 + self._model._n_updates / config.updates_per_step))
            self._actor.follow(self._model, min(1.0, share * config.updates_per_step))

    def between_steps(self) -> None:
        """Do what is due while no step is under way: count, report, evaluate, save, stop."""
        self._count()
        if self._hooks.should_stop():
            self._interrupt()
            return
        self._ledger.show_now_and_then()
        if self._ledger.row_is_due:
            self._write_row()
        counters = self._ledger.counters
        if counters.decisions - counters.last_evaluation >= self._config.evaluate_every:
            self._evaluate()
        if self.end is None and time.monotonic() - self._saved_s >= self._config.checkpoint_every_s:
            self.save()

    def _write_row(self) -> None:
        stage = self._curriculum.index if self._curriculum else None
        self._ledger.write_row(entropy_coefficient(self._model), stage, self._model.logger)

    def _count(self) -> None:
        lost = self._workers.take_lost()
        if lost:
            self._hooks.on_note(f"a simulation process died and was started again; episodes lost with it: {lost}")
        self._ledger.count(self._model.num_timesteps, self._model._n_updates, self._workers.take_finished())

    def _interrupt(self) -> None:
        self.save()
        self.end = "interrupted"

    def save(self) -> None:
        """Write the checkpoint that `resume` goes on from."""
        state = self._curriculum.capture().decode() if self._curriculum else ""
        checkpoint = capture(self._model, self._actor, self._ledger.counters)
        save_checkpoint(self._checkpoints, "last", dataclasses.replace(checkpoint, curriculum=state))
        self._saved_s = time.monotonic()

    def _evaluate(self) -> None:
        self._ledger.show("evaluate")
        # Other episodes every time: two good evaluations in a row must not be one lucky draw.
        seed = _derived_seed(self._seed, self._ledger.counters.decisions, "evaluation")
        config, stop = self._config, self._hooks.should_stop
        judged = evaluate_workers(
            self._actor, self._judges, config.evaluation_episodes, seed, stop, config.screening_episodes
        )
        self._count()
        if judged is None:
            self._interrupt()
            return
        if self._ledger.write_evaluation(judged, self._model.logger):
            save_checkpoint(self._checkpoints, "best", Checkpoint(self._ledger.counters, actor_tensors(self._actor)))
        self._ledger.show("train")
        if self._ledger.counters.streak >= self._config.stop_evaluations:
            self.end = "success"

    # The end ---------------------------------------------------------------------------------------------------------
    def finish(self, end: End) -> TrainResult:
        """Export the best policy and judge it on new episodes; an interrupted run is left as it stands."""
        final: EvaluationResult | None = None
        self._write_row()
        if end != "interrupted":
            exported = self._export()
            self._ledger.show("evaluate")
            # Episodes that chose nothing: the best of several evaluations is partly luck.
            seed = _derived_seed(self._seed, 0, "final")
            final = evaluate_workers(exported, self._judges, self._config.final_episodes, seed, self._hooks.should_stop)
        self._count()
        counters = self._ledger.counters
        return TrainResult(
            end=end if final else "interrupted",
            decisions=counters.decisions,
            episodes=counters.episodes,
            updates=counters.updates,
            wall_s=counters.wall_s,
            final=final,
            policy_decisions=counters.best_decisions,
        )

    def _export(self) -> OnnxPolicy:
        self._ledger.show("export")
        best = read_newest(self._checkpoints, "best")
        for reason in best.refused:
            self._hooks.on_note(f"damaged checkpoint left out: {reason}")
        restore_actor(self._actor, best.checkpoint)
        observations = replay_observations(self._model, _GOLDEN_PAIRS, self._seed)
        return export_policy(self._folder / "policy", self._actor, self._manifest, {ALONE: observations})


def _derived_seed(seed: int, decisions: int, purpose: Literal["resumed", "evaluation", "final"]) -> int:
    """Return a seed of its own for each purpose; kept below 2^31, since workers add their index."""
    entropy = [seed, decisions, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1


class _BetweenSteps(BaseCallback):
    """Stable-Baselines3's way to be called before each step, and to be told to stop."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def _on_rollout_start(self) -> None:
        self._run.between_steps()

    def _on_step(self) -> bool:
        return self._run.end is None
