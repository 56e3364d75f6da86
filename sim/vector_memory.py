"""The memory that the parent and its workers share: actions in, observations, rewards and endings out.

It has no name in the file system (Linux memfd), so nothing can be left behind, whatever is killed.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.errors import BadWorlds, SimError

Array = NDArray[np.generic]
#: One observation or a batch of them: an array for a Box, an array per key for a Dict.
Observation = Array | dict[str, Array]
Space = gymnasium.Space[object]
Scalar = TypeVar("Scalar", bound=np.generic)

_BOX_KEY = ""
_CACHE_LINE = 64


@dataclass(frozen=True, slots=True)
class Slot(Generic[Scalar]):
    """Where an array (worlds, *shape) lies in the memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Scalar]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies. `single_shapes` are those of one world's observation, by key."""

    actions: Slot[np.generic]
    rewards: Slot[np.float64]
    terminated: Slot[np.bool_]
    truncated: Slot[np.bool_]
    observations: dict[str, Slot[np.generic]]
    final_observations: dict[str, Slot[np.generic]]
    is_dict: bool
    size: int


def observation_boxes(space: Space) -> dict[str, spaces.Box]:
    """Return the parts of an observation space; raises BadWorlds unless it is a Box or a Dict of them."""
    if isinstance(space, spaces.Box):
        return {_BOX_KEY: space}
    if isinstance(space, spaces.Dict):
        parts = {key: part for key, part in space.spaces.items() if isinstance(part, spaces.Box)}
        if parts and len(parts) == len(space.spaces):
            return parts
    raise BadWorlds(f"observation_space must be a Box or a Dict of Boxes, got {space}")


class _Planner:
    def __init__(self, worlds: int) -> None:
        self.worlds, self.size = worlds, 0

    def slot(self, shape: tuple[int, ...], dtype: np.dtype[Scalar]) -> Slot[Scalar]:
        slot = Slot(self.size, (self.worlds, *shape), dtype)
        length = math.prod(slot.shape) * dtype.itemsize
        # Each array on cache lines of its own: two workers never write to one.
        self.size += -(-length // _CACHE_LINE) * _CACHE_LINE
        return slot


def plan_layout(observation_space: Space, action_space: Space, worlds: int) -> Layout:
    """Return where the arrays of `worlds` worlds go; raises BadWorlds for spaces without fixed shape and type."""
    boxes = observation_boxes(observation_space)
    if action_space.shape is None or action_space.dtype is None:
        raise BadWorlds(f"action_space must have one shape and type (a Box, Discrete, …), got {action_space}")
    planner = _Planner(worlds)
    return Layout(
        actions=planner.slot(action_space.shape, np.dtype(action_space.dtype)),
        rewards=planner.slot((), np.dtype(np.float64)),
        terminated=planner.slot((), np.dtype(np.bool_)),
        truncated=planner.slot((), np.dtype(np.bool_)),
        observations={key: planner.slot(box.shape, np.dtype(box.dtype)) for key, box in boxes.items()},
        final_observations={key: planner.slot(box.shape, np.dtype(box.dtype)) for key, box in boxes.items()},
        is_dict=isinstance(observation_space, spaces.Dict),
        size=planner.size,
    )


class ObservationBatch:
    """Observations of all worlds, one array (worlds, *shape) per part."""

    def __init__(self, arrays: dict[str, Array], is_dict: bool) -> None:
        self._arrays, self._is_dict = arrays, is_dict

    def _parts(self, observation: object) -> Iterator[tuple[Array, Array, str]]:
        parts = observation if isinstance(observation, dict) else {_BOX_KEY: observation}
        if set(parts) != set(self._arrays):
            raise SimError(f"an observation has the parts {sorted(parts)}, its space {sorted(self._arrays)}")
        for key, array in self._arrays.items():
            yield array, np.asarray(parts[key]), key

    def write(self, world: int, observation: object) -> None:
        """Store one world's observation; raises SimError when its shape or type is not the space's."""
        for array, part, key in self._parts(observation):
            if part.shape != array.shape[1:] or not np.can_cast(part.dtype, array.dtype, "same_kind"):
                raise SimError(
                    f"an observation{f' ({key})' if key else ''} is {part.dtype} {part.shape}, "
                    f"its space {array.dtype} {array.shape[1:]}"
                )
            array[world] = part

    def copy_from(self, other: ObservationBatch) -> None:
        """Take over all observations of another batch."""
        for key, array in self._arrays.items():
            array[...] = other._arrays[key]

    def read(self, world: int) -> Observation:
        """Return a copy of one world's observation."""
        return self._whole({key: array[world].copy() for key, array in self._arrays.items()})

    def read_all(self) -> Observation:
        """Return a copy of all worlds' observations."""
        return self._whole({key: array.copy() for key, array in self._arrays.items()})

    def private(self) -> ObservationBatch:
        """Return a copy that is shared with nobody."""
        return ObservationBatch({key: array.copy() for key, array in self._arrays.items()}, self._is_dict)

    def _whole(self, parts: dict[str, Array]) -> Observation:
        return parts if self._is_dict else parts[_BOX_KEY]


class SharedMemory:
    """The arrays of a layout in the memory behind a file descriptor, in whichever process maps it.

    It is unmapped when the last array over it is gone.
    """

    def __init__(self, descriptor: int, layout: Layout) -> None:
        if os.fstat(descriptor).st_size < layout.size:
            os.ftruncate(descriptor, layout.size)
        self._map = mmap.mmap(descriptor, layout.size)
        self.actions = self._array(layout.actions)
        self.rewards = self._array(layout.rewards)
        self.terminated = self._array(layout.terminated)
        self.truncated = self._array(layout.truncated)
        self.observations = ObservationBatch(self._arrays(layout.observations), layout.is_dict)
        self.final_observations = ObservationBatch(self._arrays(layout.final_observations), layout.is_dict)

    def _array(self, slot: Slot[Scalar]) -> NDArray[Scalar]:
        count = math.prod(slot.shape)
        return np.frombuffer(self._map, slot.dtype, count, slot.offset).reshape(slot.shape)

    def _arrays(self, slots: dict[str, Slot[np.generic]]) -> dict[str, Array]:
        return {key: self._array(slot) for key, slot in slots.items()}
