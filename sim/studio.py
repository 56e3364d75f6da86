"""A world that poses for every draw, so that people can see what randomisation does before they train with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pybullet as bullet

from sim.draws import Draw
from sim.objects import BLOCK_SIZE_M
from sim.randomization import Randomization
from sim.randomization_apply import SceneDresser, lit_picture
from sim.sensors import DepthImage, RgbImage, corrupt_depth, corrupt_rgb
from sim.world import ArmWorld, render
from urdf.description import ArmDescription, Rig, urdf_folder
from urdf.pose import Pose

#: Askew, so that three sides of the block can be told apart.
_YAW_RAD = math.radians(20.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One episode before its first step: colour (H, W, 3), depth (h, w) in metres, and the draw behind both."""

    draw: Draw
    rgb: RgbImage
    depth_m: DepthImage


class Studio:
    """One world and one of its arm's cameras: arm at home, block in the middle of its area, all else as drawn."""

    def __init__(self, description: ArmDescription, rig: Rig, camera: str, rgb_px: int, depth_px: int) -> None:
        self._mount = description.camera(camera)
        self._rgb_px, self._depth_px = rgb_px, depth_px
        self._joint_count = len(description.joint_names)
        self._world = ArmWorld(description, rig)

    def close(self) -> None:
        """Free the world."""
        self._world.close()

    def nominal(self) -> Sample:
        """Return what the camera sees when nothing is randomised."""
        return self.sample(Draw.nominal(self._joint_count))

    def samples(self, ranges: Randomization, seed: int) -> Iterator[Sample]:
        """Give one episode after the other without end; the same ones for the same seed."""
        rng = np.random.default_rng(seed)
        while True:
            yield self.sample(ranges.sample(rng, self._joint_count))

    def sample(self, draw: Draw) -> Sample:
        """Return what the camera sees under a draw."""
        world, client = self._world, self._world.client
        # The world's own block waits far away: its size is fixed once it is loaded.
        world.reset(world.rig.home_rad + np.array(draw.servo.zero_rad), None)
        block = self._load_block(draw)
        dresser = SceneDresser(client, world.desk, [block])
        dresser.apply(draw)
        mount = draw.camera.moved(self._mount)
        eye = world.link_pose(mount.link) @ mount.link_from_camera
        rgb = lit_picture(client, eye, mount, draw.scene.light_direction, self._rgb_px, self._rgb_px)
        side_px = self._depth_px
        _, depth_m, _ = render(client, eye, mount.fov_y_rad, mount.near_m, mount.far_m, side_px, side_px)
        dresser.apply(Draw.nominal(self._joint_count))
        bullet.removeBody(block, physicsClientId=client)
        rng = np.random.default_rng(draw.sensor_seed)
        seen_m = corrupt_depth(depth_m.astype(np.float32), draw.depth, rng)
        return Sample(draw, corrupt_rgb(rgb, draw.color, rng), seen_m)

    def _load_block(self, draw: Draw) -> int:
        factor = draw.scene.object_size_factor
        turn = Pose.from_rotvec([0.0, 0.0, 0.0], [0.0, 0.0, _YAW_RAD + draw.scene.object_yaw_rad])
        return bullet.loadURDF(
            str(urdf_folder() / "objects" / "block.urdf"),
            [*self._world.rig.area_center_m.tolist(), BLOCK_SIZE_M * factor / 2],
            turn.quat_xyzw.tolist(),
            globalScaling=factor,
            physicsClientId=self._world.client,
        )
