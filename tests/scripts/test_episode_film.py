"""Films of real episodes: the judges' world, seen from in front of the arm."""

from __future__ import annotations

import random
from io import BytesIO
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from policies.config import TrainConfig
from policies.parts import Parts
from scripts.programs.episode_film import EpisodeFilmer
from scripts.simulation import SimulatedTask, judged
from sim.world import ArmWorld

SEEING = TrainConfig(
    task="grasp", sees=("proprioception", "wrist_depth"), critic_sees=("privileged",), judged_randomization="mild"
)


def filmer(config: TrainConfig) -> EpisodeFilmer:
    task = judged(config, "table")
    assert isinstance(task, SimulatedTask)
    return EpisodeFilmer(task)


def still(parts: Parts) -> NDArray[np.float32]:
    return np.zeros((1, 2), np.float32)


def generators() -> tuple[object, ...]:
    """Return the state of every global random generator."""
    name, keys, *rest = cast("tuple[str, NDArray[np.uint32], int, int, float]", np.random.get_state())  # noqa: NPY002
    return random.getstate(), name, keys.tobytes(), rest, torch.get_rng_state().numpy().tobytes()


def test_a_film_is_an_episode_of_the_judges_and_shows_what_the_policy_read_first() -> None:
    seen: list[Parts] = []

    def act(parts: Parts) -> NDArray[np.float32]:
        seen.append({name: part[0].copy() for name, part in parts.items()})
        return still(parts)

    before = generators()
    with filmer(SEEING) as film_of:
        film = film_of(act, 7)
    assert generators() == before, "learning must not notice"
    env = judged(SEEING, "table")(0)
    first = env.reset(seed=7)[0]
    env.close()
    assert set(seen[0]) == {"proprioception", "wrist_depth"}
    for name, part in seen[0].items():
        np.testing.assert_array_equal(part, first[name])

    gif = Image.open(BytesIO(film.episode.data))
    assert (gif.format, gif.size) == ("GIF", (160, 120))
    assert len(seen) >= 10
    assert getattr(gif, "n_frames", 1) >= 20
    assert film.seen is not None
    assert film.seen.name == "wrist_depth"
    picture = np.asarray(Image.open(BytesIO(film.seen.data)).convert("L"), dtype=float)
    depth_m = np.kron(first["wrist_depth"][0].astype(float), np.ones((3, 3)))
    known = depth_m > 0
    order = np.corrcoef(depth_m[known], picture[known])[0, 1]
    assert order < -0.9, "what is near is bright"


def test_the_end_says_how_it_ended() -> None:
    with filmer(TrainConfig(task="grasp")) as film_of:
        film = film_of(still, 7)
    gif = Image.open(BytesIO(film.episode.data))
    gif.seek(getattr(gif, "n_frames", 1) - 1)
    red, green, blue = gif.convert("RGB").getpixel((80, 118))  # pyright: ignore
    assert red > 1.5 * green and red > 1.5 * blue, "a hand that never moves grasps nothing"  # noqa: PT018
    assert film.seen is None


def test_a_film_that_broke_does_not_break_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[ArmWorld] = []
    close = ArmWorld.close
    monkeypatch.setattr(ArmWorld, "close", lambda world: (closed.append(world), close(world)))

    def broken(parts: Parts) -> NDArray[np.float32]:
        raise RuntimeError("out of ideas")

    with filmer(TrainConfig(task="grasp")) as film_of:
        with pytest.raises(RuntimeError, match="out of ideas"):
            film_of(broken, 7)
        assert len(closed) == 1
        assert film_of(still, 7).episode.data
    assert len(closed) == 2
