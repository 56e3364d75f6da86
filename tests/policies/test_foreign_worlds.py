"""Worlds and checkpoints from elsewhere: other number types, and runs whose meaning has changed."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from policies.learner_config import SacConfig
from policies.parts import ALONE, as_tensors
from policies.sac import Sac

ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (2,))


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.Box(-10, 10, (3,), np.float64),
        gymnasium.spaces.Box(-10, 10, (3,), np.int64),
        gymnasium.spaces.Box(-10, 10, (3,), np.float32),
    ],
    ids=lambda space: str(space.dtype),
)
def test_sac_acts_on_numbers_of_any_type(space: gymnasium.spaces.Box) -> None:
    learner = Sac(space, ACTIONS, SacConfig(), torch.Generator().manual_seed(0))
    actions = learner.act({ALONE: np.zeros((4, 3), space.dtype)})
    assert actions.shape == (4, 2)
    assert np.isfinite(actions).all()


def test_pictures_keep_their_type_and_everything_else_is_single_precision() -> None:
    parts = {
        "picture": np.zeros((1, 3, 8, 8), np.uint8),
        "depth": np.zeros((1, 1, 8, 8), np.float16),
        "x": np.zeros((1, 2)),
    }
    tensors = as_tensors(parts, parts)
    assert [tensors[name].dtype for name in parts] == [torch.uint8, torch.float16, torch.float32]
