"""What the wrist cameras show: the object from home to the lift on every arm, and nothing of their own housings."""

from __future__ import annotations

import math

import numpy as np
import pybullet as bullet
import pytest

from bridge.observation import CameraView, ImageKind, ObservationSpec
from sim.env import ArmEnv
from sim.randomization import randomization
from sim.raycast import DepthCaster
from sim.sim_camera import SimCamera
from tests.sim.lifting import Lifter
from urdf.description import load_arm
from urdf.pose import Pose

ARMS = ("dofbot", "ur5", "kuka_iiwa")
each_arm = pytest.mark.parametrize("arm_name", ARMS)
WRIST = CameraView("wrist", ImageKind.DEPTH)
#: Of 64 x 64: a block that a small network still makes out, and what it should mostly have.
LEAST_PX, MEDIAN_PX = 60, 100
EPISODES = 100


class Watcher:
    """A lifter whose wrist camera counts the pixels of the block."""

    def __init__(self, arm_name: str) -> None:
        self.lifter = Lifter("table", load_arm(arm_name))
        self.camera = SimCamera(self.lifter.world, WRIST)

    def pixels(self) -> int:
        return int((self.camera.body_ids() == self.lifter.world.block).sum())

    def from_home(self) -> list[int]:
        """For blocks all over the area, its edges and corners included, turned every way."""
        rig, counts = self.lifter.rig, []
        for x in (-0.5, -0.25, 0.0, 0.25, 0.5):
            for y in (-0.5, 0.0, 0.5):
                place_m = [*(rig.area_center_m + [x, y] * rig.area_size_m), 0.015]
                for yaw_deg in (-45.0, -20.0, 0.0, 20.0):
                    block = Pose.from_rotvec(place_m, [0.0, 0.0, math.radians(yaw_deg)])
                    self.lifter.world.reset(rig.home_rad, block)
                    counts.append(self.pixels())
        return counts

    def above(self, height_m: float) -> list[int]:
        """For open jaws at `height_m` over a block in several places, turned as it is."""
        lifter, rig, counts = self.lifter, self.lifter.rig, []
        for x in (-0.4, 0.0, 0.4):
            for y in (-0.4, 0.0, 0.4):
                place_m = rig.area_center_m + [x, y] * rig.area_size_m
                for yaw_deg in (-40.0, 0.0, 40.0):
                    yaw_rad = math.radians(yaw_deg)
                    joints = lifter.kinematics.solve(np.append(place_m, height_m), yaw_rad, rig.home_rad)
                    block = Pose.from_rotvec([*place_m, 0.015], [0.0, 0.0, yaw_rad])
                    lifter.world.reset(np.append(joints, lifter.arm.gripper.open_rad), block)
                    counts.append(self.pixels())
        return counts

    def held(self) -> list[int]:
        """For a block between closed jaws, on the desk and lifted."""
        counts: list[int] = []
        for yaw_deg in (-40.0, 0.0, 40.0):
            self.lifter.grip((0.0, 0.0), math.radians(yaw_deg))
            counts.append(self.pixels())
            self.lifter.lift()
            assert self.lifter.world.jaws_touching() == 2
            counts.append(self.pixels())
        return counts


@each_arm
def test_the_wrist_camera_sees_the_block_from_home_to_the_lift(arm_name: str) -> None:
    watcher = Watcher(arm_name)
    rig = watcher.lifter.rig
    assert min(watcher.from_home()) >= LEAST_PX
    looks = {"hover": watcher.above(rig.hover_m), "grasp": watcher.above(rig.grasp_m), "held": watcher.held()}
    watcher.lifter.close()
    for moment, counts in looks.items():
        assert min(counts) >= LEAST_PX, (moment, counts)
        assert np.median(counts) >= MEDIAN_PX, (moment, counts)


@each_arm
def test_a_displaced_wrist_camera_does_not_see_its_own_housing(arm_name: str) -> None:
    """A housing that reaches beyond the lens would be cut open by the near plane: needles in the picture."""
    env = ArmEnv(arm_name, randomization=randomization("hard"), spec=ObservationSpec(views=(WRIST,)))
    world, camera = env.world, env.observer.cameras["wrist_depth"]
    joints = range(bullet.getNumJoints(world.arm, physicsClientId=world.client))
    names = [bullet.getJointInfo(world.arm, i, physicsClientId=world.client)[12].decode() for i in joints]
    own = names.index(camera.mount.link)
    caster = DepthCaster(world.client, [world.arm])
    for seed in range(EPISODES):
        env.reset(seed=seed)
        seen = caster.cast(camera.pose(), camera.camera)
        near = (seen.link == own) & (seen.body == world.arm) & (seen.depth_m < 0.025)
        assert not near.any(), f"seed {seed}: {near.sum()} pixels"
    env.close()
