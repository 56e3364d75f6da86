"""LabDepthEye: the lab's depth camera at the wrist: colours, and metres as a stereo camera sees them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pybullet as bullet

from bridge.observation import CameraView, ImageKind
from bridge.ports import Frame, Intrinsics
from sim.lab_levels import gap_level
from sim.lab_truth import LabTruth
from sim.sensors import DepthNoise, corrupt_depth
from sim.sim_camera import SimCamera
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.pose import Pose

WRIST_CAMERA = "wrist"
WIDTH_PX, HEIGHT_PX = 320, 240


class LabDepthEye:
    """Draws what the wrist camera of this unit sees: put on a little askew, its depths a little off, with noise."""

    def __init__(self, description: ArmDescription, rig: Rig, truth: LabTruth) -> None:
        self._world = ArmWorld(description, rig)
        self._noise, self._scale = DepthNoise(*gap_level(truth.level).depth_noise), truth.depth_scale
        self._camera = SimCamera(self._world, CameraView(WRIST_CAMERA, ImageKind.DEPTH, WIDTH_PX, HEIGHT_PX))
        self._camera.displace(truth.wrist_shift_m, truth.wrist_turn_rad)
        self._rng = np.random.default_rng([truth.seed, 3])
        pinhole = self._camera.camera
        focal_px, middle = pinhole.focal_px, ((WIDTH_PX - 1) / 2, (HEIGHT_PX - 1) / 2)
        self.intrinsics = Intrinsics(WIDTH_PX, HEIGHT_PX, focal_px, focal_px, *middle)

    def draw(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose, seq: int, stamp_ns: int) -> Frame:
        """Return the frame of a scene: `depth_m` along the optical axis, 0 where the camera does not know."""
        world = self._world
        for name, angle in joint_angles_rad.items():
            bullet.resetJointState(world.arm, world.joint_index[name], angle, physicsClientId=world.client)
        bullet.resetBasePositionAndOrientation(
            world.block, desk_from_block.position_m.tolist(), desk_from_block.quat_xyzw.tolist(), world.client
        )
        depth = self._camera.depth_m()
        far = depth >= self._camera.camera.far_m
        seen = corrupt_depth((depth * self._scale).astype(np.float32), self._noise, self._rng)
        return Frame(
            WRIST_CAMERA, seq, stamp_ns, self._camera.rgb(), self.intrinsics, np.where(far, np.float32(0), seen)
        )

    def close(self) -> None:
        """Give the PyBullet client back."""
        self._world.close()
