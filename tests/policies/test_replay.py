"""The replay memory: what is summed, where an episode ends, what is overwritten."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from policies.errors import BadConfig, CheckpointError
from policies.learner import WorldStep
from policies.parts import Parts
from policies.replay import Replay

SPACE = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
NO, YES = np.array([False]), np.array([True])


def seen(value: float) -> Parts:
    return {"observation": np.array([[value]], np.float32)}


def memory(steps: int, capacity: int = 100) -> Replay:
    replay = Replay(SPACE, 1, 1, capacity, 0.5, steps)
    replay.begin(seen(0.0))
    return replay


def transitions(replay: Replay) -> set[tuple[float, float, float, float, float]]:
    """Return (observation, action, reward, discount, following) of everything that can be drawn."""
    batch = replay.sample(500, np.random.default_rng(0))
    columns = (
        batch.observations["observation"][:, 0],
        batch.actions[:, 0],
        batch.rewards,
        batch.discounts,
        batch.following["observation"][:, 0],
    )
    return set(zip(*(c.tolist() for c in columns), strict=True))


def act(replay: Replay, action: float, reward: float, following: float) -> None:
    replay.add(WorldStep(np.array([[action]], np.float32), np.array([reward]), NO, NO, seen(following), {}))


def test_rewards_of_several_steps_are_discounted_and_summed() -> None:
    replay = memory(steps=3)
    for k in range(4):
        act(replay, 10.0 + k, float(k + 1), float(k + 1))
    # 1 + 2/2 + 3/4 and 2 + 3/2 + 4/4; the other two wait for what follows.
    assert transitions(replay) == {(0.0, 10.0, 2.75, 0.125, 3.0), (1.0, 11.0, 4.5, 0.125, 4.0)}
    assert len(replay) == 2


@pytest.mark.parametrize(("terminated", "truncated"), [(YES, NO), (NO, YES)])
def test_an_episodes_end_closes_what_waits(terminated: np.ndarray, truncated: np.ndarray) -> None:
    replay = memory(steps=3)
    act(replay, 10.0, 1.0, 1.0)
    last = {0: {"observation": np.array([9.0])}}
    actions = np.array([[11.0]], np.float32)
    replay.add(WorldStep(actions, np.array([2.0]), terminated, truncated, seen(50.0), last))
    # Cut off, the last observation still has a value; terminated, it has none.
    left = 0.0 if terminated[0] else 1.0
    assert transitions(replay) == {(0.0, 10.0, 2.0, 0.25 * left, 9.0), (1.0, 11.0, 2.0, 0.5 * left, 9.0)}
    act(replay, 12.0, 0.0, 51.0)
    act(replay, 13.0, 0.0, 52.0)
    act(replay, 14.0, 0.0, 53.0)
    assert (50.0, 12.0, 0.0, 0.125, 53.0) in transitions(replay)


def test_of_a_lost_episode_only_what_was_complete_is_kept() -> None:
    replay = memory(steps=2)
    for k in range(3):
        act(replay, 10.0 + k, 1.0, k + 1.0)
    lost = WorldStep(np.array([[13.0]], np.float32), np.zeros(1), NO, YES, seen(50.0), {0: seen(3.0)}, frozenset({0}))
    replay.add(lost)
    act(replay, 14.0, 0.0, 51.0)
    act(replay, 15.0, 0.0, 52.0)
    assert {(row[0], row[1], row[4]) for row in transitions(replay)} == {(0, 10, 2), (1, 11, 3), (50, 14, 52)}


def test_the_oldest_is_overwritten_and_nothing_half_overwritten_is_drawn() -> None:
    replay = memory(steps=2, capacity=10)
    for k in range(200):
        act(replay, float(k), float(k), float(k + 1))
        if k > 3:
            for observation, action, reward, discount, following in transitions(replay):
                assert action == observation
                assert following == observation + 2
                assert reward == observation + 0.5 * (observation + 1)
                assert discount == 0.25
                assert observation > k - 10


def test_worlds_do_not_mix() -> None:
    replay = Replay(SPACE, 1, 3, 300, 0.5, 2)
    replay.begin({"observation": np.array([[0.0], [100.0], [200.0]], np.float32)})
    for k in range(20):
        following = {"observation": np.array([[k + 1.0], [k + 101.0], [k + 201.0]], np.float32)}
        running = np.zeros(3, bool)
        replay.add(WorldStep(np.zeros((3, 1), np.float32), np.ones(3), running, running, following, {}))
    assert all(following == observation + 2 for observation, _, _, _, following in transitions(replay))


def test_pictures_stay_as_small_as_they_came() -> None:
    space = gymnasium.spaces.Dict(
        {
            "rgb": gymnasium.spaces.Box(0, 255, (3, 4, 4), np.uint8),
            "depth": gymnasium.spaces.Box(0.0, 3.0, (1, 4, 4), np.float16),
            "state": gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64),
        }
    )
    arrays = Replay(space, 1, 1, 10, 0.9).arrays
    assert [arrays[f"seen.{n}"].dtype for n in ("rgb", "depth", "state")] == [np.uint8, np.float16, np.float32]


def test_what_was_captured_is_drawn_again() -> None:
    replay = memory(steps=1)
    for k in range(7):
        act(replay, float(k), 1.0, float(k + 1))
    copy = Replay(SPACE, 1, 1, 100, 0.5, 1)
    copy.restore(replay.capture())
    first, second = (r.sample(20, np.random.default_rng(5)) for r in (replay, copy))
    assert first.actions.tolist() == second.actions.tolist()
    with pytest.raises(CheckpointError, match="replay"):
        Replay(SPACE, 2, 1, 100, 0.5, 1).restore(replay.capture())
    with pytest.raises(CheckpointError, match="no replay"):
        copy.restore({})


def test_nothing_to_draw_and_too_little_room_are_errors() -> None:
    with pytest.raises(ValueError, match="no transition"):
        memory(steps=1).sample(4, np.random.default_rng(0))
    with pytest.raises(BadConfig, match="capacity"):
        Replay(SPACE, 1, 4, 10, 0.9, 3)
