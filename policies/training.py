"""One training run: learn while the worlds step, evaluate, keep checkpoints, stop when it is good enough.

A checkpoint is taken when an episode ends, and there all worlds begin anew, with seeds that follow from the run's seed
and its decisions; who stops a run, or lets its budget end, has one at once, wherever the episodes are. So a run that
was killed goes on from its last checkpoint exactly as if it had never been: bit for bit with one world on a CPU; with
several worlds in several processes as well, as long as none of these dies.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from bridge.ports import StatefulEnv
from policies.artifact import PolicyManifest
from policies.checkpoint import Recovered
from policies.config import TrainConfig
from policies.demonstrations import Demonstrations
from policies.errors import NotFinite
from policies.evaluation import EvaluationResult
from policies.export import export_policy, network_actions
from policies.films import Filmer, Films
from policies.kept import KeptCheckpoints
from policies.learner import LearnerState
from policies.learners import make_learner
from policies.ledger import Ledger, Progress
from policies.onnx_policy import OnnxPolicy
from policies.parts import ALONE, Parts
from policies.precision import choose_precision
from policies.workers import BatchPolicy, Curriculum, Stepper, Worlds, evaluate_workers

#: Observations on which the exported policy must agree with the trained one.
_COMPARED = 1_000

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
    """How the outside follows, films and ends a run; `on_note` receives sentences that a person must see.

    `evaluation_seed` has every evaluation play the same episodes, for those who compare them; None: others every time.
    `on_begin` is called once, when nothing can be refused any more.
    """

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_note: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False
    film: Filmer | None = None
    evaluation_seed: int | None = None
    on_begin: Callable[[], None] = lambda: None


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
    demonstrations: Demonstrations | None = None,
) -> TrainResult:
    """Train into `folder` (checkpoints, metrics, tensorboard, films, policy) and return how it ended.

    Learns in `simulations`, whose state is kept with the run where they are a StatefulEnv, and judges policies in
    `judges`; both stay the caller's to close. `curriculum` is the one that `simulations` follow, if any: its stage is
    logged. `demonstrations` are what bc and sac learn from besides. `resume` goes on from the newest sound checkpoint.
    A run that is stopped by `hooks.should_stop` leaves one.
    Raises NotFinite where an observation, a reward or a loss is no number: nothing that it spoilt is kept.
    """
    torch.set_num_threads(config.torch_threads)
    choose_precision()
    run = _Run(
        config, simulations, judges, folder, manifest, seed, hooks or Hooks(), resume, curriculum, demonstrations
    )
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
        demonstrations: Demonstrations | None,
    ) -> None:
        self._config, self._folder, self._manifest, self._seed, self._hooks = config, folder, manifest, seed, hooks
        self._judges, self._curriculum = judges, curriculum
        self._stepper = Stepper(simulations)
        # What may be refused comes before anything is written.
        self._learner = make_learner(config, simulations, seed, demonstrations)
        self._named = isinstance(simulations.single_observation_space, gymnasium.spaces.Dict)
        self._kept = KeptCheckpoints(folder, config, manifest, hooks.on_note)
        recovered = self._kept.recover() if resume else None
        if recovered:
            self._restore(recovered)
        hooks.on_begin()
        folder.mkdir(parents=True, exist_ok=True)
        counters = recovered.checkpoint.counters if recovered else None
        self._ledger = Ledger(config, folder, counters, hooks.on_progress, hooks.on_note)
        self._saved_at = self._ledger.counters.decisions
        self._films = Films(folder, config.film_every_min, hooks.film, self._saved_at if recovered else None)
        self._over = False
        self.end: End | None = None

    def _restore(self, recovered: Recovered) -> None:
        self._learner.restore(recovered.checkpoint.learner)
        if isinstance(worlds := self._stepper.worlds, StatefulEnv):
            worlds.restore(recovered.checkpoint.worlds.encode())
        self._kept.go_on_from(recovered)

    def close(self) -> None:
        """Close the files."""
        self._ledger.close()

    # Learning --------------------------------------------------------------------------------------------------------
    def learn(self) -> End:
        """Run until the policy is good enough, the budget is spent or somebody stops it."""
        ledger, config = self._ledger, self._config
        if ledger.counters.streak >= config.stop_evaluations:
            return "success"
        ledger.begin_learning()
        try:
            self._begin()
            while self.end is None and ledger.counters.decisions < config.max_decisions:
                self._step()
                self._between_steps()
            if self.end is None and ledger.counters.decisions > ledger.counters.last_evaluation:
                self._evaluate()
            if self.end is None:
                self.end = "budget"
            if self.end != "interrupted":
                self._save()
        except NotFinite as error:
            where = f"decision {ledger.counters.decisions:,}, update {self._learner.updates:,}"
            raise NotFinite(f"{where}: {error}; {self._kept.last_good()}") from error
        return self.end

    def _begin(self) -> None:
        """Begin new episodes in all worlds: which ones follows from the seed and the decisions so far."""
        seed = _derived_seed(self._seed, self._ledger.counters.decisions, "episodes")
        self._learner.begin(self._stepper.reset(seed))

    def _step(self) -> None:
        actions = self._learner.act(self._stepper.observations)
        if not np.isfinite(actions).all():
            self._check(self._learner.scalars())
            raise NotFinite(f"the actions of the learner are {actions.tolist()}")
        self._stepper.send(actions)
        self._learner.improve()
        step = self._stepper.wait()
        rewards = step.rewards * self._config.reward_scale
        self._learner.take_in(step._replace(rewards=rewards))
        self._count(self._ledger.counters.decisions + self._stepper.count)
        self._over = bool((step.terminated | step.truncated).any())

    def _between_steps(self) -> None:
        """Report, evaluate, save, stop: what is due while no step is under way."""
        if self._hooks.should_stop():
            self._interrupt()
            return
        ledger, config = self._ledger, self._config
        ledger.show_now_and_then()
        if ledger.row_is_due:
            self._write_row()
        counters = ledger.counters
        if counters.decisions - counters.last_evaluation >= config.evaluate_every:
            self._evaluate()
        if self.end is None and self._over and counters.decisions - self._saved_at >= config.checkpoint_every:
            self._save()
            self._begin()

    def _write_row(self) -> None:
        scalars = self._learner.scalars()
        self._check(scalars)
        self._ledger.write_row(scalars, self._curriculum.index if self._curriculum else None)

    def _check(self, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            if not np.isfinite(value):
                raise NotFinite(
                    f"what the learner says of {name} is {value}: a smaller learning rate or reward scale may help"
                )

    def _count(self, decisions: int) -> None:
        stepper = self._stepper
        self._tell_lost("a simulation process", stepper.lost)
        finished = [record for _, record in stepper.finished]
        stepper.finished, stepper.lost = [], 0
        self._ledger.count(decisions, self._learner.updates, finished)

    def _tell_lost(self, what: str, episodes: int) -> None:
        if episodes:
            self._hooks.on_note(f"{what} died and was started again; episodes lost with it: {episodes}")

    def _interrupt(self) -> None:
        self._save()
        self.end = "interrupted"

    def _save(self) -> None:
        """Write the checkpoint that `resume` goes on from; where there is no room, the one before stays."""
        self._write_row()  # A loss that is no number must not be saved.
        worlds = self._stepper.worlds
        state = worlds.state().decode() if isinstance(worlds, StatefulEnv) else ""
        self._saved_at = self._ledger.counters.decisions
        self._kept.keep_last(self._ledger.counters, self._learner.capture(), state)

    def _evaluate(self) -> None:
        self._ledger.show("evaluate")
        # Other episodes every time: two good evaluations in a row must not be one lucky draw.
        seed = self._hooks.evaluation_seed
        if seed is None:
            seed = _derived_seed(self._seed, self._ledger.counters.decisions, "evaluation")
        config, stop = self._config, self._hooks.should_stop
        # Judges show what a policy reads and no more: one part alone has no name there.
        name = config.sees[0] if len(config.sees) == 1 and self._named else ALONE
        policy = _NetworkPolicy(copy.deepcopy(self._learner.policy).cpu(), name)
        judged = evaluate_workers(
            policy, self._judges, config.evaluation_episodes, seed, stop, config.screening_episodes
        )
        self._count(self._ledger.counters.decisions)
        if judged is None:
            self._interrupt()
            return
        self._tell_lost("a simulation process that judges", judged.lost)
        if self._ledger.write_evaluation(judged):
            weights = {
                name: tensor.detach().cpu().clone() for name, tensor in self._learner.policy.state_dict().items()
            }
            self._kept.keep_best(self._ledger.counters, LearnerState(weights))
        if self._films.due:
            self._film(policy, seed)
        self._ledger.show("train")
        if self._ledger.counters.streak >= self._config.stop_evaluations:
            self.end = "success"

    def _film(self, policy: BatchPolicy, seed: int) -> None:
        """Film the first episode of the first judge. The clock decides when: nothing is learnt from a film."""
        self._ledger.show("film")
        try:
            self._ledger.show_film(self._films.make(policy.act_batch, seed, self._ledger.counters.decisions))
        except Exception as error:  # whatever a simulator or a full disk raises: no film is worth a run
            self._hooks.on_note(f"no film of the policy: {type(error).__name__}: {error}")

    # The end ---------------------------------------------------------------------------------------------------------
    def finish(self, end: End) -> TrainResult:
        """Export the best policy and judge it on new episodes; an interrupted run is left as it stands."""
        final: EvaluationResult | None = None
        if end != "interrupted":
            exported = self._export()
            self._ledger.show("evaluate")
            # Episodes that chose nothing: the best of several evaluations is partly luck.
            seed = _derived_seed(self._seed, 0, "final")
            policy, stop = _ExportedPolicy(exported), self._hooks.should_stop
            final = evaluate_workers(policy, self._judges, self._config.final_episodes, seed, stop)
            self._tell_lost("a simulation process that judges", final.lost if final else 0)
        self._count(self._ledger.counters.decisions)
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
        policy = self._learner.policy
        policy.load_state_dict(self._kept.best().tensors)
        observations = self._learner.seen(_COMPARED, np.random.default_rng(self._seed))
        return export_policy(self._folder / "policy", policy, self._manifest, observations)


@dataclass(frozen=True, slots=True)
class _NetworkPolicy:
    network: torch.nn.Module
    alone: str

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        parts = {self.alone: observations[ALONE]} if ALONE in observations else observations
        actions = network_actions(self.network, parts)
        if not np.isfinite(actions).all():
            raise NotFinite(f"the policy's actions are {actions.tolist()}")
        return actions


@dataclass(frozen=True, slots=True)
class _ExportedPolicy:
    policy: OnnxPolicy

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        return self.policy.act_batch(observations.get(ALONE, observations))


def _derived_seed(seed: int, decisions: int, purpose: Literal["episodes", "evaluation", "final"]) -> int:
    """Return a seed of its own for each purpose; kept below 2^31, since worlds add their index."""
    entropy = [seed, decisions, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0]) >> 1
