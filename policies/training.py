"""One training run: learn while the workers simulate, evaluate, keep checkpoints, stop when it is good enough."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback

from policies.artifact import PolicyManifest
from policies.checkpoint import Checkpoint, Counters, read_newest, save_checkpoint
from policies.config import TrainConfig
from policies.errors import WorkerDied
from policies.evaluation import EvaluationResult
from policies.export import export_policy
from policies.metrics import EvaluationRow, MetricsFile, TrainRow
from policies.sb3 import (
    DeterministicActor,
    build_sac,
    capture,
    entropy_coefficient,
    policy_tensors,
    replay_observations,
    restore,
    restore_policy,
)
from policies.workers import (
    EnvironmentFactory,
    EpisodeRecord,
    TrainingWorkers,
    evaluate_workers,
    start_workers,
    stop_workers,
)

#: Episodes behind the success rate of the progress line.
_RECENT = 100
#: Decisions between two rows of training metrics.
_ROW_EVERY = 250
_PROGRESS_EVERY_S = 0.25
_GOLDEN_PAIRS = 64
_NO_PROGRESS = Counters(0, 0, 0, 0.0, 0, None, 0, 0)

End = Literal["success", "budget", "interrupted"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. `success_rate` is of the last training episodes, `evaluated` of the last evaluation.

    `eta_s` is the time to the end of the budget: the run ends earlier when it is good enough.
    """

    phase: Literal["train", "evaluate", "export"]
    decisions: int
    max_decisions: int
    episodes: int
    success_rate: float
    evaluated: float | None
    wall_s: float
    eta_s: float | None


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
    environment: EnvironmentFactory,
    folder: Path,
    manifest: PolicyManifest,
    seed: int,
    hooks: Hooks | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train into `folder` (checkpoints, metrics, tensorboard, policy) and return how it ended.

    `resume` goes on from the newest sound checkpoint. A run that is stopped by `hooks.should_stop` leaves one.
    """
    torch.set_num_threads(config.torch_threads)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, environment, folder, manifest, seed, hooks or Hooks(), resume)
    try:
        return run.finish(run.learn())
    except (EOFError, ConnectionError) as error:
        raise WorkerDied(
            "a simulation process ended by itself; its own error stands above. "
            f"What was learnt is in {folder / 'checkpoints'}: --resume {folder.name} goes on from there"
        ) from error
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        environment: EnvironmentFactory,
        folder: Path,
        manifest: PolicyManifest,
        seed: int,
        hooks: Hooks,
        resume: bool,
    ) -> None:
        self._start = time.monotonic()
        self._config, self._folder, self._manifest, self._seed, self._hooks = config, folder, manifest, seed, hooks
        self._checkpoints = folder / "checkpoints"
        recovered = read_newest(self._checkpoints, "last") if resume else None
        self._counters = recovered.checkpoint.counters if recovered else _NO_PROGRESS
        self._wall_before_s = self._counters.wall_s
        self._simulations = start_workers(environment, config.workers)
        self._judges = start_workers(environment, config.workers)
        self._workers = TrainingWorkers(self._simulations, config.reward_scale)
        self._model = build_sac(config, self._workers, seed, folder / "tensorboard")
        self._actor = DeterministicActor(self._model)
        self._metrics = MetricsFile(folder / "metrics.jsonl", self._counters.decisions if recovered else None)
        if recovered:
            restore(self._model, recovered.checkpoint)
            # The simulations themselves are not saved: new episodes, other than those the run began with.
            fresh = np.random.SeedSequence([seed, self._counters.decisions]).generate_state(1)[0]
            self._workers.seed(int(fresh))
            for reason in recovered.refused:
                hooks.on_note(f"damaged checkpoint left out: {reason}")
            hooks.on_note(f"going on from {recovered.path.name}: {self._counters.decisions} decisions")
        self._recent: deque[EpisodeRecord] = deque(maxlen=_RECENT)
        self._row: list[EpisodeRecord] = []
        self._row_at = self._counters.decisions
        self._evaluated: float | None = None
        self._learning_from = self._counters.decisions
        self._progress_s = self._saved_s = self._learning_s = time.monotonic()
        self.end: End | None = None

    def close(self) -> None:
        """End the worker processes and close the files."""
        self._metrics.close()
        self._model.logger.close()
        stop_workers(self._simulations)
        stop_workers(self._judges)

    # Learning --------------------------------------------------------------------------------------------------------
    def learn(self) -> End:
        """Run until the policy is good enough, the budget is spent or somebody stops it."""
        if self._counters.streak >= self._config.stop_evaluations:
            return "success"
        self._workers.while_stepping = self._update
        self._learning_s = time.monotonic()
        remaining = self._config.max_decisions - self._counters.decisions
        if remaining > 0:
            self._model.learn(
                remaining,
                callback=_BetweenSteps(self),
                log_interval=10**9,  # metrics and TensorBoard are written by this class
                reset_num_timesteps=False,
            )
        if self.end is not None:
            # The step that told SB3 to stop was counted, but is not in the replay buffer: it does not count.
            self._model.num_timesteps = self._counters.decisions
        self._count()
        if self.end is None and self._counters.decisions > self._counters.last_evaluation:
            self._evaluate()
        if self.end is None:
            self.end = "budget"
        if self.end != "interrupted":
            self.save()
        return self.end

    def _update(self) -> None:
        if self._model.num_timesteps > self._config.learning_starts:
            self._model.train(self._config.updates_per_step, self._config.batch_size)

    def between_steps(self) -> None:
        """Do what is due while no step is under way: count, report, evaluate, save, stop."""
        self._count()
        now = time.monotonic()
        if self._hooks.should_stop():
            self.save()
            self.end = "interrupted"
            return
        if now - self._progress_s >= _PROGRESS_EVERY_S:
            self._report("train")
            self._progress_s = now
        if self._counters.decisions - self._row_at >= _ROW_EVERY:
            self._write_row()
        if self._counters.decisions - self._counters.last_evaluation >= self._config.evaluate_every:
            self._evaluate()
            if self.end is not None:
                return
        if now - self._saved_s >= self._config.checkpoint_every_s:
            self.save()

    def _count(self) -> None:
        finished = self._workers.take_finished()
        self._recent.extend(finished)
        self._row.extend(finished)
        self._counters = msgspec.structs.replace(
            self._counters,
            decisions=self._model.num_timesteps,
            episodes=self._counters.episodes + len(finished),
            updates=self._model._n_updates,
            wall_s=self._wall_before_s + time.monotonic() - self._start,
        )

    def _report(self, phase: Literal["train", "evaluate", "export"]) -> None:
        counters, budget = self._counters, self._config.max_decisions
        spent_s = time.monotonic() - self._learning_s
        rate = (counters.decisions - self._learning_from) / spent_s if spent_s > 0 else 0.0
        self._hooks.on_progress(
            Progress(
                phase=phase,
                decisions=counters.decisions,
                max_decisions=budget,
                episodes=counters.episodes,
                success_rate=sum(e.success for e in self._recent) / max(1, len(self._recent)),
                evaluated=self._evaluated,
                wall_s=counters.wall_s,
                eta_s=(budget - counters.decisions) / rate if rate > 0 else None,
            )
        )

    def _write_row(self) -> None:
        episodes, counters = self._row, self._counters
        self._row, self._row_at = [], counters.decisions
        if not episodes:
            return
        row = TrainRow(
            decisions=counters.decisions,
            episodes=counters.episodes,
            updates=counters.updates,
            wall_s=counters.wall_s,
            success_rate=float(np.mean([e.success for e in episodes])),
            mean_return=float(np.mean([e.total for e in episodes])),
            mean_decisions=float(np.mean([e.decisions for e in episodes])),
            entropy_coefficient=entropy_coefficient(self._model),
        )
        self._metrics.write(row)
        logger = self._model.logger
        logger.record("train/success_rate", row.success_rate)
        logger.record("train/return", row.mean_return)
        logger.record("train/decisions_per_episode", row.mean_decisions)
        logger.dump(counters.decisions)

    # Judging ---------------------------------------------------------------------------------------------------------
    def _evaluate(self) -> None:
        self._report("evaluate")
        # The same episodes every time: two evaluations differ by the policy alone.
        judged = evaluate_workers(
            self._actor,
            self._judges,
            self._config.evaluation_episodes,
            self._seed + 1_000_003,
            self._hooks.should_stop,
            screening=self._config.screening_episodes,
        )
        self._count()
        if judged is None:
            self.save()
            self.end = "interrupted"
            return
        self._evaluated = judged.success_rate
        good = judged.success_rate >= self._config.stop_success_rate
        self._counters = msgspec.structs.replace(
            self._counters,
            last_evaluation=self._counters.decisions,
            streak=self._counters.streak + 1 if good else 0,
        )
        self._metrics.write(
            EvaluationRow(
                decisions=self._counters.decisions,
                wall_s=self._counters.wall_s,
                successes=judged.successes,
                episodes=judged.episodes,
                mean_return=judged.mean_return,
                mean_decisions=judged.mean_decisions,
            )
        )
        self._model.logger.record("evaluation/success_rate", judged.success_rate)
        self._model.logger.record("evaluation/return", judged.mean_return)
        self._model.logger.dump(self._counters.decisions)
        self._keep_best(judged)
        self._report("train")
        if self._counters.streak >= self._config.stop_evaluations:
            self.end = "success"

    def _keep_best(self, judged: EvaluationResult) -> None:
        counters = self._counters
        score = (judged.success_rate, judged.mean_return)
        if counters.best_score is not None and score < counters.best_score:
            return
        self._counters = msgspec.structs.replace(counters, best_score=score, best_decisions=counters.decisions)
        save_checkpoint(self._checkpoints, "best", Checkpoint(self._counters, policy_tensors(self._model)))

    def save(self) -> None:
        """Write the checkpoint that `resume` goes on from."""
        save_checkpoint(self._checkpoints, "last", capture(self._model, self._counters))
        self._saved_s = time.monotonic()

    # The end ---------------------------------------------------------------------------------------------------------
    def finish(self, end: End) -> TrainResult:
        """Export the best policy and judge it on new episodes; an interrupted run is left as it stands."""
        final: EvaluationResult | None = None
        self._write_row()
        if end != "interrupted":
            self._report("export")
            best = read_newest(self._checkpoints, "best")
            for reason in best.refused:
                self._hooks.on_note(f"damaged checkpoint left out: {reason}")
            restore_policy(self._model, best.checkpoint)
            observations = replay_observations(self._model, _GOLDEN_PAIRS, self._seed)
            exported = export_policy(self._folder / "policy", self._actor, self._manifest, observations)
            self._report("evaluate")
            # Other episodes than those that chose the policy, which it did well on partly by luck.
            final = evaluate_workers(
                exported, self._judges, self._config.final_episodes, self._seed + 2_000_003, self._hooks.should_stop
            )
        self._count()
        counters = self._counters
        if final is None:
            end = "interrupted"
        return TrainResult(
            end,
            counters.decisions,
            counters.episodes,
            counters.updates,
            counters.wall_s,
            final,
            counters.best_decisions,
        )


class _BetweenSteps(BaseCallback):
    """Stable-Baselines3's way to be called before each step, and to be told to stop."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def _on_rollout_start(self) -> None:
        self._run.between_steps()

    def _on_step(self) -> bool:
        return self._run.end is None
