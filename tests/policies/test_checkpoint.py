from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv

from policies.checkpoint import Checkpoint, Counters, read_newest, save_checkpoint
from policies.errors import CheckpointError
from policies.sb3 import AveragedActor, build_sac, capture, restore
from tests.fakes.point_task import POINT, PointEnv

COUNTERS = Counters(100, 9, 50, 3.5, 80, (0.5, 1.0), 80, 1)


def simple(decisions: int) -> Checkpoint:
    counters = msgspec.structs.replace(COUNTERS, decisions=decisions)
    return Checkpoint(counters, {"w": torch.full((3,), float(decisions))}, {"rewards": np.arange(4.0)})


def test_the_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for decisions in (100, 200, 1000):
        save_checkpoint(tmp_path, "last", simple(decisions))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_000000200", "last_000001000"]
    newest = read_newest(tmp_path, "last")
    assert newest.refused == ()
    assert newest.checkpoint.counters.decisions == 1000
    assert newest.checkpoint.tensors["w"].tolist() == [1000.0] * 3
    assert newest.checkpoint.arrays["rewards"].tolist() == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", ["weights.safetensors", "replay.npz", "state.json"])
def test_a_truncated_checkpoint_gives_way_to_the_one_before_and_is_named(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, "last", simple(100))
    path = save_checkpoint(tmp_path, "last", simple(200)) / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    newest = read_newest(tmp_path, "last")
    assert newest.checkpoint.counters.decisions == 100
    assert len(newest.refused) == 1
    assert "last_000000200" in newest.refused[0]


def test_a_checkpoint_without_one_of_its_files_gives_way(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", simple(100))
    (save_checkpoint(tmp_path, "last", simple(200)) / "replay.npz").unlink()
    assert read_newest(tmp_path, "last").checkpoint.counters.decisions == 100


def test_no_sound_checkpoint_says_what_is_wrong_with_each(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is none"):
        read_newest(tmp_path, "last")
    for decisions in (100, 200):
        (save_checkpoint(tmp_path, "last", simple(decisions)) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last_000000200.*last_000000100"):
        read_newest(tmp_path, "last")


def test_a_checkpoint_cut_off_while_it_was_written_is_not_seen(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", simple(100))
    (tmp_path / ".last_000000200.tmp").mkdir()
    (tmp_path / ".last_000000200.tmp" / "weights.safetensors").write_bytes(b"half")
    assert read_newest(tmp_path, "last").refused == ()
    save_checkpoint(tmp_path, "last", simple(200))
    assert read_newest(tmp_path, "last").checkpoint.counters.decisions == 200


def learner(folder: Path, seed: int, network: tuple[int, ...] = (16, 16)) -> SAC:
    config = replace(POINT, network=network)
    return build_sac(config, DummyVecEnv([PointEnv, PointEnv]), seed, folder)


def warm(model: SAC, updates: int) -> None:
    """Fill the replay buffer with real steps, then learn."""
    env = model.get_env()
    assert env is not None
    model._last_obs = env.reset()  # type: ignore[assignment]
    buffer = model.replay_buffer
    assert buffer is not None
    for _ in range(100):
        actions = np.array([model.action_space.sample() for _ in range(2)])
        observations, rewards, dones, infos = env.step(actions)
        model._store_transition(buffer, actions, observations, rewards, dones, infos)  # type: ignore[arg-type]
    model.train(updates, 32)


def test_a_restored_learner_continues_exactly_as_the_saved_one(tmp_path: Path) -> None:
    saved = learner(tmp_path / "a", seed=0)
    warm(saved, 20)
    restored = learner(tmp_path / "b", seed=1)  # seeds the global generators: before the others are captured
    save_checkpoint(tmp_path, "last", capture(saved, AveragedActor(saved), COUNTERS))
    other = {k: v.clone() for k, v in restored.policy.state_dict().items()}

    # The saved learner goes on first: both draw from the same global generators.
    saved.train(5, 32)
    expected_sample = saved.action_space.sample()
    restore(restored, AveragedActor(restored), read_newest(tmp_path, "last").checkpoint)
    restored.train(5, 32)
    sample = restored.action_space.sample()

    assert restored.num_timesteps == 100
    assert restored._n_updates == COUNTERS.updates + 5
    assert np.array_equal(sample, expected_sample)
    a, b = saved.policy.state_dict(), restored.policy.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert any(not torch.equal(other[name], b[name]) for name in b)
    assert saved.log_ent_coef is not None
    assert restored.log_ent_coef is not None
    assert torch.equal(saved.log_ent_coef, restored.log_ent_coef)


def test_the_replay_buffer_comes_back_whole(tmp_path: Path) -> None:
    saved = learner(tmp_path / "a", seed=0)
    warm(saved, 1)
    save_checkpoint(tmp_path, "last", capture(saved, AveragedActor(saved), COUNTERS))
    restored = learner(tmp_path / "b", seed=1)
    restore(restored, AveragedActor(restored), read_newest(tmp_path, "last").checkpoint)
    old, new = saved.replay_buffer, restored.replay_buffer
    assert old is not None
    assert new is not None
    assert (new.pos, new.full) == (100, False)
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        assert np.array_equal(getattr(old, name), getattr(new, name))
    assert np.abs(new.rewards[:100]).min() > 0


def test_another_network_is_refused(tmp_path: Path) -> None:
    saved = learner(tmp_path / "a", seed=0)
    warm(saved, 1)
    save_checkpoint(tmp_path, "last", capture(saved, AveragedActor(saved), COUNTERS))
    other = learner(tmp_path / "b", 0, (32,))
    actor, checkpoint = AveragedActor(other), read_newest(tmp_path, "last").checkpoint
    with pytest.raises(CheckpointError, match="network"):
        restore(other, actor, checkpoint)


def test_the_averaged_actor_follows_and_comes_back(tmp_path: Path) -> None:
    model = learner(tmp_path / "a", seed=0)
    actor = AveragedActor(model)

    def weight(module: torch.nn.Module) -> torch.Tensor:
        return dict(module.named_parameters())["weight"].detach().clone()

    before = weight(actor.mean)
    warm(model, 20)
    live = weight(model.actor.mu)
    assert torch.equal(weight(actor.mean), before), "it moves only when it is told to"
    actor.follow(model, 0.25)
    assert torch.allclose(weight(actor.mean), 0.75 * before + 0.25 * live, atol=1e-7)
    save_checkpoint(tmp_path, "last", capture(model, actor, COUNTERS))
    other = learner(tmp_path / "b", seed=5)
    copy = AveragedActor(other)
    restore(other, copy, read_newest(tmp_path, "last").checkpoint)
    assert torch.equal(weight(copy.mean), weight(actor.mean))
    actor.follow(model, 1.0)
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 2)).astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    assert np.abs(actor.act_batch(observations) - expected).max() < 1e-6
