"""Observations as named parts: what every learner, memory and saved policy reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from policies.errors import UnfitWorlds

Parts = Mapping[str, NDArray[np.generic]]
Tensors = dict[str, torch.Tensor]
#: The name of an observation that is one array and not a dict of them.
ALONE = "observation"


def parts_of(space: gymnasium.Space[object]) -> dict[str, gymnasium.spaces.Box]:
    """Return the Boxes of an observation space by name; raises UnfitWorlds on anything else."""
    boxes = dict(space.spaces) if isinstance(space, gymnasium.spaces.Dict) else {ALONE: space}
    for name, box in boxes.items():
        if not isinstance(box, gymnasium.spaces.Box):
            raise UnfitWorlds(f"observation part {name!r} is {box}; learners read a Box or a Dict of Boxes")
    return {name: box for name, box in boxes.items() if isinstance(box, gymnasium.spaces.Box)}


def chosen_parts(space: gymnasium.Space[object], names: Sequence[str]) -> dict[str, gymnasium.spaces.Box]:
    """Return the named parts of an observation space, all of them without names; raises UnfitWorlds on others."""
    boxes = parts_of(space)
    unknown = [name for name in names if name not in boxes]
    if unknown:
        raise UnfitWorlds(f"the observation has no part {unknown[0]!r}; it has {', '.join(boxes)}")
    return {name: boxes[name] for name in names} if names else boxes


def as_parts(observation: NDArray[np.generic] | Mapping[str, NDArray[np.generic]]) -> Parts:
    """Return an observation as named parts."""
    return observation if isinstance(observation, Mapping) else {ALONE: observation}


def stored_dtype(dtype: np.dtype[np.generic] | None) -> np.dtype[np.generic]:
    """Return how a part of an observation is kept: pictures as they are, everything else as float32."""
    kept = np.dtype(np.float32 if dtype is None else dtype)
    return kept if kept in (np.dtype(np.uint8), np.dtype(np.float16)) else np.dtype(np.float32)


def as_tensors(parts: Parts, names: Iterable[str]) -> Tensors:
    """Return named parts of what worlds show as tensors, in the types in which they are kept."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(parts[name], dtype=stored_dtype(parts[name].dtype)))
        for name in names
    }
