"""The arm of a recording without pictures, drawn from its joints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bridge.episode_reader import Episode, read_episode
from scripts.main import main
from scripts.programs.posed_picture import posed_picture


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Episode:
    folder = tmp_path_factory.mktemp("posed")
    words = ("--task", "grasp", "--episodes", "1", "--sees", "state", "--no-pictures", "--json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TANDEM_DATA", str(folder))
        assert main(["episodes", "record", *words]) == 0
    (path,) = Path(folder).glob("episodes/*.mcap")
    return read_episode(path)


def test_the_arm_is_seen_to_move_from_the_first_moment_to_the_last(episode: Episode) -> None:
    first = posed_picture(episode, int(episode.state_stamp_ns[0]))
    middle = posed_picture(episode, int(episode.state_stamp_ns[episode.steps // 2]))
    again = posed_picture(episode, int(episode.state_stamp_ns[0]))
    assert first is not None
    assert middle is not None
    assert again is not None
    np.testing.assert_array_equal(first, again)
    changed = (np.abs(first.astype(int) - middle.astype(int)).max(axis=2) > 20).mean()
    assert 0.005 < changed < 0.5  # an arm, not the desk and not the sky


def test_an_arm_that_has_changed_since_is_not_drawn(episode: Episode) -> None:
    header = msgspec.structs.replace(episode.header, arm_sha256="0" * 64)
    other = dataclasses.replace(episode, header=header)
    assert posed_picture(other, int(episode.state_stamp_ns[0])) is None
