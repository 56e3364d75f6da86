"""Worlds as the learners see them: the adapter to Stable-Baselines3, and the books of training and evaluation."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from policies.errors import NotFinite, UnfitWorlds
from policies.parts import Parts
from policies.sb3 import VectorAdapter
from policies.workers import Stepper, evaluate_workers, split_infos
from sim.vector import SharedVectorEnv
from tests.fakes.odd_worlds import Views, point
from tests.fakes.point_env import PointEnv


@pytest.fixture
def shared() -> Iterator[SharedVectorEnv]:
    """Four point worlds in two processes."""
    worlds = SharedVectorEnv(point, 4, 2)
    yield worlds
    worlds.close()


def same_step(count: int) -> Any:  # noqa: ANN401  Gymnasium types it by what its worlds observe
    return SyncVectorEnv([PointEnv] * count, autoreset_mode=AutoresetMode.SAME_STEP)


def compare(adapter: VectorAdapter, dummy: DummyVecEnv, steps: int) -> int:
    """Step both with the same actions until each world's first episode is over; return how many were truncated."""
    rng, over, cut = np.random.default_rng(2), np.zeros(dummy.num_envs, dtype=bool), 0
    adapter.seed(30)
    dummy.seed(30)
    np.testing.assert_array_equal(np.asarray(adapter.reset()), np.asarray(dummy.reset()))
    for _ in range(steps):
        actions = rng.uniform(-0.3, 0.3, (dummy.num_envs, 2)).astype(np.float32)
        ours, theirs = adapter.step(actions), dummy.step(actions)
        for world in np.flatnonzero(~over):
            assert ours[1][world] == pytest.approx(theirs[1][world], abs=1e-6)
            assert ours[2][world] == theirs[2][world]
            info, expected = ours[3][world], theirs[3][world]
            assert set(info) == set(expected)
            assert info["is_success"] == expected["is_success"]
            assert info["TimeLimit.truncated"] is expected["TimeLimit.truncated"]
            if theirs[2][world]:
                np.testing.assert_array_equal(info["terminal_observation"], expected["terminal_observation"])
                cut += info["TimeLimit.truncated"]
        over |= theirs[2]
    assert over.all()
    return cut


def test_the_adapter_says_what_sb3s_own_vector_says(shared: SharedVectorEnv) -> None:
    assert compare(VectorAdapter(shared), DummyVecEnv([PointEnv] * 4), 21) > 0
    # And so for any vector of Gymnasium, which need not be able to split a step.
    assert compare(VectorAdapter(same_step(3)), DummyVecEnv([PointEnv] * 3), 21) > 0


def test_dict_observations_and_reset_infos_pass_through() -> None:
    worlds = SharedVectorEnv(Views, 2, 2)
    adapter = VectorAdapter(worlds)
    adapter.set_options({"block": 3})
    first: Any = adapter.reset()
    assert set(first) == {"depth", "rgb", "state"}
    assert [info["options"] for info in adapter.reset_infos] == ["{'block': 3}"] * 2
    results: list[Any] = [adapter.step(np.array([4, 1])) for _ in range(3)]
    observations, _, dones, infos = results[-1]
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"]["state"].tolist() == [first["state"][0, 0], 3, 4]
    assert set(infos[0]) == {"is_success", "terminal_observation", "TimeLimit.truncated"}
    assert infos[1] == {"TimeLimit.truncated": False}
    assert adapter.reset_infos[0] == {"options": "None"}
    assert observations["depth"].dtype == np.float16
    adapter.close()
    assert worlds.closed


def test_a_learner_and_sb3s_evaluation_run_on_it(shared: SharedVectorEnv) -> None:
    adapter = VectorAdapter(shared)
    model = SAC("MlpPolicy", adapter, learning_starts=10, buffer_size=2_000, seed=1, policy_kwargs={"net_arch": [8]})
    model.learn(120)
    buffer = model.replay_buffer
    assert buffer is not None
    assert buffer.size() == 30
    # A time limit is not the end of the world: what follows it must still count.
    assert buffer.timeouts.sum() > 0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.warns(UserWarning, match="not wrapped with a ``Monitor``"):
        _, lengths = evaluate_policy(model, adapter, n_eval_episodes=4, return_episode_rewards=True)
    assert max(lengths) <= 20  # type: ignore[type-var]


def test_worlds_that_begin_anew_at_another_time_are_refused() -> None:
    with pytest.raises(UnfitWorlds, match=r"autoreset_mode must be .*SAME_STEP, got .*NEXT_STEP"):
        VectorAdapter(SyncVectorEnv([PointEnv], autoreset_mode=AutoresetMode.NEXT_STEP))  # type: ignore[arg-type]


def test_what_cannot_reach_other_processes_is_refused(shared: SharedVectorEnv) -> None:
    adapter = VectorAdapter(shared)
    assert adapter.get_attr("render_mode") == [None] * 4
    assert not adapter.has_attr("goal")
    with pytest.raises(AttributeError, match="'goal' cannot be set"):
        adapter.set_attr("goal", 1)
    with pytest.raises(AttributeError, match="'jump' cannot be called"):
        adapter.env_method("jump")
    adapter._options = [{"a": 1}, {}, {}, {}]
    with pytest.raises(UnfitWorlds, match="same options"):
        adapter.reset()


def test_infos_are_split_by_their_masks() -> None:
    mask = np.array([True, False, True])
    infos = {"a": np.array([1, 0, 3]), "_a": mask, "deep": {"b": np.array([0.5, 0, 2.5]), "_b": mask}, "_deep": mask}
    assert split_infos(infos, 3) == [{"a": 1, "deep": {"b": 0.5}}, {}, {"a": 3, "deep": {"b": 2.5}}]
    assert split_infos({}, 2) == [{}, {}]


# The books -------------------------------------------------------------------------------------------------------


def test_a_lost_episode_is_truncated_and_enters_no_book(shared: SharedVectorEnv) -> None:
    stepper = Stepper(shared)
    before = stepper.reset(3)["observation"]
    os.kill(shared.worker_pids[0], signal.SIGKILL)
    still = np.zeros((4, 2), np.float32)
    stepper.send(still)
    step = stepper.wait()
    assert step.lost == {0, 1}
    assert (step.truncated.tolist(), step.terminated.any()) == ([True, True, False, False], False)
    for world in (0, 1):
        np.testing.assert_array_equal(step.last[world]["observation"], before[world])
        assert step.rewards[world] == 0.0
    assert (stepper.finished, stepper.lost) == ([], 2)
    for _ in range(20):
        stepper.send(still)
        stepper.wait()
    lengths = [episode.decisions for _, episode in stepper.finished]
    assert lengths == [20] * 4, "the new episodes count from their own start"


def test_the_same_seed_begins_the_same_episodes(shared: SharedVectorEnv) -> None:
    stepper = Stepper(shared)
    first = stepper.reset(3)["observation"].copy()
    stepper.send(np.ones((4, 2), np.float32))
    stepper.wait()
    assert not np.array_equal(stepper.reset(4)["observation"], first)
    np.testing.assert_array_equal(stepper.reset(3)["observation"], first)


class Spoilt(PointEnv):
    """Says nothing sensible at its third step."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where, self._steps = where, 0

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        self._steps += 1
        if self._steps == 3 and self._where == "reward":
            reward = float("nan")
        elif self._steps == 3:
            observation[1] = np.inf
        return observation, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("where", "said"),
    [("reward", "the reward of world 0 is nan"), ("observation", "'observation' of the observation of world 0 is inf")],
)
def test_what_is_no_number_is_named(where: str, said: str) -> None:
    worlds = SyncVectorEnv([lambda: Spoilt(where), PointEnv], autoreset_mode=AutoresetMode.SAME_STEP)
    stepper = Stepper(worlds)  # pyright: ignore[reportArgumentType]
    stepper.reset(0)
    for _ in range(2):
        stepper.send(np.zeros((2, 2), np.float32))
        stepper.wait()
    stepper.send(np.zeros((2, 2), np.float32))
    with pytest.raises(NotFinite, match=said):
        stepper.wait()


class Straight:
    """Goes straight to the goal; kills a worker before its fifth decision."""

    def __init__(self, shared: SharedVectorEnv | None) -> None:
        self._shared, self._decisions = shared, 0

    def act_batch(self, observations: Parts) -> NDArray[np.float32]:
        self._decisions += 1
        if self._shared is not None and self._decisions == 5:
            os.kill(self._shared.worker_pids[0], signal.SIGKILL)
        return np.clip(np.asarray(observations["observation"], np.float32) / 0.3, -1.0, 1.0)


def test_an_evaluation_counts_whole_episodes_though_a_worker_dies(shared: SharedVectorEnv) -> None:
    undisturbed = evaluate_workers(Straight(None), shared, 40, 5, lambda: False)
    disturbed = evaluate_workers(Straight(shared), shared, 40, 5, lambda: False)
    assert undisturbed is not None
    assert disturbed is not None
    assert shared.lost_episodes >= 1
    assert (undisturbed.successes, undisturbed.episodes) == (disturbed.successes, disturbed.episodes) == (40, 40)
    again = evaluate_workers(Straight(None), shared, 40, 5, lambda: False)
    assert again is not None
    assert again.mean_return == undisturbed.mean_return


def test_an_evaluation_stops_when_told_and_after_a_bad_screening(shared: SharedVectorEnv) -> None:
    assert evaluate_workers(Straight(None), shared, 10, 0, lambda: True) is None

    class Idle:
        def act_batch(self, observations: Parts) -> NDArray[np.float32]:
            return np.zeros((4, 2), np.float32)

    judged = evaluate_workers(Idle(), shared, 100, 0, lambda: False, screening=8)
    assert judged is not None
    assert judged.episodes == 8
