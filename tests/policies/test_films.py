"""Films of a policy while it learns: what TensorBoard shows, what the folder holds, and that nothing else changes."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from policies.checkpoint import read_newest
from policies.config import Algorithm, TrainConfig
from policies.errors import BadConfig
from policies.films import KEPT, Act, EncodedPicture, Film, Filmer, Films, newest_film
from policies.metrics import EvaluationRow, read_metrics
from policies.training import Hooks, TrainResult, train
from policies.workers import Worlds
from tests.fakes.point_task import POINT, PointEnv
from tests.fakes.policy_folder import make_manifest

ALWAYS = 1e-9
BRIEF = dataclasses.replace(
    POINT, max_decisions=600, evaluate_every=200, evaluation_episodes=4, stop_evaluations=99, film_every_min=ALWAYS
)


def encoded(name: str, frames: list[np.ndarray]) -> EncodedPicture:
    first, *others = (Image.fromarray(frame) for frame in frames)
    data = io.BytesIO()
    first.save(data, format="GIF" if others else "PNG", save_all=bool(others), append_images=others)
    return EncodedPicture(name, data.getvalue(), *first.size)


def film_of_the_point(act: Act, seed: int) -> Film:
    """Play a real episode; a frame a move, and a picture of where it began."""
    env = PointEnv()
    observation, over, frames = env.reset(seed=seed)[0], False, list[np.ndarray]()
    while not over:
        frame = np.zeros((12, 16, 3), np.uint8)
        frame[:, : 1 + len(frames) % 16] = 255  # every frame is another
        frames.append(frame)
        observation, _, terminated, truncated, _ = env.step(act({"observation": observation[None]})[0])
        over = terminated or truncated
    frames.append(np.full((12, 16, 3), 128, np.uint8))
    return Film(encoded("episode", frames), encoded("wrist_depth", [np.full((6, 8, 3), 200, np.uint8)]))


def worlds(count: int, make: Callable[[], gymnasium.Env] = PointEnv) -> Worlds:
    return SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.SAME_STEP)  # pyright: ignore[reportReturnType]


def run(
    folder: Path, config: TrainConfig, film: Filmer | None, notes: Callable[[str], None] = print, resume: bool = False
) -> TrainResult:
    """Train until the budget is nearly spent and stop there, so that nothing is exported."""
    reached = [0]
    hooks = Hooks(
        on_progress=lambda progress: reached.append(progress.decisions),
        on_note=notes,
        should_stop=lambda: reached[-1] >= config.max_decisions - 100,
        film=film,
    )
    return train(config, worlds(2), worlds(2), folder, make_manifest(), 3, hooks, resume)


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return events


def test_tensorboard_shows_the_film_and_the_first_picture(tmp_path: Path) -> None:
    assert run(tmp_path, BRIEF, film_of_the_point).end == "interrupted"
    images = board(tmp_path)
    assert set(images.Tags()["images"]) == {"film/episode", "seen/wrist_depth"}
    films = images.Images("film/episode")
    assert [event.step for event in films] == [200, 400]
    for event in films:
        gif = Image.open(io.BytesIO(event.encoded_image_string))
        assert gif.format == "GIF"
        assert getattr(gif, "n_frames", 1) > 1
        assert gif.size == (event.width, event.height) == (16, 12)
    (first, _) = images.Images("seen/wrist_depth")
    picture = Image.open(io.BytesIO(first.encoded_image_string))
    assert (picture.format, picture.size, picture.getpixel((0, 0))) == ("PNG", (8, 6), (200, 200, 200))


def test_the_folder_holds_the_films_by_their_decisions(tmp_path: Path) -> None:
    run(tmp_path, BRIEF, film_of_the_point)
    assert [path.name for path in sorted((tmp_path / "films").iterdir())] == ["000000200.gif", "000000400.gif"]
    assert newest_film(tmp_path) == tmp_path / "films" / "000000400.gif"


@pytest.mark.parametrize("algo", ["sac", "ppo", "sb3-sac", "sb3-ppo"])
def test_a_run_with_films_is_bit_by_bit_the_run_without(tmp_path: Path, algo: Algorithm) -> None:
    filmed, plain = tmp_path / "filmed", tmp_path / "plain"
    ends: list[int] = []
    config = dataclasses.replace(BRIEF, algo=algo, max_decisions=500)
    for folder, film in ((filmed, film_of_the_point), (plain, None)):
        torch.manual_seed(1)
        with pytest.raises(RuntimeError, match="exported"):
            train(config, worlds(2), worlds(2), folder, make_manifest(), 3, Hooks(_until_export, film=film))
        ends.append(len(list(folder.glob("films/*.gif"))))
    assert ends == [3, 0]
    one, other = (read_newest(folder / "checkpoints", "last").checkpoint for folder in (filmed, plain))
    assert one.learner.tensors.keys() == other.learner.tensors.keys()
    assert all(torch.equal(one.learner.tensors[name], other.learner.tensors[name]) for name in one.learner.tensors)
    assert one.learner.facts == other.learner.facts
    for name, array in one.learner.arrays.items():
        np.testing.assert_array_equal(array, other.learner.arrays[name])
    assert evaluations(filmed) == evaluations(plain)


def _until_export(progress: object) -> None:
    if getattr(progress, "phase", "") == "export":
        raise RuntimeError("exported")


def evaluations(folder: Path) -> list[tuple[int, int, float]]:
    rows = read_metrics(folder / "metrics.jsonl")
    return [(row.decisions, row.successes, row.mean_return) for row in rows if isinstance(row, EvaluationRow)]


def test_a_film_shows_the_first_episode_of_the_first_judge(tmp_path: Path) -> None:
    begun: list[np.ndarray] = []

    class Judged(PointEnv):
        def reset(self, **options: int) -> tuple[np.ndarray, dict[str, object]]:  # pyright: ignore
            observation, info = super().reset(**options)  # pyright: ignore[reportArgumentType]
            begun.append(observation)
            return observation, info

    def film(act: Act, seed: int) -> Film:
        np.testing.assert_array_equal(PointEnv().reset(seed=seed)[0], begun[0])
        return film_of_the_point(act, seed)

    config, hooks = dataclasses.replace(BRIEF, max_decisions=201), Hooks(_until_export, film=film)
    with pytest.raises(RuntimeError, match="exported"):
        train(config, worlds(1), worlds(1, Judged), tmp_path, make_manifest(), 3, hooks)
    assert (tmp_path / "films" / "000000200.gif").exists(), "what differs would have been a note instead"


def test_no_minutes_mean_no_films(tmp_path: Path) -> None:
    run(tmp_path, dataclasses.replace(BRIEF, film_every_min=0.0), film_of_the_point)
    assert not (tmp_path / "films").exists()
    assert board(tmp_path).Tags()["images"] == []
    assert newest_film(tmp_path) is None


def test_before_its_minutes_are_over_no_film_is_due(tmp_path: Path) -> None:
    run(tmp_path, dataclasses.replace(BRIEF, film_every_min=60.0), film_of_the_point)
    assert not (tmp_path / "films").exists()


def test_a_film_that_fails_is_a_note_and_the_run_goes_on(tmp_path: Path) -> None:
    def broken(act: Act, seed: int) -> Film:
        raise ValueError("the camera fell off")

    notes: list[str] = []
    assert run(tmp_path, BRIEF, broken, notes.append).decisions >= 500
    assert notes == ["no film of the policy: ValueError: the camera fell off"] * 2
    assert len(evaluations(tmp_path)) == 2


def test_only_the_newest_films_are_kept_and_a_resumed_run_drops_those_of_later(tmp_path: Path) -> None:
    films = Films(tmp_path, ALWAYS, film_of_the_point, None)

    def still(parts: object) -> np.ndarray:
        return np.zeros((1, 2), np.float32)

    for decisions in range(0, 2500, 100):
        films.make(still, 0, decisions)
    kept = sorted(int(path.stem) for path in (tmp_path / "films").iterdir())
    assert kept == list(range(2500 - 100 * KEPT, 2500, 100))
    Films(tmp_path, ALWAYS, film_of_the_point, 1_000)
    assert newest_film(tmp_path) == tmp_path / "films" / "000001000.gif"


def test_minutes_below_zero_are_refused() -> None:
    with pytest.raises(BadConfig, match="film_every_min"):
        TrainConfig(task="point", film_every_min=-1.0)
