"""What every learner must do behind the one interface: be kept and go on, say its loss, and learn."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policies.checkpoint import Checkpoint, Counters, read_newest, save_checkpoint
from policies.config import Algorithm, DistillConfig, PpoConfig, SacConfig, TrainConfig
from policies.distill import imitation_loss
from policies.errors import ArtifactError, BadConfig, CheckpointError, NotFinite, UnfitWorlds
from policies.learner import Learner
from policies.training import make_learner, train
from policies.workers import Stepper, Worlds
from tests.fakes.point_env import PointEnv
from tests.fakes.policy_folder import make_manifest

COUNTERS = Counters(100, 9, 50, 3.5, 80, (0.5, 1.0), 80, 1)
TINY = TrainConfig(
    task="point",
    sac=SacConfig(hidden=(16, 16), learning_rate=3e-3, batch_size=32, warm_up=20, updates_per_decision=0.5),
    ppo=PpoConfig(hidden=(16, 16), rollout_steps=16, epochs=2, batch_size=16),
)
every_learner = pytest.mark.parametrize("algo", ["sac", "ppo", "sb3-sac", "sb3-ppo"])


class Seen(gymnasium.ObservationWrapper):
    """The point, with a picture of it and what only a critic may read."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        box = gymnasium.spaces.Box
        self.observation_space = gymnasium.spaces.Dict(
            {
                "state": env.observation_space,
                "wrist_depth": box(0.0, 3.0, (1, 64, 64), np.float16),
                "privileged": box(-4.0, 4.0, (2,), np.float32),
            }
        )

    def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
        depth = np.full((1, 64, 64), abs(observation[0]), np.float16)
        return {"state": observation, "wrist_depth": depth, "privileged": observation}


def worlds_of(make: Callable[[], gymnasium.Env], count: int = 2) -> Worlds:
    return SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.SAME_STEP)  # pyright: ignore[reportReturnType]


def run(learner: Learner, stepper: Stepper, steps: int, seed: int) -> None:
    """Do what the training loop does between two checkpoints."""
    learner.begin(stepper.reset(seed))
    for _ in range(steps):
        stepper.send(learner.act(stepper.observations))
        learner.improve()
        learner.take_in(stepper.wait())


def weights(learner: Learner) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in learner.policy.state_dict().values()]


@every_learner
def test_a_restored_learner_goes_on_exactly_as_the_one_that_was_kept(algo: Algorithm, tmp_path: Path) -> None:
    config = replace(TINY, algo=algo)
    worlds = worlds_of(PointEnv)
    kept = make_learner(config, worlds, 0)
    run(kept, Stepper(worlds), 61, seed=1)  # in the middle of a rollout
    save_checkpoint(tmp_path, "last", Checkpoint(COUNTERS, kept.capture()))
    before = weights(kept)
    run(kept, Stepper(worlds), 60, seed=2)
    expected, updates = weights(kept), kept.updates

    restored = make_learner(config, worlds, 5)
    restored.restore(read_newest(tmp_path, "last").checkpoint.learner)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(restored), strict=True))
    run(restored, Stepper(worlds), 60, seed=2)
    assert restored.updates == updates > 0
    assert all(torch.equal(a, b) for a, b in zip(expected, weights(restored), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before, expected, strict=True))


@pytest.mark.parametrize("algo", ["ppo", "sb3-ppo"])
def test_resets_more_often_than_rollouts_do_not_keep_it_from_learning(algo: Algorithm) -> None:
    worlds = worlds_of(PointEnv)
    learner = make_learner(replace(TINY, algo=algo), worlds, 0)
    stepper = Stepper(worlds)
    for k in range(4):
        run(learner, stepper, 7, seed=k)  # a rollout is 16 steps
    assert learner.updates > 0


@every_learner
def test_another_network_is_refused(algo: Algorithm, tmp_path: Path) -> None:
    worlds = worlds_of(PointEnv)
    kept = make_learner(replace(TINY, algo=algo), worlds, 0)
    run(kept, Stepper(worlds), 40, seed=1)
    state = kept.capture()
    other = replace(TINY, algo=algo, sac=replace(TINY.sac, hidden=(32,)), ppo=replace(TINY.ppo, hidden=(32,)))
    with pytest.raises(CheckpointError, match="the settings"):
        make_learner(other, worlds, 0).restore(state)


@every_learner
def test_what_was_met_and_what_is_said_can_be_read(algo: Algorithm) -> None:
    worlds = worlds_of(PointEnv)
    learner = make_learner(replace(TINY, algo=algo), worlds, 0)
    run(learner, Stepper(worlds), 60, seed=1)
    met = learner.seen(20, np.random.default_rng(0))
    assert {name: part.shape for name, part in met.items()} == {"observation": (20, 2)}
    assert np.abs(met["observation"]).max() <= 4.0
    said = learner.scalars()
    assert len(said) >= 2
    assert all(np.isfinite(value) for value in said.values())
    actions = learner.policy({"observation": torch.from_numpy(np.asarray(met["observation"], np.float32))})
    assert actions.shape == (20, 2)
    assert float(actions.detach().abs().max()) <= 1.0


@every_learner
def test_pictures_and_numbers_are_learnt_from_together(algo: Algorithm) -> None:
    def seen() -> gymnasium.Env:
        return gymnasium.wrappers.FilterObservation(Seen(PointEnv()), ["state", "wrist_depth"])

    config = replace(TINY, algo=algo, sees=("state", "wrist_depth"))
    worlds = worlds_of(seen)
    learner = make_learner(config, worlds, 0)
    before = weights(learner)
    run(learner, Stepper(worlds), 24, seed=1)
    assert learner.updates > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(learner), strict=True))
    met = learner.seen(4, np.random.default_rng(0))
    assert met["wrist_depth"].shape == (4, 1, 64, 64)


DISTILL = replace(
    TINY,
    algo="distill",
    sees=("wrist_depth",),
    critic_sees=("privileged",),
    distill=DistillConfig(teacher_decisions=60, hidden=(16,), batch_size=16),
)


def test_a_student_learns_what_its_teacher_would_do_and_goes_on_from_what_was_kept(tmp_path: Path) -> None:
    worlds = worlds_of(lambda: Seen(PointEnv()))
    learner = make_learner(DISTILL, worlds, 0)
    run(learner, Stepper(worlds), 40, seed=1)
    taught = learner.updates
    first = learner.scalars()["imitation"]
    save_checkpoint(tmp_path, "last", Checkpoint(COUNTERS, learner.capture()))
    run(learner, Stepper(worlds), 80, seed=2)
    assert learner.updates > taught
    assert learner.scalars()["imitation"] < 0.7 * first
    restored = make_learner(DISTILL, worlds, 5)
    restored.restore(read_newest(tmp_path, "last").checkpoint.learner)
    run(restored, Stepper(worlds), 80, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(weights(learner), weights(restored), strict=True))
    other = replace(DISTILL, distill=replace(DISTILL.distill, hidden=(8,)))
    with pytest.raises(CheckpointError, match="network"):
        make_learner(other, worlds, 0).restore(learner.capture())


def test_the_imitation_loss_by_hand() -> None:
    # (0.1^2 + 0.2^2 + 0^2 + 1^2) / 2
    done, wanted = torch.tensor([[0.5, 0.0], [1.0, -1.0]]), torch.tensor([[0.4, 0.2], [1.0, 0.0]])
    assert imitation_loss(done, wanted).item() == pytest.approx(0.525)


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_critics_may_read_what_the_policy_may_not(algo: Algorithm) -> None:
    config = replace(TINY, algo=algo, sees=("wrist_depth",), critic_sees=("privileged",))
    worlds = worlds_of(lambda: Seen(PointEnv()))
    learner = make_learner(config, worlds, 0)
    run(learner, Stepper(worlds), 24, seed=1)
    met = learner.seen(4, np.random.default_rng(0))
    assert set(met) == {"wrist_depth"}
    assert learner.policy({"wrist_depth": torch.from_numpy(np.asarray(met["wrist_depth"]))}).shape == (4, 2)


@pytest.mark.parametrize("algo", ["sb3-sac", "sb3-ppo"])
def test_what_is_for_a_critic_alone_reaches_no_actor_that_shares_its_input(algo: Algorithm) -> None:
    with pytest.raises(UnfitWorlds, match="for a critic alone"):
        make_learner(replace(TINY, algo=algo), worlds_of(lambda: Seen(PointEnv())), 0)


@pytest.mark.parametrize("algo", ["sac", "sb3-sac", "sb3-ppo"])
def test_actions_that_it_cannot_take_are_refused(algo: Algorithm) -> None:
    worlds = worlds_of(lambda: gymnasium.make("CartPole-v1"))
    with pytest.raises(UnfitWorlds, match="Box of actions"):
        make_learner(replace(TINY, algo=algo), worlds, 0)


def test_the_average_begins_with_the_policy_and_then_follows_slowly() -> None:
    from policies.off_policy import OffPolicy

    worlds = worlds_of(PointEnv)
    learner = make_learner(TINY, worlds, 0)
    assert isinstance(learner, OffPolicy)
    run(learner, Stepper(worlds), 11, seed=1)  # the warm-up and the first updates
    assert learner.updates == 1

    def far() -> float:
        pairs = zip(learner.average.parameters(), learner.sac.policy.parameters(), strict=True)
        return max(float((mine - live).detach().abs().max()) for mine, live in pairs)

    first = far()
    run(learner, Stepper(worlds), 200, seed=2)
    assert first < 5e-3  # half of Adam's first step at most
    assert far() > 2 * first


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_refused_and_not_needed() -> None:
    worlds = worlds_of(PointEnv)
    with pytest.raises(BadConfig, match="finds no GPU here; valid: auto, cpu"):
        make_learner(replace(TINY, device="cuda"), worlds, 0)
    assert make_learner(replace(TINY, device="auto"), worlds, 0).policy is not None
    with pytest.raises(BadConfig, match="algo sb3-sac learns on the CPU"):
        replace(TINY, algo="sb3-sac", device="cuda")


def judged(space: str) -> Worlds:
    return worlds_of(lambda: OnePart(Seen(PointEnv()), space))


class OnePart(gymnasium.ObservationWrapper):
    """One part of a Dict alone, as judges show it."""

    def __init__(self, env: gymnasium.Env, name: str) -> None:
        super().__init__(env)
        self._name = name
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        self.observation_space = env.observation_space[name]

    def observation(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return observation[self._name]


SHORT = replace(
    TINY, max_decisions=80, evaluate_every=40, evaluation_episodes=2, screening_episodes=0, film_every_min=0.0
)


def test_a_policy_of_one_part_is_judged_where_critics_read_others(tmp_path: Path) -> None:
    config = replace(SHORT, sees=("wrist_depth",), critic_sees=("privileged",))
    worlds, judges = worlds_of(lambda: Seen(PointEnv())), judged("wrist_depth")
    # The whole loop, up to the export: that needs the arm of the manifest.
    with pytest.raises(ArtifactError, match="the manifest says that the policy reads"):
        train(config, worlds, judges, tmp_path, make_manifest(), 0)
    assert list(tmp_path.glob("checkpoints/best_*"))


class Exploding(PointEnv):
    """Rewards beyond all measure."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:  # pyright: ignore
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 1e30, terminated, truncated, info


def test_a_loss_that_is_no_number_ends_the_run_and_is_named(tmp_path: Path) -> None:
    config = replace(SHORT, sac=replace(TINY.sac, warm_up=4), reward_scale=1e30, max_decisions=400)
    with pytest.raises(
        NotFinite, match=r"decision \d+, update \d+: .*(critic|mean_value|actor|actions).*no checkpoint yet"
    ):
        train(config, worlds_of(Exploding), worlds_of(PointEnv), tmp_path, make_manifest(), 0)


@pytest.mark.parametrize("algo", ["sb3-sac", "sb3-ppo"])
def test_what_had_learnt_nothing_yet_goes_on_as_well(algo: Algorithm) -> None:
    worlds = worlds_of(PointEnv)
    kept = make_learner(replace(TINY, algo=algo), worlds, 0)
    run(kept, Stepper(worlds), 3, seed=1)
    restored = make_learner(replace(TINY, algo=algo), worlds, 5)
    restored.restore(kept.capture())
    assert all(torch.equal(a, b) for a, b in zip(weights(kept), weights(restored), strict=True))


def test_the_policy_can_be_copied_right_after_a_rollout_was_learnt_from() -> None:
    worlds = worlds_of(PointEnv)
    learner = make_learner(replace(TINY, algo="sb3-ppo"), worlds, 0)
    run(learner, Stepper(worlds), TINY.ppo.rollout_steps, seed=1)
    assert learner.updates > 0
    copy.deepcopy(learner.policy)
