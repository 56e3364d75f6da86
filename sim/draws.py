"""What one episode's randomisation came to: plain numbers, frozen, comparable, ready to be logged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from sim.errors import SimError
from sim.ranges import Vector3
from sim.rendering import LIGHT_DIRECTION
from sim.sensors import ColorNoise, DepthNoise


@dataclass(frozen=True, slots=True)
class CameraDraw:
    """Where the camera really is, seen from where it should be, in its own axes; and what its lens adds to its view."""

    translation_m: Vector3 = (0.0, 0.0, 0.0)
    rotation_rad: Vector3 = (0.0, 0.0, 0.0)
    fov_rad: float = 0.0


@dataclass(frozen=True, slots=True)
class SceneDraw:
    """What lies there and in what light. Factors multiply the nominal value, colours are added to red, green, blue."""

    object_size_factor: float = 1.0
    object_mass_factor: float = 1.0
    object_friction_factor: float = 1.0
    object_color: Vector3 = (0.0, 0.0, 0.0)
    object_yaw_rad: float = 0.0
    desk_color: Vector3 = (0.0, 0.0, 0.0)
    light_direction: Vector3 = LIGHT_DIRECTION
    texture_strength: float = 0.0
    texture_seed: int = 0


@dataclass(frozen=True, slots=True)
class ServoDraw:
    """How this episode's servos differ from their model; tuples have one entry per joint, the gripper last.

    scale multiplies a joint's motion away from its zero, backlash is added to the model's, speed_factor multiplies
    every joint's speed limit, dead_time_s is added to the model's.
    """

    zero_rad: tuple[float, ...]
    scale: tuple[float, ...]
    backlash_rad: tuple[float, ...]
    speed_factor: float = 1.0
    dead_time_s: float = 0.0

    @staticmethod
    def nominal(joint_count: int) -> ServoDraw:
        """Return servos that are what their model says."""
        return ServoDraw((0.0,) * joint_count, (1.0,) * joint_count, (0.0,) * joint_count)


@dataclass(frozen=True, slots=True)
class Draw:
    """All that was drawn for one episode. `sensor_seed` starts the generator of the cameras' noise."""

    servo: ServoDraw
    camera: CameraDraw = field(default_factory=CameraDraw)
    depth: DepthNoise = field(default_factory=DepthNoise)
    color: ColorNoise = field(default_factory=ColorNoise)
    scene: SceneDraw = field(default_factory=SceneDraw)
    action_delay_periods: int = 0
    observation_delay_periods: int = 0
    gravity_tilt_rad: tuple[float, float] = (0.0, 0.0)
    sensor_seed: int = 0

    @staticmethod
    def nominal(joint_count: int) -> Draw:
        """Return the draw that changes nothing."""
        return Draw(ServoDraw.nominal(joint_count))

    def as_info(self) -> dict[str, float]:
        """Return every number under its name, `camera.translation_m.0` for one of several: what `info` logs."""
        return dict(_numbers("", self))


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float):
        yield name, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _numbers(f"{name}.{index}", item)
    elif dataclasses.is_dataclass(value):
        for part in dataclasses.fields(value):
            yield from _numbers(f"{name}.{part.name}" if name else part.name, getattr(value, part.name))
    else:
        raise SimError(f"{name} holds a {type(value).__name__}; a draw holds numbers, tuples of them and groups")
