"""What surrounds an arm: how it is mounted, where it works, what sees it, and what guards it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from urdf.pose import Array, Pose
from urdf.tables import OutOfRange, names_in, number, numbers, pose_in, table_in, within

#: The name of the desk frame, where a camera mount may say a link.
DESK = "desk"
#: A picture plane does not see farther round.
_FOV_Y_DEG = (1.0, 170.0)


@dataclass(frozen=True, slots=True)
class CameraMount:
    """A camera fixed to a link, or to the desk frame of a rig where the link is `desk`.

    Its pose is in OpenCV convention (z forward, y down); vertical field of view, range.
    """

    name: str
    link: str
    link_from_camera: Pose
    fov_y_rad: float
    near_m: float
    far_m: float


@dataclass(frozen=True, slots=True)
class Guard:
    """A sphere fixed to a link, for the floor and self-collision checks of the safety filter."""

    link: str
    center_m: Array
    radius_m: float


@dataclass(frozen=True, slots=True)
class Rig:
    """How an arm is mounted and where it works. The desk frame has z up and its origin below the base axis.

    `area_*` is where objects lie, `reach_lower_m` and `reach_upper_m` (3,) the box that the tool is to serve,
    `desk_size_m` (2,) the desk, whose middle is the origin. All in the desk frame. `cameras`: mounts of the arm that go
    by another name here.
    """

    name: str
    desk_from_base: Pose
    area_center_m: Array
    area_size_m: Array
    hover_m: float
    grasp_m: float
    max_tilt_rad: float
    home_rad: Array
    rest_rad: Array
    floor_m: float
    reach_lower_m: Array
    reach_upper_m: Array
    desk_size_m: Array
    cameras: Mapping[str, str]

    def contains(self, desk_xy_m: ArrayLike, margin_m: float = 0.0) -> bool:
        """Return whether a point of the desk lies in the block area, enlarged by `margin_m`."""
        offset = np.abs(np.asarray(desk_xy_m, dtype=np.float64) - self.area_center_m)
        return bool(np.all(offset <= self.area_size_m / 2 + margin_m))


def read_camera(name: str, table: Mapping[str, object]) -> CameraMount:
    """Return the camera of an arm.toml's `[cameras.NAME]`; raises OutOfRange for a lens that cannot be."""
    fov_y_deg, near_m, far_m = (number(table, key) for key in ("fov_y_deg", "near_m", "far_m"))
    within("fov_y_deg", fov_y_deg, *_FOV_Y_DEG, "degrees")
    if not 0.0 < near_m < far_m:
        raise OutOfRange(f"near_m must be above 0 and below far_m ({far_m:g} m), got {near_m:g}")
    return CameraMount(name, str(table["link"]), pose_in(table), math.radians(fov_y_deg), near_m, far_m)


def read_guards(tables: list[dict[str, object]]) -> tuple[tuple[Guard, ...], tuple[tuple[int, int], ...]]:
    """Return the guard spheres and the index pairs that may collide: those whose `against` names the other's link."""
    guards = tuple(Guard(str(t["link"]), numbers(t, "center_m", 3), number(t, "radius_m")) for t in tables)
    pairs = tuple(
        (i, j)
        for i, table in enumerate(tables)
        for j, other in enumerate(guards)
        if other.link in names_in(table, "against", optional=True)
    )
    return guards, pairs


def read_rig(name: str, table: Mapping[str, object], lower_rad: Array, upper_rad: Array) -> Rig:
    """Return the rig of an arm.toml's `[rigs.NAME]`; raises ValueError where its poses leave the joint limits."""
    rig = Rig(
        name=name,
        desk_from_base=pose_in(table),
        area_center_m=numbers(table, "area_center_m", 2),
        area_size_m=numbers(table, "area_size_m", 2),
        hover_m=number(table, "hover_m"),
        grasp_m=number(table, "grasp_m"),
        max_tilt_rad=math.radians(number(table, "max_tilt_deg")),
        home_rad=_pose_within(table, "home_rad", lower_rad, upper_rad),
        rest_rad=_pose_within(table, "rest_rad", lower_rad, upper_rad),
        floor_m=number(table, "floor_m"),
        reach_lower_m=numbers(table, "reach_lower_m", 3),
        reach_upper_m=numbers(table, "reach_upper_m", 3),
        desk_size_m=numbers(table, "desk_size_m", 2, default=(1.2, 1.2)),
        cameras={asked: str(mount) for asked, mount in table_in(table, "cameras", optional=True).items()},
    )
    if not (rig.area_size_m > 0.0).all():
        raise OutOfRange(f"area_size_m must be above 0 along x and y, got {rig.area_size_m.tolist()}")
    if not rig.grasp_m > 0.0:
        raise OutOfRange(f"grasp_m must be above 0 (the desk), got {rig.grasp_m:g}")
    if not rig.hover_m > rig.grasp_m:
        raise OutOfRange(f"hover_m must be above grasp_m ({rig.grasp_m:g} m), got {rig.hover_m:g}")
    if not (rig.reach_lower_m < rig.reach_upper_m).all():
        raise ValueError(f"reach_lower_m {rig.reach_lower_m} must lie below reach_upper_m {rig.reach_upper_m}")
    if not (np.abs(rig.area_center_m) + rig.area_size_m / 2 <= rig.desk_size_m / 2).all():
        raise ValueError(f"the area ends beyond the desk of {rig.desk_size_m} m")
    return rig


def _pose_within(table: Mapping[str, object], key: str, lower_rad: Array, upper_rad: Array) -> Array:
    """Return the pose, jaws open no further than they go: a rig may come from an arm whose jaws open wider."""
    pose = numbers(table, key, len(lower_rad)).copy()
    pose[-1] = max(pose[-1], lower_rad[-1])
    pose.setflags(write=False)
    if (pose < lower_rad).any() or (pose > upper_rad).any():
        raise ValueError(f"{key} {pose.tolist()} lies outside the joint limits")
    return pose
