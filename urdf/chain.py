"""Forward kinematics in NumPy: the half that a Raspberry Pi needs. Lengths come from the URDF and nowhere else."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from urdf.errors import ArmError
from urdf.pose import Array, Pose, skew


@dataclass(frozen=True, slots=True)
class Joint:
    """One URDF joint. `axis` (3,) is a unit vector in the joint frame; limits in rad (or m if prismatic)."""

    name: str
    kind: str
    parent: str
    child: str
    parent_from_joint: Pose
    axis: Array
    lower: float
    upper: float
    max_speed: float
    max_effort: float


def _vector(text: str | None, default: str) -> Array:
    return np.array([float(v) for v in (text or default).split()])


def parse_urdf(path: Path) -> tuple[Joint, ...]:
    """Return the joints of a URDF, parents before children; raises ArmError where it is no tree."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ArmError(f"cannot read the URDF {path}: {error}") from error
    joints: list[Joint] = []
    for element in root.findall("joint"):
        origin, axis, limit = element.find("origin"), element.find("axis"), element.find("limit")
        parent, child = element.find("parent"), element.find("child")
        if parent is None or child is None:
            raise ArmError(f"{path}: joint {element.get('name')!r} lacks its parent or child")
        xyz = _vector(origin.get("xyz") if origin is not None else None, "0 0 0")
        rpy = _vector(origin.get("rpy") if origin is not None else None, "0 0 0")
        kind = str(element.get("type"))
        # A fixed joint turns about nothing; some say so with a zero axis.
        direction = _vector(axis.get("xyz") if axis is not None and kind != "fixed" else None, "1 0 0")
        if not np.linalg.norm(direction) > 0.0:
            raise ArmError(f"{path}: joint {element.get('name')!r} has no axis to move about")
        limits = limit.attrib if limit is not None else {}
        joints.append(
            Joint(
                name=str(element.get("name")),
                kind=kind,
                parent=str(parent.get("link")),
                child=str(child.get("link")),
                parent_from_joint=Pose.from_rpy(xyz, rpy),
                axis=direction / np.linalg.norm(direction),
                lower=float(limits.get("lower", 0.0)),
                upper=float(limits.get("upper", 0.0)),
                max_speed=float(limits.get("velocity", 0.0)),
                max_effort=float(limits.get("effort", 0.0)),
            )
        )
    return _parents_first(path, joints)


def _parents_first(path: Path, joints: Sequence[Joint]) -> tuple[Joint, ...]:
    children = {j.child for j in joints}
    roots = {j.parent for j in joints} - children
    if len(roots) != 1:
        raise ArmError(f"{path}: expected one root link, found {sorted(roots)}")
    known, waiting = set(roots), list(joints)
    ordered: list[Joint] = []
    while waiting:
        ready = [j for j in waiting if j.parent in known]
        if not ready:
            raise ArmError(f"{path}: joints form a loop: {[j.name for j in waiting]}")
        ordered += ready
        known |= {j.child for j in ready}
        waiting = [j for j in waiting if j not in ready]
    return tuple(ordered)


class Chain:
    """A kinematic tree with its constant parts precomputed as matrices."""

    def __init__(self, joints: Sequence[Joint]) -> None:
        self.joints = tuple(joints)
        self.root = self.joints[0].parent
        self._moves = [_Move(j) for j in self.joints]
        self._paths: dict[str, list[_Move]] = {self.root: []}
        for move in self._moves:
            self._paths[move.joint.child] = [*self._paths[move.joint.parent], move]

    def link_matrices(self, angles: Mapping[str, float]) -> dict[str, Array]:
        """Return `base_from_link` (4, 4) of every link; joints absent from `angles` stand at zero."""
        poses: dict[str, Array] = {self.root: np.eye(4)}
        for move in self._moves:
            poses[move.joint.child] = poses[move.joint.parent] @ move.parent_from_child(angles)
        return poses

    def link_matrix(self, link: str, angles: Mapping[str, float]) -> Array:
        """Return `base_from_link` (4, 4) of one link."""
        matrix = np.eye(4)
        for move in self._paths[link]:
            matrix = matrix @ move.parent_from_child(angles)
        return matrix


class _Move:
    """A joint with the constant parts of its transform."""

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self._constant, self._cosine, self._sine = motion_terms(joint)
        self._at_zero = self._constant + self._cosine
        self._prismatic = joint.kind == "prismatic"

    def parent_from_child(self, angles: Mapping[str, float]) -> Array:
        """Return the transform (4, 4) at this joint's angle."""
        value = angles.get(self.joint.name, 0.0)
        if value == 0.0:
            return self._at_zero
        if self._prismatic:
            return self._constant + value * self._sine
        return self._constant + math.cos(value) * self._cosine + math.sin(value) * self._sine


def motion_terms(joint: Joint) -> tuple[Array, Array, Array]:
    """Return what stands before 1, cos q and sin q (q itself if prismatic) in `parent_from_child`, (4, 4) each."""
    origin = joint.parent_from_joint.as_matrix()
    constant, cosine, sine = np.eye(4), np.zeros((4, 4)), np.zeros((4, 4))
    if joint.kind == "prismatic":
        sine[:3, 3] = joint.axis
    elif joint.kind != "fixed":
        along = np.outer(joint.axis, joint.axis)
        constant[:3, :3] = along
        cosine[:3, :3] = np.eye(3) - along
        sine[:3, :3] = skew(joint.axis)
    return origin @ constant, origin @ cosine, origin @ sine
