"""A world that shows episodes before their first step, so that people can see what they would train with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bridge.observation import CameraView, ImageKind, ObservationSpec
from sim.draws import Draw
from sim.env import ArmEnv
from sim.objects import BLOCK_SIZE_M, ObjectFacts
from sim.randomization import NONE, Randomization
from sim.sensors import DepthImage, RgbImage
from urdf.pose import Pose

#: Askew, so that three sides of the block can be told apart.
_YAW_RAD = math.radians(20.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """One episode before its first step: colour (H, W, 3), depth (h, w) in metres, the draw and the cube."""

    draw: Draw
    cube: ObjectFacts
    rgb: RgbImage
    depth_m: DepthImage


class Studio:
    """The grasp of one arm, seen by one of its cameras: the very environment that a policy learns in."""

    def __init__(
        self, arm: str, rig: str, camera: str, rgb_px: int, depth_px: int, randomization: Randomization = NONE
    ) -> None:
        rgb = CameraView(camera, ImageKind.RGB, rgb_px, rgb_px)
        depth = CameraView(camera, ImageKind.DEPTH, depth_px, depth_px)
        self._keys = (rgb.key, depth.key)
        spec = ObservationSpec(state=False, views=(rgb, depth))
        self._env = ArmEnv(arm=arm, rig=rig, spec=spec, randomization=randomization)

    def close(self) -> None:
        """Free the world."""
        self._env.close()

    def samples(self, seed: int) -> Iterator[Sample]:
        """Give one episode after the other without end; the same ones for the same seed."""
        start: int | None = seed
        # Where the cube lies is the task's doing: it stays in the middle, so that tiles differ by what was drawn.
        x, y = self._env.rig.area_center_m
        block = Pose.from_rotvec([x, y, BLOCK_SIZE_M / 2], [0.0, 0.0, _YAW_RAD])
        while True:
            observation, _ = self._env.reset(seed=start, options={"block": block})
            start = None
            assert isinstance(observation, dict)
            rgb, depth = (observation[key] for key in self._keys)
            cube = self._env.world.objects.target_facts
            yield Sample(self._env.draw, cube, rgb.transpose(1, 2, 0).astype(np.uint8), depth[0].astype(np.float32))
