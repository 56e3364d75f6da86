"""What a run keeps beside its learner, and what it tells of worlds that die."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policies import kept
from policies.checkpoint import read_newest
from policies.config import TrainConfig
from policies.errors import ArtifactError, CheckpointError
from policies.kept import can_be_resumed
from policies.learner_config import SacConfig
from policies.training import Hooks, train
from tests.fakes.point_env import PointEnv
from tests.fakes.policy_folder import make_manifest

TINY = TrainConfig(
    task="point",
    sac=SacConfig(hidden=(8,), batch_size=8, warm_up=20),
    max_decisions=60,
    evaluate_every=30,
    evaluation_episodes=2,
    screening_episodes=0,
    film_every_min=0.0,
)


class Worlds(SyncVectorEnv):
    """Two worlds in this process that count their resets: no seed says how many there were."""

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]] = PointEnv) -> None:
        super().__init__([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
        self.resets = 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401  as Gymnasium types it
        self.resets += 1
        return super().reset(**kwargs)

    def state(self) -> bytes:
        return str(self.resets).encode()

    def restore(self, state: bytes) -> None:
        self.resets = int(state)


def run(simulations: Any, judges: Any, folder: Path, hooks: Hooks, resume: bool = False) -> None:  # noqa: ANN401
    train(TINY, simulations, judges, folder, make_manifest(), 0, hooks, resume)


def test_the_state_of_any_worlds_that_have_one_is_kept_and_restored(tmp_path: Path) -> None:
    asked = iter([False] * 5 + [True] * 9)
    stopping = Hooks(should_stop=lambda: next(asked))
    worlds = Worlds()
    assert not can_be_resumed(tmp_path)
    worlds.resets = 40
    run(worlds, Worlds(), tmp_path, stopping)
    assert read_newest(tmp_path / "checkpoints", "last").checkpoint.worlds == "41"
    assert can_be_resumed(tmp_path)
    again = Worlds()
    run(again, Worlds(), tmp_path, Hooks(should_stop=lambda: True), resume=True)
    assert again.resets == 42
    assert read_newest(tmp_path / "checkpoints", "last").checkpoint.worlds == "42"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arm": "another"}, 'made for arm "[a-z]+" and not "another": resume'),
        ({"rig": "hanging"}, 'made for rig "table" and not "hanging": resume'),
        ({"action_repeat": 7}, r"made for action repeat \d and not 7: resume"),
        ({"arm_sha256": "0" * 64}, "made for another description of the arm: resume"),
    ],
)
def test_a_checkpoint_that_was_made_for_something_else_is_refused_though_all_sizes_fit(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    asked = iter([False] * 5 + [True] * 9)
    run(Worlds(), Worlds(), tmp_path, Hooks(should_stop=lambda: next(asked)))
    other = msgspec.structs.replace(make_manifest(), **change)
    with pytest.raises(CheckpointError, match=told):
        train(TINY, Worlds(), Worlds(), tmp_path, other, 0, Hooks(), resume=True)


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path: Path) -> None:
    asked = iter([False] * 5 + [True] * 9)
    run(Worlds(), Worlds(), tmp_path, Hooks(should_stop=lambda: next(asked)), resume=True)
    assert can_be_resumed(tmp_path)


def test_a_best_policy_that_found_no_room_is_written_when_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the only best policy is judged; the run's own checkpoints come through later."""
    write, refused = kept.save_checkpoint, list[str]()

    def full_once(root: Path, kind: str, *rest: Any, **more: Any) -> Path:  # noqa: ANN401
        if kind == "best" and not refused:
            refused.append(kind)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(root, kind, *rest, **more)

    monkeypatch.setattr(kept, "save_checkpoint", full_once)
    asked = iter([False] * 40 + [True] * 20)
    run(Worlds(), Worlds(), tmp_path, Hooks(should_stop=lambda: next(asked)))
    assert refused == ["best"]
    assert read_newest(tmp_path / "checkpoints", "best").checkpoint.learner.tensors


class Mortal(PointEnv):
    """A world whose first episode is lost with its process after two moves."""

    lost = False

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        if self._moves < 2 or self.lost:
            return observation, reward, terminated, truncated, info
        self.lost = True
        return observation, 0.0, False, True, {"lost": True}


def test_a_judge_that_dies_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    # The whole loop, up to the export: that needs the arm of the manifest.
    with pytest.raises(ArtifactError, match="the manifest says that the policy reads"):
        run(Worlds(), Worlds(Mortal), tmp_path, Hooks(on_note=said.append))
    assert said == ["a simulation process that judges died and was started again; episodes lost with it: 2"]
