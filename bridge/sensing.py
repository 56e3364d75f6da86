"""From the state that the control loop gives to what a policy reads, on any arm."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.attempt import Attempt
from bridge.encoding import ToolFrame, encode_proprioception
from bridge.errors import PolicyMismatch
from bridge.observation import PROPRIOCEPTION, STATE, ObservationSpec, Observed, Part, state_of
from bridge.ports import Policy, Robot


class PictureSource(Protocol):
    """Whoever has the pictures that a spec asks for."""

    def read(self) -> Mapping[str, Part]:
        """Return the newest picture (C, H, W) of every view by its key; raises StaleFrame where one is too old."""
        ...


class SensingPolicy:
    """A policy that is given what its spec asks for, where the loop gives the whole state of `attempt`.

    Raises PolicyMismatch for a spec with pictures where there is nobody who has them.
    """

    def __init__(
        self,
        policy: Policy,
        spec: ObservationSpec,
        attempt: Attempt,
        robot: Robot,
        pictures: PictureSource | None = None,
    ) -> None:
        if pictures is None:
            refuse_pictures(spec)
        self._policy, self._spec, self._pictures = policy, spec, pictures
        self._stacks: dict[str, deque[Part]] = {view.key: deque(maxlen=spec.frames) for view in spec.views}
        layout = attempt.observation_layout
        self._kept = list(range(layout.size) if spec.object_pose else layout.without_object())
        self._own = OwnSenses(attempt, robot)

    def begin(self) -> None:
        """An attempt begins: forget the pictures of the last one."""
        for stack in self._stacks.values():
            stack.clear()

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the policy's action; proprioception is of now. Raises StaleFrame where the pictures are not."""
        parts: dict[str, Part] = {}
        if self._spec.state:
            parts[STATE] = state_of(observation)[self._kept]
        if self._spec.proprioception:
            parts[PROPRIOCEPTION] = self._own.read()
        if self._spec.views and self._pictures is not None:
            newest = self._pictures.read()
            parts.update({key: self._stacked(key, newest[key]) for key in self._stacks})
        return self._policy.act(parts)

    def _stacked(self, key: str, picture: Part) -> Part:
        """Return the last pictures of a view one behind the other (frames * C, H, W), the oldest first."""
        stack = self._stacks[key]
        stack.append(picture)
        while len(stack) < self._spec.frames:
            stack.appendleft(picture)
        if len(stack) == 1:
            return picture
        whole: Part = np.concatenate(list(stack))  # pyright: ignore[reportAssignmentType]
        return whole


class OwnSenses:
    """What an arm knows of itself, and what it was told to do."""

    def __init__(self, attempt: Attempt, robot: Robot) -> None:
        self._attempt, self._robot = attempt, robot
        self._frame = ToolFrame(attempt.description, attempt.rig)

    def read(self) -> NDArray[np.float32]:
        """Return the proprioception (2 n + 10,) of now."""
        motion = self._attempt.motion
        gripper_rad = float(motion.target_rad[-1])
        return encode_proprioception(self._robot.read_state(), self._frame, motion.command_m, gripper_rad)


def refuse_pictures(spec: ObservationSpec) -> None:
    """Raise PolicyMismatch where a spec asks for pictures."""
    if spec.views:
        wanted = ", ".join(f"{v.key} ({v.width_px}x{v.height_px}) of camera {v.camera!r}" for v in spec.views)
        raise PolicyMismatch(
            f"the policy reads the pictures {wanted}, and this run has no camera for them; `tandem evaluate` and "
            "`tandem observe` play it in simulation"
        )
