"""One sample of a hand-eye calibration: what the arm said, and where the board's corners were in the picture.

Eye-in-hand: the camera rides on the tool and the board lies still. Eye-to-hand: the camera stands still and the board
rides on the tool. Both are one equation,

    camera_from_board = camera_from_mount @ mount_from_carrier @ carrier_from_board

    eye-in-hand   mount = tool, carrier = base   sought: tool_from_camera, beside it base_from_board
    eye-to-hand   mount = base, carrier = tool   sought: base_from_camera, beside it tool_from_board
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from calibration.errors import BadSamples, SampleRefused
from urdf.pose import Array, Pose

#: Five poses leave 18 numbers over for checking after the 12 that are sought.
MIN_SAMPLES = 5
#: One marker tells a pose, if barely; a board tells it ten times better.
MIN_CORNERS = 4
#: Corners that agree to this are those of one picture: noise moves them by more.
_SAME_PX = 0.02
#: Poses this near to each other tell the same, whatever noise moved them.
_NEAR_RAD = math.radians(0.5)


class Mount(StrEnum):
    """Where the camera is."""

    EYE_IN_HAND = "eye_in_hand"
    EYE_TO_HAND = "eye_to_hand"


class ToolPoses(Protocol):
    """Whatever knows where the tool is at given joints; an ArmDescription does."""

    def base_from_tool(self, position_rad: ArrayLike) -> Pose:
        """Return the tool's pose at the arm joints (n,) [rad]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HandEyeSample:
    """Joints as read (n,) [rad], corners on the board (k, 3) [m] and where they were seen (k, 2) [px].

    Raises SampleRefused where it cannot be a sample.
    """

    name: str
    joints_rad: Array
    object_m: Array
    image_px: Array

    def __post_init__(self) -> None:
        for field, width in (("joints_rad", 0), ("object_m", 3), ("image_px", 2)):
            values = np.array(getattr(self, field), dtype=np.float64)
            if values.ndim != (2 if width else 1) or (width and values.shape[1] != width):
                raise SampleRefused(self.name, f"{field} has shape {values.shape}", "hand over one row per corner")
            if not np.isfinite(values).all():
                raise SampleRefused(self.name, f"{field} holds numbers that are not finite", "take it again")
            values.setflags(write=False)
            object.__setattr__(self, field, values)
        if len(self.object_m) != len(self.image_px):
            raise SampleRefused(
                self.name,
                f"{len(self.object_m)} corners of the board, {len(self.image_px)} in the picture",
                "hand over one row per corner",
            )
        if len(self.object_m) < MIN_CORNERS:
            raise SampleRefused(
                self.name, f"{len(self.object_m)} corners of the board were seen", f"show {MIN_CORNERS} or more"
            )

    def key(self) -> tuple[float, ...]:
        """Return what samples are put in order by: their content, so that the order they came in says nothing."""
        return (*self.joints_rad.tolist(), len(self.image_px), *self.image_px.ravel().tolist())


def mount_from_carrier(base_from_tool: Pose, mount: Mount) -> Pose:
    """Return tool_from_base of an eye in the hand, base_from_tool of an eye that looks at the hand."""
    return base_from_tool.inverse() if mount is Mount.EYE_IN_HAND else base_from_tool


def in_order(samples: Sequence[HandEyeSample]) -> list[HandEyeSample]:
    """Return the samples in an order that does not depend on the one they came in; raises BadSamples.

    Refused: fewer than MIN_SAMPLES, two of one name, one picture under two poses, and poses that are there twice.
    """
    if len(samples) < MIN_SAMPLES:
        raise BadSamples(
            f"{len(samples)} samples: at least {MIN_SAMPLES} are needed, 12 to 20 are good. Take more poses"
        )
    names = [s.name for s in samples]
    if len(set(names)) != len(names):
        raise BadSamples(f"two samples share a name among {', '.join(sorted(names))}: give each its own")
    if len({s.joints_rad.shape for s in samples}) != 1:
        raise BadSamples("the samples differ in their number of joints: they are of different arms")
    ordered = sorted(samples, key=HandEyeSample.key)
    for number, sample in enumerate(ordered):
        for other in ordered[:number]:
            why = repeats(sample, other)
            if why:
                raise BadSamples(why)
    return ordered


def repeats(sample: HandEyeSample, other: HandEyeSample) -> str:
    """Return why a sample adds nothing to another, or the empty text where it does."""
    apart_rad = float(np.abs(sample.joints_rad - other.joints_rad).max())
    one_picture = sample.image_px.shape == other.image_px.shape and bool(
        np.abs(sample.image_px - other.image_px).max() < _SAME_PX
    )
    if one_picture and apart_rad > _NEAR_RAD:
        return (
            f"samples {other.name} and {sample.name} hold the same picture although the arm moved by "
            f"{math.degrees(apart_rad):.1f} deg between them: the camera is stuck, or pictures and poses are paired "
            f"wrongly. Take them again"
        )
    if apart_rad < _NEAR_RAD:
        return (
            f"samples {other.name} and {sample.name} were taken in the same pose (joints within "
            f"{math.degrees(apart_rad):.2f} deg): it would count twice. Leave one of them out, or move the arm"
        )
    return ""


def tool_per_joint(arm: ToolPoses, joints_rad: Array) -> Array:
    """Return the tool's twist (6, n), translation then rotation in its own frame, per radian of each joint."""
    step_rad = 1e-5
    columns: list[Array] = []
    for joint in range(len(joints_rad)):
        move = np.zeros(len(joints_rad))
        move[joint] = step_rad
        before, after = arm.base_from_tool(joints_rad - move), arm.base_from_tool(joints_rad + move)
        columns.append((before.inverse() @ after).log() / (2 * step_rad))
    return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class RotationSpan:
    """How much the tool turns over a set of poses: the largest angle between two, and that about a second axis.

    `second_axis_rad` is the RMS angle about the axis that is turned about second most: zero where all poses turn about
    one axis only, which leaves the camera's place along that axis unknown.
    """

    largest_rad: float
    second_axis_rad: float


def rotation_span(poses: Sequence[Pose]) -> RotationSpan:
    """Return the span of the turns between all pairs of poses."""
    turns = [(a.inverse() @ b).rotvec_rad() for k, b in enumerate(poses) for a in poses[:k]]
    if not turns:
        return RotationSpan(0.0, 0.0)
    vectors = np.array(turns)
    spread = np.linalg.eigvalsh(vectors.T @ vectors / len(vectors))
    return RotationSpan(float(np.linalg.norm(vectors, axis=1).max()), math.sqrt(max(float(spread[1]), 0.0)))


#: With less turning than this the noise of any board decides where the camera is.
MIN_SPAN_RAD, MIN_SECOND_AXIS_RAD = math.radians(15.0), math.radians(4.0)


def check_span(span: RotationSpan) -> None:
    """Raise BadSamples where the poses hardly turn, or turn about one axis only."""
    largest, second = math.degrees(span.largest_rad), math.degrees(span.second_axis_rad)
    if span.largest_rad < MIN_SPAN_RAD:
        raise BadSamples(
            f"all samples have nearly the same rotation ({largest:.1f} deg between the two most different ones, "
            f"{math.degrees(MIN_SPAN_RAD):.0f} are needed): moving without turning says nothing about where the camera "
            f"is. Turn the tool by 30 deg and more about two different axes"
        )
    if span.second_axis_rad < MIN_SECOND_AXIS_RAD:
        raise BadSamples(
            f"the samples turn about one axis only ({second:.1f} deg about any other, "
            f"{math.degrees(MIN_SECOND_AXIS_RAD):.0f} are needed): the camera could be anywhere along it. Add poses "
            f"that roll or tilt the tool about a second axis"
        )
