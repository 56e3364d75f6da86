from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from policies.checkpoint import Checkpoint, Counters, oldest_decisions, read_newest, save_checkpoint
from policies.errors import CheckpointError
from policies.learner import LearnerState

COUNTERS = Counters(100, 9, 50, 3.5, 80, (0.5, 1.0), 80, 1)


def simple(decisions: int) -> Checkpoint:
    counters = msgspec.structs.replace(COUNTERS, decisions=decisions)
    weights, rewards = {"w": torch.full((3,), float(decisions))}, {"rewards": np.arange(4.0)}
    return Checkpoint(counters, LearnerState(weights, rewards, {"draws": "1 2 3"}), '{"stage": "half"}')


def test_the_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for decisions in (100, 200, 1000):
        save_checkpoint(tmp_path, "last", simple(decisions))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_000000200", "last_000001000"]
    newest = read_newest(tmp_path, "last")
    assert newest.refused == ()
    assert newest.checkpoint.counters.decisions == 1000
    assert newest.checkpoint.learner.tensors["w"].tolist() == [1000.0] * 3
    assert newest.checkpoint.learner.arrays["rewards"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert newest.checkpoint.learner.facts == {"draws": "1 2 3"}
    assert newest.checkpoint.worlds == '{"stage": "half"}'


def test_the_newest_of_a_time_stays_as_well(tmp_path: Path) -> None:
    for decisions in (100, 200, 300, 400, 500):
        save_checkpoint(tmp_path, "best", simple(decisions), since=250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best_000000200", "best_000000400", "best_000000500"]
    assert oldest_decisions(tmp_path, "best") == 200
    assert oldest_decisions(tmp_path, "last") is None


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
