"""Demonstrations as a Minari dataset, the Gymnasium standard for offline data: written and read by the library itself.

Ref: https://minari.farama.org. Pictures are kept as arrays, without loss. The environment comes back with
`recover_environment()`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import minari
import msgspec
import numpy as np
from gymnasium.envs.registration import EnvSpec
from minari.data_collector import EpisodeBuffer
from minari.dataset.episode_data import EpisodeData

from bridge.episode_attempts import RecordedAttempt
from bridge.episode_decisions import FAILURE, SUCCESS, UNKNOWN, Verdict
from bridge.errors import BadEpisode, PolicyMismatch
from bridge.observation import Part
from scripts.programs.demonstration_set import DemonstrationOrigin, DemonstrationSet
from scripts.programs.minari_origin import origin_of_environment
from sim.recovered import environment_spec

#: Where Minari looks for datasets; it takes no argument for it.
_ROOT_VARIABLE = "MINARI_DATASETS_PATH"
_ORIGIN, _SUCCESS, _STAMP = "tandem_origin", "is_success", "stamp_ns"
_NUMBERS: dict[Verdict, int] = {SUCCESS: 1, FAILURE: 0, UNKNOWN: -1}
_BOUND = 40.0


def write_minari(demonstrations: DemonstrationSet, root: Path, dataset_id: str) -> Path:
    """Write the dataset below `root`, whole or not at all; return its folder.

    Raises BadEpisode where there is one of that name, ValueError on a name that Minari does not take.
    """
    folder = root / dataset_id
    if folder.exists():
        raise BadEpisode(f"{folder} exists: give the dataset another --name, such as {_next(dataset_id)}")
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{secrets.token_hex(8)}"
    origin, several = demonstrations.origin, len(demonstrations.origin.layout.parts) > 1
    buffers = [_buffer(attempt, k, several) for k, attempt in enumerate(demonstrations.attempts)]
    try:
        with _datasets_in(temporary), _environment(origin) as env, warnings.catch_warnings():
            # It warns of every fact about the author that it is not told.
            warnings.filterwarnings("ignore", category=UserWarning, module="minari")
            dataset = minari.create_dataset_from_buffers(
                dataset_id,
                buffers,
                env=env,
                observation_space=observation_space(origin),
                action_space=_action_space(origin),
                algorithm_name=", ".join(origin.policies),
                description=f"{origin.arm} {origin.layout.task} on rig {origin.rig}, recorded by Tandem",
                jpeg_encoding=False,
            )
            dataset.storage.update_metadata({_ORIGIN: msgspec.json.encode(origin).decode()})
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary / dataset_id, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def read_minari(folder: Path) -> DemonstrationSet:
    """Read a dataset; raises BadEpisode where it is none, PolicyMismatch where it is of no environment of Tandem's."""
    data = folder / "data" if (folder / "data").is_dir() else folder
    try:
        dataset = minari.MinariDataset(data)
        text = dataset.storage.metadata.get(_ORIGIN)
        episodes = list(dataset.iterate_episodes())
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise BadEpisode(f"{folder} is no Minari dataset that can be read: {error}") from error
    if text is None:
        origin = origin_of_environment(dataset.env_spec, str(folder))
    else:
        try:
            origin = msgspec.json.decode(text, type=DemonstrationOrigin)
        except msgspec.MsgspecError as error:
            raise BadEpisode(f"{folder}: its origin was written by another version: {error}") from error
    if not episodes:
        raise BadEpisode(f"{folder} holds no episode")
    names = [part.name for part in origin.layout.parts]
    return DemonstrationSet(origin, tuple(_attempt(e, k, names, folder) for k, e in enumerate(episodes, 1)))


def observation_space(origin: DemonstrationOrigin) -> gymnasium.Space[object]:
    """Return the space of what was seen: a Box where it is one part, else a Dict."""
    spaces: dict[str, gymnasium.Space[object]] = {}
    for part in origin.layout.parts:
        low, high = (0, 255) if part.dtype == "uint8" else (0.0, np.inf) if part.is_picture else (-_BOUND, _BOUND)
        spaces[part.name] = gymnasium.spaces.Box(low, high, part.shape, np.dtype(part.dtype).type)
    return gymnasium.spaces.Dict(spaces) if len(spaces) > 1 else next(iter(spaces.values()))


def _action_space(origin: DemonstrationOrigin) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-1.0, 1.0, (len(origin.layout.action_layout.names),), np.float32)


@contextmanager
def _datasets_in(root: Path) -> Generator[None]:
    before = os.environ.get(_ROOT_VARIABLE)
    os.environ[_ROOT_VARIABLE] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ROOT_VARIABLE]
        else:
            os.environ[_ROOT_VARIABLE] = before


@contextmanager
def _environment(origin: DemonstrationOrigin) -> Generator[gymnasium.Env | None]:
    """Give the environment that was demonstrated in; None for an arm on a desk."""
    layout = origin.layout
    if not layout.environment:
        yield None
        return
    spec: EnvSpec = environment_spec(
        layout.environment,
        origin.arm,
        layout.task,
        origin.rig,
        layout.spec,
        layout.action_repeat,
        round(1.0 / origin.period_s),
        layout.randomization,
        1.0 if layout.discount is None else layout.discount,
    )
    env = gymnasium.make(spec)
    try:
        yield env
    finally:
        env.close()


def _buffer(attempt: RecordedAttempt, number: int, several: bool) -> EpisodeBuffer:
    count = attempt.decisions
    ends = np.arange(count) == count - 1
    verdicts = np.full(count + 1, -1, dtype=np.int8)
    verdicts[-1] = _NUMBERS[attempt.verdict]
    observations: dict[str, Part] = dict(attempt.observations)
    return EpisodeBuffer(
        id=number,
        observations=observations if several else next(iter(observations.values())),  # pyright: ignore
        actions=attempt.actions,  # pyright: ignore[reportArgumentType]
        rewards=attempt.rewards,  # pyright: ignore[reportArgumentType]
        terminations=ends & attempt.terminated,
        truncations=ends & attempt.truncated,
        infos={_SUCCESS: verdicts, _STAMP: np.append(attempt.stamp_ns, attempt.stamp_ns[-1])},
    )


def _attempt(episode: EpisodeData, number: int, names: list[str], folder: Path) -> RecordedAttempt:
    seen = episode.observations if isinstance(episode.observations, dict) else {names[0]: episode.observations}
    missing = [name for name in names if name not in seen]
    if missing:
        raise PolicyMismatch(f"{folder}: episode {number} has no part {missing[0]!r}; it has {', '.join(seen)}")
    count = len(episode.rewards)
    stamps = _told(episode).get(_STAMP)
    return RecordedAttempt(
        number=number,
        stamp_ns=np.arange(count, dtype=np.int64) if stamps is None else np.asarray(stamps[:count], dtype=np.int64),
        observations={name: np.asarray(seen[name]) for name in names},
        actions=np.asarray(episode.actions, dtype=np.float32),
        rewards=np.asarray(episode.rewards, dtype=np.float64),
        terminated=bool(episode.terminations[-1]),
        truncated=bool(episode.truncations[-1]),
        verdict=_verdict(episode),
    )


def _told(episode: EpisodeData) -> Mapping[str, Sequence[int]]:
    """Return the infos; Minari has None where nobody kept any."""
    return episode.infos or {}


def _verdict(episode: EpisodeData) -> Verdict:
    """Return what the last step's info says; Minari's own collector keeps the environment's `is_success`."""
    told = _told(episode).get(_SUCCESS)
    if told is None or len(told) == 0:
        return UNKNOWN
    number = int(told[-1])
    return UNKNOWN if number < 0 else SUCCESS if number else FAILURE


def _next(dataset_id: str) -> str:
    name, dash, version = dataset_id.rpartition("-v")
    return f"{name}-v{int(version) + 1}" if dash and version.isdecimal() else f"{dataset_id}-v1"
