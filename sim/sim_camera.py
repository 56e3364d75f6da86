"""SimCamera: one camera of the arm in simulation, giving pictures in the layout of an observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
import pybullet as bullet
from numpy.typing import ArrayLike, NDArray

from bridge.observation import CameraView, ImageKind
from sim.pinhole import PinholeCamera
from sim.raycast import DepthCaster
from sim.rendering import LIGHT_DIRECTION, Picture, take_picture
from sim.world import ArmWorld
from urdf.pose import Pose

#: ITU-R BT.601.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

Depth = NDArray[np.float32]
Rgb = NDArray[np.uint8]


class DepthEngine(StrEnum):
    """Who measures depth: our own caster, the same with round shapes truly round, or the renderer of the colours."""

    RAYCAST = "raycast"
    RAYCAST_EXACT = "raycast-exact"
    RENDERER = "renderer"


class SimCamera:
    """A camera of `world.description`, seeing `bodies` (all that are loaded now, unless told).

    `on_depth` takes and returns depth (H, W) float32 [m], `on_rgb` a picture (H, W, 3) uint8: what a sensor does to
    them before they become an observation. `light_direction` points at the light. All may be set anew at any time.
    Raises UnknownName for a camera that the arm does not have.
    """

    def __init__(
        self,
        world: ArmWorld,
        view: CameraView,
        depth_engine: DepthEngine = DepthEngine.RAYCAST,
        bodies: Sequence[int] | None = None,
    ) -> None:
        self.world = world
        self.view = view
        self.mount = world.description.camera(view.camera, world.rig)
        self.depth_engine = depth_engine
        self.on_depth: Callable[[Depth], Depth] | None = None
        self.on_rgb: Callable[[Rgb], Rgb] | None = None
        self.light_direction: Sequence[float] = LIGHT_DIRECTION
        self._caster: DepthCaster | None = None
        if view.kind is ImageKind.DEPTH and depth_engine is not DepthEngine.RENDERER:
            seen = _all_bodies(world.client) if bodies is None else bodies
            self._caster = DepthCaster(world.client, seen, depth_engine is DepthEngine.RAYCAST_EXACT)
        self.displace()

    @property
    def engine(self) -> str:
        """Who makes these pictures, for the record of a run."""
        return self.depth_engine.value if self._caster is not None else self.world.renderer_name

    def displace(
        self,
        translation_m: ArrayLike = (0.0, 0.0, 0.0),
        rotation_rad: ArrayLike = (0.0, 0.0, 0.0),
        fov_rad: float = 0.0,
    ) -> None:
        """Put the camera off its mount, in its own frame (rotation as axis times angle); nothing means back on it."""
        mount, view = self.mount, self.view
        self._link_from_camera = mount.link_from_camera @ Pose.from_rotvec(translation_m, rotation_rad)
        self.camera = PinholeCamera(mount.fov_y_rad + fov_rad, mount.near_m, mount.far_m, view.width_px, view.height_px)

    def look_again(self, bodies: Sequence[int] | None = None) -> None:
        """See what was loaded, removed or reshaped since: `bodies`, or all there are."""
        if self._caster is not None:
            self._caster.look_again(_all_bodies(self.world.client) if bodies is None else bodies)

    def pose(self) -> Pose:
        """Return `desk_from_camera` now."""
        return self.world.link_pose(self.mount.link) @ self._link_from_camera

    def depth_m(self) -> Depth:
        """Return the true depth (H, W) float32 [m]: along the optical axis, `far_m` where there is nothing."""
        if self._caster is not None:
            return self._caster.cast(self.pose(), self.camera).depth_m
        return self._picture(shadow=False)[1].astype(np.float32)

    def body_ids(self) -> NDArray[np.int32]:
        """Return which body each pixel shows (H, W), -1 where there is none."""
        if self._caster is not None:
            return self._caster.cast(self.pose(), self.camera).body
        return self._picture(shadow=False)[2]

    def rgb(self) -> Rgb:
        """Return the colours (H, W, 3) uint8 before any sensor."""
        return self._picture(shadow=True)[0]

    def read(self) -> NDArray[np.uint8] | NDArray[np.float16]:
        """Return the picture (C, H, W) of the view's kind: float16 metres, or uint8."""
        if self.view.kind is ImageKind.DEPTH:
            depth = self.depth_m()
            seen = depth if self.on_depth is None else self.on_depth(depth)
            return seen.astype(np.float16)[None]
        rgb = self.rgb()
        seen_rgb = rgb if self.on_rgb is None else self.on_rgb(rgb)
        if self.view.kind is ImageKind.GRAY:
            return gray(seen_rgb)[None]
        return np.ascontiguousarray(seen_rgb.transpose(2, 0, 1))

    def _picture(self, shadow: bool) -> Picture:
        world = self.world
        return take_picture(world.client, self.pose(), self.camera, world.renderer, self.light_direction, shadow)


def gray(rgb: Rgb) -> NDArray[np.uint8]:
    """Return the luma (H, W) of a picture (H, W, 3), rounded."""
    return np.rint(rgb.astype(np.float32) @ _LUMA).astype(np.uint8)


def _all_bodies(client: int) -> list[int]:
    count = bullet.getNumBodies(physicsClientId=client)
    return [bullet.getBodyUniqueId(i, physicsClientId=client) for i in range(count)]
