"""Scenes to look at: the arms of this project, and others straight from the packages that ship them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybullet as bullet
import pybullet_data

from sim.pinhole import PinholeCamera
from sim.world import ArmWorld
from urdf.description import DESK, load_arm
from urdf.pose import Array, Pose


def look_at(eye_m: Array, target_m: Array) -> Pose:
    forward = (target_m - eye_m) / np.linalg.norm(target_m - eye_m)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    matrix[:3, 3] = eye_m
    return Pose.from_matrix(matrix)


def arm_scenes(arm: str, rig: str, camera: str, count: int) -> Iterator[tuple[ArmWorld, Pose, PinholeCamera]]:
    """Yield a world, camera pose and camera: half of the poses anywhere within the limits, half near home."""
    description = load_arm(arm)
    world = ArmWorld(description, description.rig(rig))
    mount = description.camera(camera, world.rig)
    lens = PinholeCamera(mount.fov_y_rad, mount.near_m, mount.far_m, 64, 64)
    rng = np.random.default_rng(11)
    area = world.rig
    for number in range(count):
        near_home = area.home_rad + rng.normal(0.0, 0.2, len(area.home_rad))
        anywhere = rng.uniform(description.lower_rad, description.upper_rad)
        joints = np.clip(near_home if number % 2 else anywhere, description.lower_rad, description.upper_rad)
        x, y = area.area_center_m + rng.uniform(-0.5, 0.5, 2) * area.area_size_m
        world.reset(joints, Pose.from_rotvec([x, y, 0.015], [0.0, 0.0, rng.uniform(-math.pi, math.pi)]))
        desk_from_link = Pose.identity() if mount.link == DESK else world.link_pose(mount.link)
        yield world, desk_from_link @ mount.link_from_camera, lens
    world.close()


@dataclass(frozen=True)
class MeshArm:
    """An arm of triangle meshes: its file, its flange, and a camera beside that."""

    name: str
    urdf: Path
    flange: str
    flange_from_camera: Pose


def mesh_arms() -> list[MeshArm]:
    shared = Path(pybullet_data.getDataPath())
    beside = look_at(np.array([0.13, 0.02, 0.12]), np.array([0.0, 0.0, 0.02]))
    arms = [
        MeshArm("kuka", shared / "kuka_iiwa" / "model.urdf", "lbr_iiwa_link_7", beside),
        MeshArm("panda", shared / "franka_panda" / "panda.urdf", "panda_hand", beside),
    ]
    cmeel = importlib.util.find_spec("cmeel")
    if cmeel is not None and cmeel.origin is not None:
        robots = Path(cmeel.origin).parents[1] / "cmeel.prefix" / "share" / "example-robot-data" / "robots"
        ur5 = robots / "ur_description" / "urdf" / "ur5_robot.urdf"
        if ur5.is_file():
            arms.append(
                MeshArm("ur5", ur5, "wrist_3_link", look_at(np.array([0.02, 0.16, 0.10]), np.array([0.0, 0.05, 0.0])))
            )
    return arms


@dataclass(frozen=True)
class MeshScene:
    """An arm on a desk with a box, in a client of its own."""

    client: int
    desk: int
    box: int
    arm: int
    arm_kind: MeshArm

    @staticmethod
    def load(arm: MeshArm) -> MeshScene:
        client = bullet.connect(bullet.DIRECT)
        # The UR5 names its meshes package://ur_description/...
        bullet.setAdditionalSearchPath(str(arm.urdf.parents[2]), physicsClientId=client)
        bodies: list[int] = []
        for half, position in (([0.6, 0.6, 0.5], [0, 0, -0.5]), ([0.02, 0.02, 0.02], [0.45, 0.1, 0.02])):
            look = bullet.createVisualShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
            bodies.append(bullet.createMultiBody(0, -1, look, position, physicsClientId=client))
        body = bullet.loadURDF(str(arm.urdf), useFixedBase=True, physicsClientId=client)
        return MeshScene(client, bodies[0], bodies[1], body, arm)

    def views(self, count: int, from_desk: bool) -> Iterator[tuple[Pose, PinholeCamera]]:
        """Yield camera poses of random joint angles: at the flange, or 1.2 m away."""
        rng = np.random.default_rng(12)
        c, arm = self.client, self.arm
        joints = [bullet.getJointInfo(arm, i, physicsClientId=c) for i in range(bullet.getNumJoints(arm, c))]
        flange = next(joint[0] for joint in joints if joint[12].decode() == self.arm_kind.flange)
        for _ in range(count):
            for joint in joints:
                if joint[2] != bullet.JOINT_FIXED:
                    low, high = (joint[8], joint[9]) if joint[8] < joint[9] else (-3.0, 3.0)
                    angle = rng.uniform(max(low, -2.5), min(high, 2.5))
                    bullet.resetJointState(arm, joint[0], angle, physicsClientId=c)
            if from_desk:
                eye = np.array([1.0, 0.6, 0.7]) + rng.uniform(-0.1, 0.1, 3)
                yield look_at(eye, np.array([0.2, 0.0, 0.35])), PinholeCamera(math.radians(60), 0.02, 3.0, 64, 64)
            else:
                state = bullet.getLinkState(arm, flange, computeForwardKinematics=True, physicsClientId=c)
                pose = Pose(np.array(state[4]), np.array(state[5])) @ self.arm_kind.flange_from_camera
                yield pose, PinholeCamera(math.radians(60), 0.02, 3.0, 64, 64)

    def close(self) -> None:
        bullet.disconnect(self.client)
