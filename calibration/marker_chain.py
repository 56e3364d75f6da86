"""MarkerChain: where a fixed camera sees the corners of a marker on the gripper, and how that changes with everything.

Pictures are in normalised coordinates: (x / z, y / z) of the camera, lens undone, 1 about one focal length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from urdf.chain import motion_terms
from urdf.description import ArmDescription
from urdf.pose import Array, Pose


def square_m(size_m: float) -> Array:
    """Return the corners (4, 3) of a marker in its own frame, clockwise from its top left, as OpenCV orders them."""
    h = size_m / 2
    return np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]])


@dataclass(frozen=True, slots=True)
class Placing:
    """Where the camera stands and how the marker sits on the gripper."""

    base_from_camera: Pose
    tool_from_marker: Pose

    def moved(self, base_twist: Array, tool_twist: Array) -> Placing:
        """Return it with everything seen moved by `base_twist` (6,) in the base frame, the marker by `tool_twist`."""
        return Placing(Pose.exp(-base_twist) @ self.base_from_camera, Pose.exp(tool_twist) @ self.tool_from_marker)


@dataclass(frozen=True, slots=True)
class SeenCorners:
    """Of n poses with c corners: `image` (n, c, 2), and what a change does to it, rows (n, 2c).

    `by_joint` (n, 2c, a) per rad, `by_base` and `by_tool` (n, 2c, 6) per twist of `Placing.moved`. `depth_m` (n, c);
    `facing` (n,) is the cosine between the marker's normal and the way to the camera.
    """

    image: Array
    by_joint: Array
    by_base: Array
    by_tool: Array
    depth_m: Array
    facing: Array


class MarkerChain:
    """The arm's joints from base to tool, with the marker's corners (c, 3) at the end."""

    def __init__(self, description: ArmDescription, corners_m: Array) -> None:
        by_child = {joint.child: joint for joint in description.chain.joints}
        link, path = description.tool_link, list[str]()
        while link != description.chain.root:
            path.insert(0, link)
            link = by_child[link].parent
        self._joints = [by_child[link] for link in path]
        self._terms = [motion_terms(joint) for joint in self._joints]
        self._columns = {name: k for k, name in enumerate(description.joint_names[:-1])}
        self._link_from_tool = description.link_from_tool.as_matrix()
        self.joint_count = description.arm_joint_count
        self.corners_m = corners_m

    def base_from_tool(self, angles_rad: Array) -> tuple[Array, Array, Array]:
        """Return the tool (n, 4, 4), and each joint's axis and a point on it (n, a, 3) in the base frame, of (n, a)."""
        count = len(angles_rad)
        pose = np.tile(np.eye(4), (count, 1, 1))
        axes, points = np.zeros((2, count, self.joint_count, 3))
        for joint, (constant, cosine, sine) in zip(self._joints, self._terms, strict=True):
            column = self._columns.get(joint.name)
            if column is None:
                pose = pose @ (constant + cosine)
                continue
            frame = pose @ joint.parent_from_joint.as_matrix()
            axes[:, column] = frame[:, :3, :3] @ joint.axis
            points[:, column] = frame[:, :3, 3]
            angle = angles_rad[:, column, None, None]
            pose = pose @ (constant + np.cos(angle) * cosine + np.sin(angle) * sine)
        return pose @ self._link_from_tool, axes, points

    def see(self, angles_rad: Array, placing: Placing) -> SeenCorners:
        """Return what the camera sees at the joint angles (n, a)."""
        tool, axes, points = self.base_from_tool(angles_rad)
        in_tool = placing.tool_from_marker.apply(self.corners_m)
        in_base = in_tool @ tool[:, :3, :3].transpose(0, 2, 1) + tool[:, None, :3, 3]
        camera_from_base = placing.base_from_camera.inverse()
        rotation = camera_from_base.rotation
        x, y, z = np.moveaxis(camera_from_base.apply(in_base), -1, 0)
        zero = np.zeros_like(z)
        lens = np.stack(
            [np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], -2
        )  # (n, c, 2, 3)
        to_image = lens @ rotation
        by_joint = np.cross(axes[:, None], in_base[:, :, None] - points[:, None])  # (n, c, a, 3)
        turned = tool[:, None, :3, :3]
        normal = tool[:, :3, :3] @ placing.tool_from_marker.rotation[:, 2]
        away = in_base.mean(1) - placing.base_from_camera.position_m
        rows = (len(angles_rad), -1)
        return SeenCorners(
            image=np.stack([x / z, y / z], -1),
            by_joint=(to_image @ by_joint.swapaxes(-1, -2)).reshape(*rows, self.joint_count),
            by_base=(to_image @ _twist_rows(in_base)).reshape(*rows, 6),
            by_tool=(to_image @ turned @ _twist_rows(in_tool)).reshape(*rows, 6),
            depth_m=z,
            facing=-np.einsum("ni,ni->n", normal, away) / np.linalg.norm(away, axis=-1),
        )


def _twist_rows(points_m: Array) -> Array:
    """Return how points (..., 3) move with a small twist, (..., 3, 6): translation, then rotation about the origin."""
    x, y, z = np.moveaxis(points_m, -1, 0)
    zero, one = np.zeros_like(x), np.ones_like(x)
    columns = [
        [one, zero, zero, zero, z, -y],
        [zero, one, zero, -z, zero, x],
        [zero, zero, one, y, -x, zero],
    ]
    return np.stack([np.stack(row, -1) for row in columns], -2)
