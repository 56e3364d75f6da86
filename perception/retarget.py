"""From a person's arm to a robot's: what every retargeting gives. All of it is pure: what it remembers is passed in.

`planar` and `arm` (perception/retarget_joints.py) turn a limb into joint targets: pass the measured joints as `before`
when the clutch engages, then the last result. `tool` (perception/retarget_tool.py) turns the wrist's motion since the
clutch engaged into a tool target. Mirror a limb first (`Limb.mirrored`) where left and right are to be exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perception.limb import Limb
from urdf.description import ArmDescription
from urdf.pose import Array


class JointRetarget(Protocol):
    """A limb's posture as joint targets: inside the limits and never faster than the joints."""

    @property
    def description(self) -> ArmDescription:
        """The arm."""
        ...

    def posture_rad(self, limb: Limb, before_rad: Array) -> Array:
        """Return the joints (n,) that copy the limb, inside the limits, the nearest of several to `before_rad`.

        Joints that the limb says nothing about stay at `before_rad`; the gripper always does.
        """
        ...

    def follow(self, limb: Limb, before_rad: Array, duration_s: float) -> Array:
        """Return the joint targets (n,) `duration_s` after `before_rad`: as far towards the posture as speed allows."""
        ...


@dataclass(frozen=True, slots=True)
class ToolTarget:
    """Where the tool is wanted in the desk frame, the heading of its jaws, and whether they close."""

    position_m: Array
    heading_rad: float
    closing: bool


@dataclass(frozen=True, slots=True)
class ToolLatch:
    """What was where when the clutch engaged: the wrist (person's axes), the hand's roll, and the tool.

    `scale`: metres of the tool for a metre of the wrist.
    """

    wrist_m: Array
    roll_rad: float | None
    tool: ToolTarget
    scale: float


class ToolRetarget(Protocol):
    """The wrist's motion since the clutch engaged as the tool's, inside the workspace."""

    def latch(self, limb: Limb, tool: ToolTarget, scale: float) -> ToolLatch:
        """Return the beginning of a motion: the tool is at `tool` while the limb is as it is now."""
        ...

    def target(self, latch: ToolLatch, limb: Limb, before: ToolTarget) -> ToolTarget:
        """Return where the limb now sends the tool; `before` is the last target (at first, the latched tool).

        To scale anew while engaged, latch again with the last target: nothing jumps.
        """
        ...


def slewed(
    description: ArmDescription, before_rad: Array, wanted_rad: Array, duration_s: float, share: float = 1.0
) -> Array:
    """Return joints (n,) towards `wanted_rad`, none faster than `share` of its speed, never outside the limits.

    One scale for the arm's joints, so that their path stays straight; the gripper has its own.
    """
    wanted = np.clip(wanted_rad, description.lower_rad, description.upper_rad)
    step = wanted - before_rad
    allowed = share * description.max_speed_rad_s * max(duration_s, 0.0)
    scales = allowed / np.maximum(np.abs(step), 1e-12)
    scale = np.append(np.full(len(step) - 1, min(1.0, float(scales[:-1].min()))), min(1.0, float(scales[-1])))
    return before_rad + scale * step
