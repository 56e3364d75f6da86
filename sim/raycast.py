"""DepthCaster: depth and instance segmentation from the links' own geometry, several times faster than TinyRenderer.

Ref: docs/depth.md (how the engine was chosen, what it agrees with, what it costs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from sim.errors import SimError
from sim.geometry import read_geometry
from sim.pinhole import PinholeCamera
from sim.raycast_kernel import draw
from sim.shapes import Floats
from urdf.pose import Pose


class Cast(NamedTuple):
    """depth_m (H, W) float32 along the optical axis; body and link (H, W) int32, both -1 where nothing is seen.

    A base is link -1 of its body: ask `body` first.
    """

    depth_m: NDArray[np.float32]
    body: NDArray[np.int32]
    link: NDArray[np.int32]


class DepthCaster:
    """Sees some bodies of one client. Shapes are read once, poses at every cast; a parked body costs a microsecond.

    Spheres, cylinders and capsules are seen as PyBullet draws them, so that depth and colours agree; or, with `exact`,
    as they are. The difference is a millimetre or two.
    """

    def __init__(self, client: int, bodies: Sequence[int], exact: bool = False) -> None:
        self.client = client
        self.exact = exact
        self.look_again(bodies)

    def look_again(self, bodies: Sequence[int]) -> None:
        """Read the shapes of `bodies` anew: after one was loaded, removed or given another shape."""
        self.bodies = tuple(bodies)
        self.geometry = read_geometry(self.client, self.bodies, self.exact)
        slots = self.geometry.slots
        self._bases = [body for body, link in slots if link < 0]
        links = {body: [link for b, link in slots if b == body and link >= 0] for body in self.bodies}
        self._links = [(body, indices) for body, indices in links.items() if indices]
        self._seen = np.empty((self.geometry.most_vertices, 6))

    def poses(self) -> Floats:
        """Return the poses (s, 7) of `geometry.slots`: position, quaternion xyzw."""
        c = self.client
        rows: list[tuple[float, ...]] = []
        try:
            for body in self._bases:
                position, quat = bullet.getBasePositionAndOrientation(body, physicsClientId=c)
                rows.append(position + quat)
            for body, links in self._links:
                states = bullet.getLinkStates(body, links, computeForwardKinematics=True, physicsClientId=c)
                rows += [state[4] + state[5] for state in states]
        except bullet.error as error:
            raise SimError(
                f"of the bodies {self.bodies} one is gone ({error}): look_again at those that stay"
            ) from error
        return np.array(rows, dtype=np.float64).reshape(-1, 7)

    def cast(self, desk_from_camera: Pose, camera: PinholeCamera) -> Cast:
        """Return what a camera at `desk_from_camera` (z forward, y down) sees now."""
        pose = np.concatenate([desk_from_camera.position_m, desk_from_camera.quat_xyzw])
        depth_m = np.empty((camera.height_px, camera.width_px), np.float32)
        labels = np.empty((2, camera.height_px, camera.width_px), np.int32)
        draw(self.poses(), pose, camera.lens, self.geometry.shapes, self._seen, depth_m, labels)
        return Cast(depth_m, labels[0], labels[1])


def prepare() -> None:
    """Compile the kernel, or load what an earlier process compiled.

    Compiling takes several seconds and 100 MiB, loading a fraction of a second. Call it before workers start, and none
    of them compiles.
    """
    client = bullet.connect(bullet.DIRECT)
    try:
        DepthCaster(client, []).cast(Pose.identity(), PinholeCamera(1.0, 0.1, 1.0, 1, 1))
    finally:
        bullet.disconnect(physicsClientId=client)
