"""Where the guard spheres of an arm are, and how far they are from the floor and from one another: fast, in batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from urdf.chain import Joint, motion_terms
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

_EYE = np.eye(4)


class GuardModel:
    """The guard spheres of an arm on a rig, with everything constant worked out beforehand.

    A joint's transform is linear in (1, cos q, sin q), so the transforms of all joints and all poses of a batch come
    from one expression; only the product along the tree is a loop. A check costs about a third of `link_matrices`.
    """

    def __init__(self, description: ArmDescription, rig: Rig) -> None:
        self._floor_m = rig.floor_m
        self._desk_up = rig.desk_from_base.rotation[2]
        self._desk_height_m = float(rig.desk_from_base.position_m[2])
        joints = _ancestors(description)
        slots = {description.chain.root: 0} | {j.child: k + 1 for k, j in enumerate(joints)}
        self._parents = [slots[j.parent] for j in joints]
        self._columns, self._signs = _drivers(description, joints)
        self.moved_by_gripper = bool(((self._columns == description.arm_joint_count) & (self._signs != 0.0)).any())
        self._prismatic = np.array([j.kind == "prismatic" for j in joints], dtype=bool)
        self._any_prismatic = bool(self._prismatic.any())
        terms = [motion_terms(j) for j in joints]
        self._terms = np.array(terms).reshape(-1, 3, 16)
        self._guard_slots = np.array([slots[g.link] for g in description.guards], dtype=np.intp)
        self._centers = np.array([[*g.center_m, 1.0] for g in description.guards]).reshape(-1, 4, 1)
        radii = np.array([g.radius_m for g in description.guards])
        # The root link stands on the desk whatever the arm does: its spheres are no matter for the floor.
        self._above_floor = np.flatnonzero(self._guard_slots > 0)
        self._floor_offsets_m = radii[self._above_floor] + self._floor_m - self._desk_height_m
        pairs = np.array(description.guard_pairs, dtype=np.intp).reshape(-1, 2)
        self._first, self._second = pairs[:, 0], pairs[:, 1]
        self._pair_reach_m = radii[self._first] + radii[self._second]
        self._travel_m = self._travels_m(joints, len(description.joint_names))

    def centers_m(self, positions_rad: Array) -> Array:
        """Return the sphere centres (m, guards, 3) in the base frame for poses (m, n)."""
        angles = positions_rad[:, self._columns] * self._signs
        coefficients = np.ones((*angles.shape, 1, 3))
        np.cos(angles, out=coefficients[:, :, 0, 1])
        np.sin(angles, out=coefficients[:, :, 0, 2])
        if self._any_prismatic:
            coefficients[:, self._prismatic, 0, 2] = angles[:, self._prismatic]
        motions = (coefficients @ self._terms).reshape(*angles.shape, 4, 4)
        poses = np.empty((len(positions_rad), len(self._parents) + 1, 4, 4))
        poses[:, 0] = _EYE
        for k, parent in enumerate(self._parents):
            if parent == 0:
                poses[:, k + 1] = motions[:, k]
            else:
                np.matmul(poses[:, parent], motions[:, k], out=poses[:, k + 1])
        return (poses.take(self._guard_slots, axis=1) @ self._centers)[:, :, :3, 0]

    def clearances_m(self, positions_rad: Array) -> Array:
        """Return (m, checks) for poses (m, n): height over the floor, then gap of each pair; negative is a hit."""
        centers = self.centers_m(positions_rad)
        heights = centers.take(self._above_floor, axis=1) @ self._desk_up - self._floor_offsets_m
        between = centers.take(self._first, axis=1) - centers.take(self._second, axis=1)
        gaps = np.sqrt(np.einsum("mpi,mpi->mp", between, between)) - self._pair_reach_m
        return np.concatenate((heights, gaps), axis=1)

    def most_change_m(self, step_rad: Array) -> float:
        """Return how much any clearance can change while the joints move by `step_rad` (n,), wherever they stand.

        One joint after the other: each turns everything beyond it as one rigid body, so it moves no sphere by more than
        its angle times the longest way to one, and no gap either, since what turns together stays apart as it was.
        """
        return float(self._travel_m @ np.abs(step_rad))

    def _travels_m(self, joints: list[Joint], columns: int) -> Array:
        """Return (n,) how far a joint moves any sphere per radian (or metre), summed over the joints that it drives."""
        farthest = np.zeros(len(joints) + 1)  # from each frame to the centres beyond it, straightened out
        for slot, center in zip(self._guard_slots, self._centers[:, :3, 0], strict=True):
            farthest[slot] = max(farthest[slot], float(np.linalg.norm(center)))
        travels = np.zeros(columns)
        for k in reversed(range(len(joints))):
            joint, reach = joints[k], farthest[k + 1]
            travels[self._columns[k]] += abs(self._signs[k]) * (1.0 if joint.kind == "prismatic" else reach)
            slide = max(abs(joint.lower), abs(joint.upper)) if joint.kind == "prismatic" else 0.0
            length = float(np.linalg.norm(joint.parent_from_joint.position_m)) + slide
            farthest[self._parents[k]] = max(farthest[self._parents[k]], reach + length)
        return travels

    def check_names(self, description: ArmDescription) -> tuple[str, ...]:
        """Return what each column of `clearances_m` is about, in words."""
        guards = description.guards
        floor = [f"{guards[int(k)].link} at the floor" for k in self._above_floor]
        pairs = [f"{guards[i].link} at {guards[j].link}" for i, j in description.guard_pairs]
        return (*floor, *pairs)


def _ancestors(description: ArmDescription) -> list[Joint]:
    """Return the joints between the root and any guarded link, parents first."""
    wanted = {g.link for g in description.guards}
    for joint in reversed(description.chain.joints):
        if joint.child in wanted:
            wanted.add(joint.parent)
    return [j for j in description.chain.joints if j.child in wanted]


def _drivers(description: ArmDescription, joints: list[Joint]) -> tuple[NDArray[np.intp], Array]:
    """Return which column of a pose turns each joint, and with which sign; an undriven joint has sign 0."""
    arm = {name: (k, 1.0) for k, name in enumerate(description.joint_names[:-1])}
    gripper = {name: (description.arm_joint_count, sign) for name, sign in description.gripper.followers.items()}
    found = [(arm | gripper).get(j.name, (0, 0.0)) for j in joints]
    return np.array([f[0] for f in found], dtype=np.intp), np.array([f[1] for f in found])
