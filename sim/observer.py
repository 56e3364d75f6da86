"""From a simulated control period to the observation that a spec asks for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.attempt import Attempt
from bridge.encoding import proprioception_layout
from bridge.observation import PRIVILEGED, PROPRIOCEPTION, STATE, CameraView, ImageKind, ObservationSpec, Part
from bridge.ports import Robot
from bridge.sensing import OwnSenses
from sim.sim_camera import DepthEngine, SimCamera
from sim.world import ArmWorld

#: One part alone, or several by name.
Observation: TypeAlias = Part | dict[str, Part]

#: A long arm that is half a metre away from what it wants sees 17.
_BOUND = 40.0
#: Lengths of the privileged part are divided by this.
PRIVILEGED_SCALE_M = 0.1
PRIVILEGED_SPEED_RAD_S = 3.0


def privileged_names(joint_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the privileged part's numbers, in their order, for an arm's joints (gripper included)."""
    return (
        *(f"block_from_tool_{axis}" for axis in "xyz"),
        *(f"block_{axis}" for axis in "xyz"),
        *(f"block_axis_{own}_{axis}" for own in "xz" for axis in "xyz"),
        *(f"tool_{axis}" for axis in "xyz"),
        *(f"{name}_position" for name in joint_names),
        *(f"{name}_speed" for name in joint_names),
        "jaws_touching",
        "object_size",
    )


class Observer:
    """Reads what the spec asks for, once per decision; keeps the last pictures of every view for the stack."""

    def __init__(
        self, spec: ObservationSpec, attempt: Attempt, robot: Robot, world: ArmWorld, depth_engine: DepthEngine
    ) -> None:
        self.spec = spec
        self._attempt = attempt
        self._world = world
        layout = attempt.observation_layout
        self._kept = list(range(layout.size) if spec.object_pose else layout.without_object())
        self.state_names = tuple(layout.feature_names[k] for k in self._kept)
        self._own = OwnSenses(attempt, robot)
        self.cameras = {view.key: SimCamera(world, view, depth_engine) for view in spec.views}
        self._stacks: dict[str, deque[Part]] = {view.key: deque(maxlen=spec.frames) for view in spec.views}
        #: Pictures that are still under way, one per period; empty where nothing is late.
        self._under_way: dict[str, deque[Part]] = {}

    def space(self) -> gymnasium.spaces.Box | gymnasium.spaces.Dict:
        """Return the observation space."""
        spaces: dict[str, gymnasium.spaces.Box] = {}
        if self.spec.state:
            spaces[STATE] = _vector_space(len(self._kept))
        if self.spec.proprioception:
            spaces[PROPRIOCEPTION] = _vector_space(proprioception_layout(self._attempt.description).size)
        for view in self.spec.views:
            spaces[view.key] = self._picture_space(view)
        if self.spec.privileged:
            spaces[PRIVILEGED] = _vector_space(len(privileged_names(self._world.description.joint_names)))
        if len(spaces) == 1:
            return next(iter(spaces.values()))
        return gymnasium.spaces.Dict(dict(spaces))

    def begin(self, robot: Robot, delay_periods: int = 0) -> None:
        """Forget the pictures of the last episode; read this robot from now on.

        Its pictures are `delay_periods` old from here on, or the oldest since now.
        """
        self._own = OwnSenses(self._attempt, robot)
        for stack in self._stacks.values():
            stack.clear()
        self._under_way = {key: deque(maxlen=delay_periods + 1) for key in self.cameras} if delay_periods else {}

    def look(self) -> None:
        """Take in the control period that begins: call it once in each, the first one included.

        Where pictures are late, they are taken here, for a simulator cannot go back to take them when they are due.
        Where they are not, `observe` takes them, once per decision.
        """
        for key, pictures in self._under_way.items():
            pictures.append(self.cameras[key].read())

    def observe(self, state: NDArray[np.float32]) -> Observation:
        """Return the observation; `state` is the attempt's own (n,)."""
        parts: dict[str, Part] = {}
        if self.spec.state:
            parts[STATE] = state[self._kept]
        if self.spec.proprioception:
            parts[PROPRIOCEPTION] = self._own.read()
        for key, camera in self.cameras.items():
            stack = self._stacks[key]
            picture: Part = self._under_way[key][0] if self._under_way else camera.read()
            stack.append(picture)
            while len(stack) < self.spec.frames:
                stack.appendleft(picture)
            parts[key] = stack[0] if self.spec.frames == 1 else _stacked(stack)
        if self.spec.privileged:
            parts[PRIVILEGED] = self._privileged()
        return parts if len(parts) > 1 else next(iter(parts.values()))

    def _picture_space(self, view: CameraView) -> gymnasium.spaces.Box:
        shape = (view.kind.channels * self.spec.frames, view.height_px, view.width_px)
        if view.kind is ImageKind.DEPTH:
            far_m = self._attempt.description.camera(view.camera, self._attempt.rig).far_m
            return gymnasium.spaces.Box(0.0, far_m, shape, np.float16)
        return gymnasium.spaces.Box(0, 255, shape, np.uint8)

    def _privileged(self) -> NDArray[np.float32]:
        """Return what physics knows, as `privileged_names` has it."""
        world, center = self._world, self._attempt.rig.area_center_m
        block, tool = world.block_pose(), world.tool_pose()
        offset = (block.position_m - tool.position_m) / PRIVILEGED_SCALE_M
        place = (block.position_m - [*center, 0.0]) / PRIVILEGED_SCALE_M
        position_rad, velocity_rad_s = world.joint_states()
        features = [
            *offset,
            *place,
            *block.rotation[:, 0],
            *block.rotation[:, 2],
            *((tool.position_m - [*center, 0.0]) / PRIVILEGED_SCALE_M),
            *position_rad,
            *(velocity_rad_s / PRIVILEGED_SPEED_RAD_S),
            float(world.jaws_touching()),
            world.objects.target.size_m / PRIVILEGED_SCALE_M,
        ]
        return np.clip(np.array(features, dtype=np.float32), -_BOUND, _BOUND)


def _stacked(pictures: deque[Part]) -> Part:
    """Return pictures (C, H, W) one behind the other (frames * C, H, W), the oldest first."""
    whole: Part = np.concatenate(list(pictures))  # pyright: ignore[reportAssignmentType]
    return whole


def _vector_space(size: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-_BOUND, _BOUND, (size,), np.float32)
