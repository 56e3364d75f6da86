"""Puts what was drawn for an episode where it belongs: objects, servos, delays, cameras, light, gravity."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bridge.delayed import DelayedRobot
from bridge.ports import Robot
from calibration.actuator import ActuatorModel, ServoErrors
from sim.draws import CameraDraw, Draw, ServoDraw
from sim.objects import BLOCK_SIZE_M, LATERAL_FRICTION, Placement
from sim.randomization_apply import SceneDresser
from sim.ranges import Range
from sim.sensors import ColorNoise, DepthImage, DepthNoise, RgbImage, corrupt_depth, corrupt_rgb
from sim.sim_camera import SimCamera
from sim.sim_robot import SimRobot
from sim.tasks.task import Scene
from sim.world import ArmWorld
from urdf.pose import Array, Pose

#: A range of sizes becomes so many objects of the pool.
_POOL_SIZES = 7
#: The fastest way to nothing: an actuator is no slower than this after its dead time was shortened.
_NO_TIME_S = 0.0


def pool_sizes_m(factors: Range) -> tuple[float, ...]:
    """Return the sizes that a pool needs for a range of size factors: one, or seven from end to end."""
    if factors.low == factors.high:
        return (BLOCK_SIZE_M * factors.low,)
    return tuple(float(v) for v in BLOCK_SIZE_M * np.linspace(factors.low, factors.high, _POOL_SIZES))


class Dresser:
    """Makes one world what a draw says, episode after episode. A nominal draw leaves everything as it is."""

    def __init__(self, world: ArmWorld, robot: SimRobot, cameras: Sequence[SimCamera]) -> None:
        self._world, self._robot, self._cameras = world, robot, cameras
        bodies = [pooled.body for pooled in world.objects.objects]
        self._scene = SceneDresser(world.client, world.desk, bodies)
        self._nominal_servo = ServoDraw.nominal(len(world.description.joint_names))
        #: The robot of this episode: the simulated one, or one that is as late as was drawn.
        self.robot: Robot = robot

    def begin(self, draw: Draw, scene: Scene, home_rad: Array) -> Scene:
        """Start an episode from `home_rad` (n,); return the scene as it really is."""
        servo = draw.servo
        if servo == self._nominal_servo:
            self._robot.reset(home_rad, None)
        else:
            errors = ServoErrors.of(servo.zero_rad, servo.scale)
            self._robot.reset(home_rad, None, errors, changed_model(self._robot.model, servo))
        scene = self._dressed(draw, scene)
        self._world.objects.place(scene.placements)
        self._scene.apply(draw)
        for camera in self._cameras:
            _set_camera(camera, draw)
        late = draw.action_delay_periods or draw.observation_delay_periods
        self.robot = self._robot
        if late:
            self.robot = DelayedRobot(self._robot, draw.action_delay_periods, draw.observation_delay_periods)
        return scene

    def _dressed(self, draw: Draw, scene: Scene) -> Scene:
        """Return the scene with the target's mass, friction and yaw as drawn."""
        if not scene.placements:
            return scene
        drawn, target = draw.scene, scene.placements[0]
        pose = target.pose
        if drawn.object_yaw_rad:
            pose = pose @ Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, drawn.object_yaw_rad])
        pooled = self._world.objects.objects[target.index]
        placed = Placement(
            target.index,
            pose,
            None if drawn.object_mass_factor == 1.0 else drawn.object_mass_factor * pooled.mass_kg,
            None if drawn.object_friction_factor == 1.0 else drawn.object_friction_factor * LATERAL_FRICTION,
        )
        return Scene((placed, *scene.placements[1:]), scene.goal_m)


def changed_model(model: ActuatorModel, servo: ServoDraw) -> ActuatorModel:
    """Return the servos' model as drawn: slower, later, with more play."""
    return dataclasses.replace(
        model,
        max_speed_rad_s=tuple(v * servo.speed_factor for v in model.max_speed_rad_s),
        dead_time_s=max(_NO_TIME_S, model.dead_time_s + servo.dead_time_s),
        backlash_rad=tuple(a + b for a, b in zip(model.backlash_rad, servo.backlash_rad, strict=True)),
    )


def _set_camera(camera: SimCamera, draw: Draw) -> None:
    if draw.camera == CameraDraw():
        camera.displace()
    else:
        camera.displace(draw.camera.translation_m, draw.camera.rotation_rad, draw.camera.fov_rad)
    camera.light_direction = draw.scene.light_direction
    rng = np.random.default_rng(draw.sensor_seed)
    depth, color = draw.depth, draw.color

    def on_depth(image: DepthImage) -> DepthImage:
        return corrupt_depth(image, depth, rng)

    def on_rgb(image: RgbImage) -> RgbImage:
        return corrupt_rgb(image, color, rng)

    camera.on_depth = None if depth == DepthNoise() else on_depth
    camera.on_rgb = None if color == ColorNoise() else on_rgb
