"""Pictures of a block with the truth about it: what the depth bench measures on and what a locator learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.observation import CameraView, ImageKind, ObservationSpec
from bridge.ports import Intrinsics
from perception.learned import heading
from perception.rgbd import MountedCamera
from perception.view import view_intrinsics
from sim.env import ArmEnv
from urdf.pose import Array, Pose

CAMERA, SIDE_PX = "wrist", 64
#: How far the joints leave home where the arm is not at home: the wrist camera then stands anywhere above the area.
_JOINT_SIGMA_RAD = 0.10
_IN_VIEW_PX = 4.0
#: Of the block so many pixels must be seen for a picture to count as one that shows it.
_FEWEST_SEEN = 25


@dataclass(frozen=True, slots=True)
class BlockScene:
    """One scene: pictures (C, H, W) by kind, what the arm believes, and the truth.

    `believed`: `desk_from_camera` by joint readings and nominal mounting, with `lens` as the data sheet has it; `true`
    and `true_lens` are where it was, and what its lens really was. `place` (2,): the centre of the block in the
    picture, from -1 to 1. `shown`: whether it is in view.
    """

    pictures: Mapping[ImageKind, NDArray[np.generic]]
    joints_rad: Array
    believed: Pose
    lens: Intrinsics
    true: Pose
    true_lens: Intrinsics
    desk_from_block: Pose
    place: Array
    yaw4: Array
    shown: bool


class BlockScenes:
    """Makes scenes of one arm in a table rig; scene `number` of a seed is always the same."""

    def __init__(
        self,
        arm: str = "dofbot",
        rig: str = "table",
        randomization: str = "mild",
        kinds: Sequence[ImageKind] = (ImageKind.DEPTH,),
        seed: int = 0,
        home_share: float = 1.0,
    ) -> None:
        self.views = {kind: CameraView(CAMERA, kind, SIDE_PX, SIDE_PX) for kind in kinds}
        spec = ObservationSpec(views=tuple(self.views.values()))
        self.env = ArmEnv(arm=arm, rig=rig, spec=spec, randomization=randomization)
        self.description, self.rig = self.env.description, self.env.rig
        self.mount = self.description.camera(CAMERA, self.rig)
        self._mounted = MountedCamera(self.description, self.rig, self.mount)
        self._seed, self._home_share = seed, home_share

    def scene(self, number: int) -> BlockScene:
        """Return one scene."""
        rng = np.random.default_rng([self._seed, number])
        env = self.env
        env.reset(seed=int(rng.integers(1 << 31)))
        away = np.zeros(len(self.rig.home_rad))
        if rng.random() >= self._home_share:
            away[:-1] = rng.normal(0.0, _JOINT_SIGMA_RAD, len(away) - 1)
            self._move(away)
        believed_rad = np.array(env.robot.read_state().position_rad) + away
        cameras = [env.observer.cameras[view.key] for view in self.views.values()]
        pictures: dict[ImageKind, NDArray[np.generic]] = {
            kind: camera.read() for kind, camera in zip(self.views, cameras, strict=True)
        }
        camera = cameras[0]
        true, block = camera.pose(), env.world.block_pose()
        lens = view_intrinsics(self.mount, camera.view)
        focal, middle = camera.camera.focal_px, (SIDE_PX - 1) / 2
        x, y, z = true.inverse().apply(block.position_m)
        pixel = np.array([focal * x / z + middle, focal * y / z + middle])
        target = env.world.objects.objects[env.scene.placements[0].index].body
        inside = z > 0 and bool(((pixel > _IN_VIEW_PX) & (pixel < SIDE_PX - 1 - _IN_VIEW_PX)).all())
        seen = inside and int((self._labels(camera) == target).sum()) >= _FEWEST_SEEN
        yaw = 4 * (block.yaw_rad - heading(true))
        return BlockScene(
            pictures, believed_rad, self._mounted.pose(believed_rad), lens, true,
            Intrinsics(SIDE_PX, SIDE_PX, focal, focal, middle, middle), block, pixel / middle - 1.0,
            np.array([math.cos(yaw), math.sin(yaw)]), seen,
        )  # fmt: skip

    def _labels(self, camera: object) -> NDArray[np.int32]:
        depth = next((c for c in self.env.observer.cameras.values() if c.view.kind is ImageKind.DEPTH), None)
        return (depth or self.env.observer.cameras[f"{CAMERA}_{next(iter(self.views)).value}"]).body_ids()

    def _move(self, away_rad: Array) -> None:
        """Put the arm elsewhere at once, its servos' errors as they are."""
        env = self.env
        true_rad = env.world.joint_states()[0] + away_rad
        lower, upper = self.description.lower_rad, self.description.upper_rad
        env.world.reset(np.clip(true_rad, lower, upper), None)
        env.world.objects.place(env.scene.placements)

    def close(self) -> None:
        """Free the world."""
        self.env.close()
