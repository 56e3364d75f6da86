"""The desk in a depth picture: the plane that the kinematics expects, found where it really is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception.errors import DeskNotSeen
from urdf.pose import Array, Pose

#: How far from where it is expected the desk is looked for, and then ever nearer to where it was found [m].
_WINDOWS_M = (0.020, 0.010, 0.006, 0.004, 0.003, 0.003)
#: A camera whose mounting is off by more was bumped, or its calibration is another camera's.
_MOST_TILT_RAD, _MOST_SHIFT_M = math.radians(15.0), 0.030
_FEWEST_PIXELS, _LEAST_SHARE = 60, 0.10
#: No desk is flatter in a depth picture, and float16 metres have steps of 0.1 mm.
_LEAST_NOISE_M = 0.0002


@dataclass(frozen=True, slots=True)
class DeskFix:
    """Where the camera is, its tilt and height taken from the desk it sees: `desk_from_camera`.

    `noise_m`: standard deviation of the desk's points about the plane. `correction_m` and `correction_rad`: how far
    that moved and tilted the camera.
    """

    desk_from_camera: Pose
    noise_m: float
    correction_m: float
    correction_rad: float


def find_desk(points_m: Array, desk_from_camera: Pose, usable: NDArray[np.bool_] | None = None) -> DeskFix:
    """Find the desk among points (n, 3) [m] of the camera's frame; `usable` (n,) leaves out the arm's own.

    A picture of the desk tells three of the six numbers of the camera's pose better than an arm that sags and a
    mounting that was measured by hand: its height and its two tilts. The other three stay as they were.
    Raises DeskNotSeen where too little of the desk is in sight, or where it lies elsewhere than expected.
    """
    points = points_m if usable is None else points_m[usable]
    expected = desk_from_camera.apply(points)
    slope, height, noise = np.zeros(2), 0.0, _WINDOWS_M[0]
    for window in _WINDOWS_M:
        distance = expected[:, 2] - expected[:, :2] @ slope - height
        near = np.abs(distance) < max(window, 3.0 * noise if window < _WINDOWS_M[0] else window)
        if near.sum() < max(_FEWEST_PIXELS, _LEAST_SHARE * len(points_m)):
            raise DeskNotSeen(
                f"the desk: {int(near.sum())} of {len(points_m)} pixels with depth lie within {1000 * window:.0f} mm "
                "of where the arm's pose and the camera's mounting put it; is the calibration this camera's, and is "
                "enough of the desk in sight?"
            )
        # Tukey's weights: what stands on the desk does not lift it.
        weight = (1.0 - (distance[near] / np.abs(distance[near]).max(initial=1e-6)) ** 2) ** 2 + 1e-6
        design = np.column_stack([expected[near, :2], np.ones(int(near.sum()))])
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(design * root[:, None], expected[near, 2] * root, rcond=None)[0]
        slope, height = solution[:2], float(solution[2])
        left = expected[near, 2] - design @ solution
        noise = max(_LEAST_NOISE_M, 1.4826 * float(np.median(np.abs(left))))
    return _levelled(desk_from_camera, slope, height, noise)


def _levelled(desk_from_camera: Pose, slope: Array, height: float, noise: float) -> DeskFix:
    """Return the camera's pose turned and lifted so that the plane z = slope . xy + height becomes z = 0."""
    normal = np.array([-slope[0], -slope[1], 1.0])
    normal /= np.linalg.norm(normal)
    tilt_rad = math.acos(min(1.0, float(normal[2])))
    axis = np.cross(normal, [0.0, 0.0, 1.0])
    length = float(np.linalg.norm(axis))
    turn = axis * (tilt_rad / length) if length > 1e-12 else np.zeros(3)
    # The camera's own distance from the plane is its height.
    x, y, z = desk_from_camera.position_m
    distance = float(normal @ np.array([x, y, z - height]))
    moved = distance - float(z)
    if tilt_rad > _MOST_TILT_RAD or abs(moved) > _MOST_SHIFT_M:
        raise DeskNotSeen(
            f"the plane in the picture is tilted by {math.degrees(tilt_rad):.1f} degrees and {1000 * moved:+.0f} mm "
            f"off where the desk should be; up to {math.degrees(_MOST_TILT_RAD):.0f} degrees and "
            f"{1000 * _MOST_SHIFT_M:.0f} mm are believed: calibrate the camera's mounting again (tandem calibrate "
            "hand-eye)"
        )
    rotation = Pose.from_rotvec(np.zeros(3), turn) @ Pose(np.zeros(3), desk_from_camera.quat_xyzw)
    return DeskFix(Pose(np.array([x, y, distance]), rotation.quat_xyzw), noise, abs(moved), tilt_rad)
