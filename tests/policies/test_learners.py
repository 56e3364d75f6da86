"""What every learner must do behind the one interface: be kept and go on, say its loss, and learn."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policies.checkpoint import Checkpoint, Counters, read_newest, save_checkpoint
from policies.config import Algorithm, TrainConfig
from policies.distill import imitation_loss
from policies.errors import ArtifactError, BadConfig, CheckpointError, NotFinite, UnfitWorlds
from policies.learner import Learner, WorldStep
from policies.learner_config import DistillConfig, Head, PpoConfig, SacConfig
from policies.learners import make_learner
from policies.parts import Parts
from policies.sb3_ppo import Sb3Ppo
from policies.sb3_sac import Sb3Sac
from policies.training import train
from policies.workers import Stepper, Worlds
from tests.fakes.odd_worlds import unreadable
from tests.fakes.point_env import PointEnv
from tests.fakes.policy_folder import make_manifest

COUNTERS = Counters(100, 9, 50, 3.5, 80, (0.5, 1.0), 80, 1)
TINY = TrainConfig(
    task="point",
    sac=SacConfig(hidden=(16, 16), learning_rate=3e-3, batch_size=32, warm_up=20, updates_per_decision=0.5),
    ppo=PpoConfig(hidden=(16, 16), rollout_steps=16, epochs=2, batch_size=16),
)
DISTILL = replace(
    TINY,
    algo="distill",
    sees=("wrist_depth",),
    critic_sees=("privileged",),
    distill=DistillConfig(teacher_decisions=60, hidden=(16,), batch_size=16),
)
LEARNERS: tuple[Algorithm, ...] = ("sac", "ppo", "sb3-sac", "sb3-ppo")
every_learner = pytest.mark.parametrize("algo", LEARNERS)


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


def as_tensors(parts: Parts) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.asarray(part)) for name, part in parts.items()}


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


@pytest.mark.parametrize("algo", [*LEARNERS, "distill"])
def test_a_restored_learner_says_and_has_met_what_the_one_that_was_kept_has(algo: Algorithm, tmp_path: Path) -> None:
    config = replace(DISTILL, algo=algo) if algo == "distill" else replace(TINY, algo=algo)
    worlds = worlds_of(lambda: Seen(PointEnv())) if algo == "distill" else worlds_of(PointEnv)
    kept = make_learner(config, worlds, 0)
    run(kept, Stepper(worlds), 50, seed=1)  # two steps after a rollout of 16
    kept.scalars()  # a row is written before every checkpoint
    save_checkpoint(tmp_path, "last", Checkpoint(COUNTERS, kept.capture()))
    said = kept.scalars()
    run(kept, Stepper(worlds), 3, seed=2)
    expected = kept.seen(32, np.random.default_rng(0))

    restored = make_learner(config, worlds, 5)
    restored.restore(read_newest(tmp_path, "last").checkpoint.learner)
    assert restored.scalars() == said != {}
    run(restored, Stepper(worlds), 3, seed=2)
    met = restored.seen(32, np.random.default_rng(0))
    assert {name: len(part) for name, part in met.items()} == dict.fromkeys(expected, 32)
    for name, part in expected.items():
        np.testing.assert_array_equal(met[name], part)


@pytest.mark.parametrize("algo", ["sac", "sb3-sac", "distill"])
@pytest.mark.parametrize(("rate", "count"), [(0.25, 1), (0.5, 1), (0.75, 2), (1.5, 1)])
def test_what_is_left_of_an_update_is_carried_over(algo: Algorithm, rate: float, count: int) -> None:
    base = replace(DISTILL, algo=algo) if algo == "distill" else replace(TINY, algo=algo)
    config = replace(
        base,
        sac=replace(TINY.sac, warm_up=8, updates_per_decision=rate),
        distill=replace(DISTILL.distill, teacher_decisions=12, updates_per_decision=rate),
    )
    worlds = worlds_of(lambda: Seen(PointEnv()) if algo == "distill" else PointEnv(), count)
    learner = make_learner(config, worlds, 0)
    run(learner, Stepper(worlds), 8 // count, seed=1)
    assert learner.updates == 0
    run(learner, Stepper(worlds), 20, seed=2)
    restored = make_learner(config, worlds, 0)
    restored.restore(learner.capture())
    run(restored, Stepper(worlds), 20, seed=3)
    assert (learner.updates, restored.updates) == (20 * count * rate, 40 * count * rate)


def observed(values: Sequence[float]) -> Parts:
    """What each world sees: its value, 100 more per world, twice."""
    column = np.array([value + 100.0 * world for world, value in enumerate(values)], np.float32)
    return {"observation": np.repeat(column[:, None], 2, axis=1)}


def step_to(value: float, lost: Collection[int] = ()) -> WorldStep:
    """A step of two worlds to `value`, which is the reward as well; that of a lost world leads to 50 and tells lies."""
    cut = np.array([world in lost for world in range(2)])
    following = observed([50.0 if world in lost else value for world in range(2)])
    last = {world: {"observation": np.full(2, 999.0, np.float32)} for world in lost}
    rewards = np.where(cut, 999.0, value)
    return WorldStep(
        np.zeros((2, 2), np.float32), rewards, np.zeros(2, np.bool_), cut, following, last, frozenset(lost)
    )


def live(learner: Learner, lost: Collection[int]) -> None:
    """Go 1 2 3 4 5, the step to 4 being lost in some worlds, and after a reset 20 21 22."""
    now = observed([1.0, 1.0])
    learner.begin(now)
    for value in (2.0, 3.0, 4.0, 5.0, 21.0, 22.0):
        if value == 21.0:
            now = observed([20.0, 20.0])
            learner.begin(now)
        learner.act(now)
        step = step_to(value, lost if value == 4.0 else ())
        learner.take_in(step)
        now = step.following


@pytest.mark.parametrize("lost", [{0}, {1}, {0, 1}])
@pytest.mark.parametrize("steps", [1, 2])
def test_sb3s_sac_learns_nothing_from_lost_steps_nor_across_a_reset(steps: int, lost: set[int]) -> None:
    config = replace(TINY, algo="sb3-sac", discount=0.5, sac=replace(TINY.sac, steps=steps))
    learner = make_learner(config, worlds_of(PointEnv), 0)
    assert isinstance(learner, Sb3Sac)
    live(learner, lost)
    assert learner._model.replay_buffer is not None
    batch = learner._model.replay_buffer.sample(2000)
    columns = (batch.observations, batch.rewards, batch.next_observations)
    met = {(float(a[0]), float(r), float(b[0])) for a, r, b in zip(*columns, strict=True)}  # pyright: ignore
    expected: set[tuple[float, float, float]] = set()
    for world in range(2):
        # What was seen, the return over one or two steps, and what was seen then.
        rows = [(1, 2, 2), (2, 3, 3), (20, 21, 21), (21, 22, 22)]
        rows += [(50, 5, 5)] if world in lost else [(3, 4, 4), (4, 5, 5)]
        if steps == 2:
            rows = [(1, 2 + 1.5, 3), (20, 21 + 11, 22), (21, 22, 22)]
            rows += [(2, 3, 3), (50, 5, 5)] if world in lost else [(2, 3 + 2, 4), (3, 4 + 2.5, 5), (4, 5, 5)]
            # What stands in the row of the lost one.
            rows += [(3, 4, 4)] if lost == {1 - world} else []
        expected |= {(float(a + 100 * world), float(r), float(b + 100 * world)) for a, r, b in rows}
    assert met == expected
    assert not batch.dones.any()


@pytest.mark.parametrize("lost", [{0}, {1}, {0, 1}])
def test_sb3s_ppo_learns_nothing_from_lost_steps_nor_across_a_reset(
    lost: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, algo="sb3-ppo", discount=0.5, ppo=replace(TINY.ppo, rollout_steps=6, gae_lambda=1.0))
    learner = make_learner(config, worlds_of(PointEnv), 0)
    assert isinstance(learner, Sb3Ppo)
    model = learner._model
    rollouts: list[dict[float, float]] = []

    def look() -> None:
        buffer = model.rollout_buffer
        assert isinstance(buffer.observations, np.ndarray)
        seen = buffer.observations[..., 0].ravel().tolist()
        rollouts.append(dict(zip(seen, buffer.returns.ravel().tolist(), strict=True)))

    monkeypatch.setattr(model, "train", look)
    live(learner, lost)
    expected: dict[float, float] = {}
    for world in range(2):

        def after(seen: float, offset: float = 100.0 * world) -> float:
            """What is expected of the last that was seen before a cut."""
            return 0.5 * float(model.policy.predict_values(torch.full((1, 2), seen + offset)).detach())

        returns = {21.0: 22.0 + after(22.0), 20.0: 21.0 + 0.5 * (22.0 + after(22.0))}
        if world in lost:
            returns |= {50.0: 5.0 + after(5.0), 2.0: 3.0 + after(3.0), 1.0: 2.0 + 0.5 * (3.0 + after(3.0))}
        else:
            returns[4.0] = 5.0 + after(5.0)
            for seen in (3.0, 2.0, 1.0):
                returns[seen] = seen + 1.0 + 0.5 * returns[seen + 1.0]
        expected |= {seen + 100.0 * world: value for seen, value in returns.items()}
    assert rollouts == [pytest.approx(expected, rel=1e-5)]


def test_sb3s_ppo_learns_nothing_from_a_rollout_that_is_lost() -> None:
    worlds = worlds_of(PointEnv)
    learner = make_learner(replace(TINY, algo="sb3-ppo", ppo=replace(TINY.ppo, rollout_steps=2)), worlds, 0)
    learner.begin(observed([1.0, 1.0]))
    for lost, updates in (((0, 1), 0), ((0, 1), 0), ((1,), 0), ((0, 1), TINY.ppo.epochs)):
        learner.act(observed([1.0, 1.0]))
        learner.take_in(step_to(2.0, lost))
        assert learner.updates == updates


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


@pytest.mark.parametrize("algo", ["ppo", "sb3-sac", "sb3-ppo"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_other_worlds_went_through_is_refused(algo: Algorithm, count: int) -> None:
    kept = make_learner(replace(TINY, algo=algo), worlds_of(PointEnv), 0)
    run(kept, Stepper(worlds_of(PointEnv)), 20, seed=1)
    with pytest.raises(CheckpointError, match="the settings that it was begun with"):
        make_learner(replace(TINY, algo=algo), worlds_of(PointEnv, count), 0).restore(kept.capture())


@pytest.mark.parametrize("algo", ["ppo", "sb3-ppo"])
def test_a_longer_rollout_is_refused(algo: Algorithm) -> None:
    kept = make_learner(replace(TINY, algo=algo), worlds_of(PointEnv), 0)
    run(kept, Stepper(worlds_of(PointEnv)), 14, seed=1)
    shorter = replace(TINY, algo=algo, ppo=replace(TINY.ppo, rollout_steps=8))
    with pytest.raises(CheckpointError, match=r"rollout.*the settings that it was begun with"):
        make_learner(shorter, worlds_of(PointEnv), 0).restore(kept.capture())


@pytest.mark.parametrize("algo", LEARNERS)
def test_parts_that_no_learner_can_read_are_refused(algo: Algorithm) -> None:
    with pytest.raises(UnfitWorlds, match=r"part 'word' is Discrete\(3\); learners read a Box or a Dict of Boxes"):
        make_learner(replace(TINY, algo=algo), worlds_of(lambda: unreadable(0)), 0)


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
def test_one_encoder_serves_both_in_whichever_order_they_name_their_parts(algo: Algorithm) -> None:
    config = replace(TINY, algo=algo, sees=("state", "wrist_depth"))
    worlds = worlds_of(lambda: Seen(PointEnv()))

    def size(critic_sees: tuple[str, ...]) -> int:
        learner = make_learner(replace(config, critic_sees=critic_sees), worlds, 0)
        run(learner, Stepper(worlds), 24, seed=1)
        assert learner.policy(as_tensors(learner.seen(4, np.random.default_rng(0)))).shape == (4, 2)
        return sum(tensor.numel() for tensor in learner.capture().tensors.values())

    assert size(("wrist_depth", "state")) == size(("state", "wrist_depth")) < size(("wrist_depth",))


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


class Turning(PointEnv):
    """A choice of four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Discrete(4)  # pyright: ignore

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:  # pyright: ignore
        ways = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
        return super().step(ways[int(action)])


@pytest.mark.parametrize(
    ("algo", "head", "make"),
    [
        ("ppo", Head.GAUSSIAN, PointEnv),
        ("ppo", Head.BETA, PointEnv),
        ("ppo", Head.GAUSSIAN, Turning),
        ("sb3-ppo", Head.GAUSSIAN, PointEnv),
    ],
)
def test_weights_that_are_no_numbers_end_the_run_in_the_rollout_that_made_them(
    tmp_path: Path, algo: Algorithm, head: Head, make: Callable[[], gymnasium.Env[Any, Any]]
) -> None:
    ppo = replace(TINY.ppo, head=head, learning_rate=1e25)
    config = replace(SHORT, algo=algo, ppo=ppo, max_decisions=2_000, evaluate_every=100_000)
    with pytest.raises(NotFinite, match=r"decision (\d+), update .*no checkpoint yet") as raised:
        train(config, worlds_of(make), worlds_of(make), tmp_path, make_manifest(), 0)
    at = re.search(r"decision ([\d,]+)", str(raised.value))
    assert at is not None
    assert int(at[1].replace(",", "")) <= 3 * TINY.ppo.rollout_steps


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
