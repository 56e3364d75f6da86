"""Demonstrations as a learner reads them: what fits, what they hold, and what of them is learnt from."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from policies.demonstrations import Demonstration, Demonstrations
from policies.errors import UnfitDemonstrations

STATE = gymnasium.spaces.Box(-4.0, 4.0, (2,), np.float32)
PICTURE = gymnasium.spaces.Box(0.0, 3.0, (1, 4, 4), np.float16)
ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
DICT = gymnasium.spaces.Dict({"state": STATE, "wrist_depth": PICTURE})


def attempt(*rewards: float, terminated: bool = True, first: float = 0.0) -> Demonstration:
    """An attempt in which decision k sees first + k, does (first + k) / 100, and is worth what is given."""
    at = first + np.arange(len(rewards) + 1, dtype=np.float32)
    return Demonstration(
        {"state": np.stack([at, -at], axis=1), "wrist_depth": np.ones((len(at), 1, 4, 4), np.float16)},
        at[:-1, None] / 100.0,
        np.array(rewards),
        terminated,
    )


SHOWN = Demonstrations((attempt(1.0, 2.0, 4.0), attempt(8.0, 16.0, terminated=False, first=10.0)))


def test_only_what_a_learner_reads_is_kept_and_one_array_alone_has_no_name() -> None:
    fitted = SHOWN.fitted(STATE, ACTIONS, ("state",))
    assert [list(one.observations) for one in fitted.attempts] == [["observation"], ["observation"]]
    np.testing.assert_array_equal(fitted.seen(STATE)["observation"][:, 0], [0, 1, 2, 10, 11])
    assert list(SHOWN.fitted(DICT, ACTIONS, ()).seen(DICT, ("wrist_depth",))) == ["wrist_depth"]


@pytest.mark.parametrize(
    ("shown", "space", "actions", "said"),
    [
        (Demonstrations(()), STATE, ACTIONS, "no demonstration"),
        (SHOWN, gymnasium.spaces.Box(-1, 1, (3,), np.float32), ACTIONS, "the worlds show (3,)"),
        (SHOWN, gymnasium.spaces.Dict({"state": STATE, "top_depth": PICTURE}), ACTIONS, "None for 'top_depth'"),
        (SHOWN, STATE, gymnasium.spaces.Box(-1, 1, (2,), np.float32), "actions (3, 1)"),
        (SHOWN, STATE, gymnasium.spaces.Discrete(3), "Discrete(3)"),
        (Demonstrations((replace(attempt(1.0), actions=np.full((1, 1), 1.5, np.float32)),)), STATE, ACTIONS, "-1 to 1"),
        (Demonstrations((replace(attempt(1.0), actions=np.full((1, 1), np.nan, np.float32)),)), STATE, ACTIONS, "to 1"),
        (Demonstrations((attempt(),)), STATE, ACTIONS, "0 actions"),
    ],
)
def test_demonstrations_of_other_worlds_are_refused(
    shown: Demonstrations, space: gymnasium.Space[object], actions: gymnasium.Space[object], said: str
) -> None:
    with pytest.raises(UnfitDemonstrations) as refused:
        shown.fitted(space, actions, ("state",))
    assert said in str(refused.value)


def test_a_replay_of_them_has_their_returns_and_bootstraps_where_time_ran_out() -> None:
    """Two decisions together at discount 0.5, rewards times 10: by hand."""
    replay = SHOWN.fitted(STATE, ACTIONS, ("state",)).replay(STATE, 1, 0.5, 2, reward_scale=10.0)
    assert len(replay) == 5
    batch = replay.sample(400, np.random.default_rng(0))
    rows = {
        (now[0].item(), round(100 * action.item()), reward.item(), discount.item(), then[0].item())
        for now, action, reward, discount, then in zip(
            batch.observations["observation"], batch.actions, batch.rewards, batch.discounts,
            batch.following["observation"], strict=True,
        )
    }  # fmt: skip
    assert rows == {
        (0.0, 0, 20.0, 0.25, 2.0),  # 10 + 0.5 * 20
        (1.0, 1, 40.0, 0.0, 3.0),  # 20 + 0.5 * 40, and the task was over
        (2.0, 2, 40.0, 0.0, 3.0),
        (10.0, 10, 160.0, 0.25, 12.0),  # 80 + 0.5 * 160, the time was over
        (11.0, 11, 160.0, 0.5, 12.0),
    }


def test_a_chunk_is_what_was_done_from_there_to_the_end() -> None:
    done, was_done = SHOWN.chunks(2)
    np.testing.assert_allclose(100 * done[:, :, 0], [[0, 1], [1, 2], [2, 0], [10, 11], [11, 0]], atol=1e-5)
    np.testing.assert_array_equal(was_done[:, 1], [True, True, False, True, False])
    assert was_done[:, 0].all()


def test_other_demonstrations_have_another_hash() -> None:
    changed = replace(SHOWN.attempts[0], rewards=np.array([1.0, 2.0, 4.5]))
    assert SHOWN.sha256 == Demonstrations(SHOWN.attempts).sha256
    assert len({SHOWN.sha256, Demonstrations(SHOWN.attempts[:1]).sha256, Demonstrations((changed,)).sha256}) == 3
