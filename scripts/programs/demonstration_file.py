"""steps.npz: demonstrations as plain arrays, for whoever reads NumPy alone. No pickle in it, and none is read.

header       the DemonstrationOrigin as UTF-8 JSON, uint8
seen/PART    what was seen (k + 1 rows an attempt, attempt after attempt)
actions (n, a) float32    rewards (n,) float64    stamp_ns (n,) int64
lengths (m,)  terminated (m,)  truncated (m,)  success (m,) int8: 1, 0, or -1 where nobody knows
"""

from __future__ import annotations

import io
from itertools import accumulate, pairwise
from pathlib import Path
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.episode_attempts import RecordedAttempt
from bridge.episode_decisions import FAILURE, SUCCESS, UNKNOWN, Verdict
from bridge.errors import BadEpisode
from calibration.artifacts import write_atomic
from scripts.programs.demonstration_set import DemonstrationOrigin, DemonstrationSet

NAME = "steps.npz"
_HEADER, _SEEN = "header", "seen/"
_NUMBERS: dict[Verdict, int] = {SUCCESS: 1, FAILURE: 0, UNKNOWN: -1}
_VERDICTS: dict[int, Verdict] = {number: verdict for verdict, number in _NUMBERS.items()}

Arrays = dict[str, NDArray[np.generic]]


def write_steps(demonstrations: DemonstrationSet, path: Path) -> Path:
    """Write the file, whole or not at all; raises BadEpisode where there is one."""
    if path.exists():
        raise BadEpisode(f"{path} exists: give another --name, or remove it")
    attempts = demonstrations.attempts
    arrays: Arrays = {
        _HEADER: np.frombuffer(msgspec.json.encode(demonstrations.origin), dtype=np.uint8),
        "actions": np.concatenate([attempt.actions for attempt in attempts]),
        "rewards": np.concatenate([attempt.rewards for attempt in attempts]),
        "stamp_ns": np.concatenate([attempt.stamp_ns for attempt in attempts]),
        "lengths": np.array([attempt.decisions for attempt in attempts], dtype=np.int64),
        "terminated": np.array([attempt.terminated for attempt in attempts]),
        "truncated": np.array([attempt.truncated for attempt in attempts]),
        "success": np.array([_NUMBERS[attempt.verdict] for attempt in attempts], dtype=np.int8),
    }
    for part in demonstrations.origin.layout.parts:
        arrays[_SEEN + part.name] = np.concatenate([attempt.observations[part.name] for attempt in attempts])
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **arrays)
    write_atomic(path, data.getvalue())
    return path


def read_steps(path: Path) -> DemonstrationSet:
    """Read the file; raises BadEpisode where it is none, or not whole."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: Arrays = {name: file[name] for name in file.files}
        origin = msgspec.json.decode(arrays[_HEADER].tobytes(), type=DemonstrationOrigin)
        _check(arrays, origin)
        return DemonstrationSet(origin, _attempts(arrays, origin))
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, msgspec.MsgspecError) as error:
        raise BadEpisode(f"{path} holds no demonstrations that can be read: {error}") from error


def _check(arrays: Arrays, origin: DemonstrationOrigin) -> None:
    """Raise ValueError where the arrays do not fit each other."""
    count, attempts = int(arrays["lengths"].sum()), len(arrays["lengths"])
    if not attempts or int(arrays["lengths"].min()) < 1:
        raise ValueError(f"{attempts} attempts, of {arrays['lengths'].tolist()} decisions")
    expected = {"actions": (count, len(origin.layout.action_layout.names)), "rewards": (count,), "stamp_ns": (count,)}
    expected |= {name: (attempts,) for name in ("terminated", "truncated", "success")}
    expected |= {_SEEN + part.name: (count + attempts, *part.shape) for part in origin.layout.parts}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} is {arrays[name].shape}, {shape} was expected")


def _attempts(arrays: Arrays, origin: DemonstrationOrigin) -> tuple[RecordedAttempt, ...]:
    begins = list(accumulate(arrays["lengths"].tolist(), initial=0))
    attempts: list[RecordedAttempt] = []
    for k, (begin, end) in enumerate(pairwise(begins)):
        seen = slice(begin + k, end + k + 1)
        attempts.append(
            RecordedAttempt(
                number=k + 1,
                stamp_ns=arrays["stamp_ns"][begin:end].astype(np.int64),
                observations={
                    part.name: arrays[_SEEN + part.name][seen].astype(part.dtype)  # pyright: ignore
                    for part in origin.layout.parts
                },
                actions=arrays["actions"][begin:end].astype(np.float32),
                rewards=arrays["rewards"][begin:end].astype(np.float64),
                terminated=bool(arrays["terminated"][k]),
                truncated=bool(arrays["truncated"][k]),
                verdict=_VERDICTS.get(int(arrays["success"][k]), UNKNOWN),
            )
        )
    return tuple(attempts)
