"""Drivers: how an engaged person's limb becomes the actions of an attempt, between two pictures as well.

A person is seen 30 times a second, an arm takes 50 commands: a goal glides from where it was to where the newest
picture sends it, in the time that lies between two pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.actions import TOOL_ACTION
from bridge.attempt import Attempt
from perception.limb import Limb
from perception.retarget import JointRetarget, ToolLatch, ToolRetarget, ToolTarget, slewed
from perception.retarget_tool import tool_action
from urdf.pose import Array

Action = NDArray[np.float32]
#: Where the joints (n,) are measured to be now.
Measured = Callable[[], Array]

#: An arm that stands nearer to where it was sent is latched there, and does not even twitch; else where it is measured.
STANDS_M, STANDS_RAD = 0.012, 0.06
#: The way home after a person was lost.
HOME_SPEED_M_S, HOME_SPEED_RAD_S = 0.04, 0.15
_AT_HOME_M, _AT_HOME_RAD = 0.006, 0.02
#: A joint that copies a posture may have far to go: it begins at this share of its speed, and has all of it later.
_FIRST_SHARE, _RAMP_S = 0.1, 2.0
#: Pictures come every 33 ms or so, and are met by periods of 20 ms after 20 or 40: a goal takes a little longer.
_USUAL_S, _LONGEST_S, _NEWS_SHARE, _UNHURRIED = 1 / 30, 0.1, 0.2, 1.25
MIN_SCALE, MAX_SCALE = 0.05, 2.0


class Driver(Protocol):
    """One mode of teleoperation. `latch` engages; then `see` for every picture and `follow` for every period."""

    @property
    def at_home(self) -> bool:
        """Whether the arm has been sent home altogether."""
        ...

    def gap(self, limb: Limb) -> tuple[float, str]:
        """Return how far [rad] the arm is from the posture that it is to copy, and which joint; 0 where none is."""
        ...

    def latch(self, limb: Limb) -> None:
        """Engage: the arm is where it is while the limb is as it is."""
        ...

    def see(self, limb: Limb, now_ns: int) -> None:
        """Take in the limb of a new picture."""
        ...

    def follow(self, now_ns: int) -> Action:
        """Return the action of this period."""
        ...

    def go_home(self) -> Action:
        """Return the action of a period of the slow way home."""
        ...

    def scale_by(self, factor: float, limb: Limb | None) -> None:
        """Make the tool's motion larger or smaller than the wrist's; nothing jumps."""
        ...

    @property
    def scale(self) -> float:
        """Metres of the tool for a metre of the wrist; 1 where postures are copied."""
        ...

    @property
    def goal_m(self) -> Array:
        """Where the tool is wanted (3,) [m] in the desk frame."""
        ...


class Glide:
    """A goal that is reached when the next one is due."""

    def __init__(self, start: Array) -> None:
        self._from = self._goal = start
        self._began_ns = 0
        self._gap_s = _USUAL_S

    def to(self, goal: Array, now_ns: int) -> None:
        """Set a new goal."""
        self._from = self.at(now_ns)
        if self._began_ns:
            gap_s = min((now_ns - self._began_ns) * 1e-9, _LONGEST_S)
            self._gap_s += _NEWS_SHARE * (gap_s - self._gap_s)
        self._goal, self._began_ns = goal, now_ns

    def at(self, now_ns: int) -> Array:
        """Return where the goal is now."""
        share = (now_ns - self._began_ns) * 1e-9 / (_UNHURRIED * self._gap_s)
        return self._from + min(max(share, 0.0), 1.0) * (self._goal - self._from)


class ToolDriver:
    """Moves the tool as the wrist moves. For attempts whose actions are named as those of `TOOL_ACTION`, or some.

    `periods`: how many control periods an action lasts.
    """

    def __init__(
        self, attempt: Attempt, retarget: ToolRetarget, scale: float, measured: Measured, periods: int = 1
    ) -> None:
        self._attempt, self._retarget, self._measured, self._periods = attempt, retarget, measured, periods
        self.scale = scale
        self._home_m, _ = attempt.motion.locate(attempt.rig.home_rad)
        self._latch: ToolLatch | None = None
        self._target: ToolTarget | None = None
        self._closing = False
        self._glide = Glide(np.zeros(4))

    @property
    def at_home(self) -> bool:
        """Whether the tool has been sent to where it is at home."""
        return float(np.linalg.norm(self._home_m - self._attempt.motion.command_m)) < _AT_HOME_M

    @property
    def goal_m(self) -> Array:
        """Where the tool is wanted (3,) [m] in the desk frame."""
        return self._attempt.motion.command_m if self._target is None else self._target.position_m

    def gap(self, limb: Limb) -> tuple[float, str]:
        """Nothing: motion is copied, not posture."""
        return 0.0, ""

    def latch(self, limb: Limb) -> None:
        """Engage where the tool is, its jaws as they are."""
        motion = self._attempt.motion
        position_m, heading_rad = motion.command_m, motion.heading_rad
        measured_m, measured_heading_rad = motion.locate(self._measured())
        if float(np.linalg.norm(measured_m - position_m)) > STANDS_M:
            position_m, heading_rad = measured_m, measured_heading_rad
        self._begin(limb, ToolTarget(position_m, heading_rad, self._closing))

    def _begin(self, limb: Limb, tool: ToolTarget) -> None:
        self._latch, self._target = self._retarget.latch(limb, tool, self.scale), tool
        self._glide = Glide(np.append(tool.position_m, tool.heading_rad))

    def see(self, limb: Limb, now_ns: int) -> None:
        """Take in the limb of a new picture."""
        assert self._latch is not None
        assert self._target is not None
        self._target = self._retarget.target(self._latch, limb, self._target)
        self._closing = self._target.closing
        self._glide.to(np.append(self._target.position_m, self._target.heading_rad), now_ns)

    def follow(self, now_ns: int) -> Action:
        """Return the action of this period."""
        goal = self._glide.at(now_ns)
        return self._towards(ToolTarget(goal[:3], float(goal[3]), self._closing))

    def go_home(self) -> Action:
        """Return the action of a period of the slow way home, the jaws as they are."""
        motion = self._attempt.motion
        way_m = self._home_m - motion.command_m
        step_m = HOME_SPEED_M_S * self._attempt.period_s
        goal_m = motion.command_m + way_m * min(1.0, step_m / max(float(np.linalg.norm(way_m)), 1e-9))
        return self._towards(ToolTarget(goal_m, motion.heading_rad, self._closing))

    def scale_by(self, factor: float, limb: Limb | None) -> None:
        """Make the tool's motion larger or smaller than the wrist's, from where both are now."""
        self.scale = min(max(self.scale * factor, MIN_SCALE), MAX_SCALE)
        if self._target is not None and limb is not None:
            self._begin(limb, self._target)

    def _towards(self, target: ToolTarget) -> Action:
        """Return the action that goes there, of the numbers that the attempt's actions have."""
        motion, names = self._attempt.motion, self._attempt.action_layout.names
        # A way that is not the person's to go takes nothing from the one that is.
        own = np.array([name in names for name in TOOL_ACTION.names[:3]])
        target = replace(target, position_m=np.where(own, target.position_m, motion.command_m))
        action = tool_action(target, motion.command_m, motion.heading_rad, self._periods).tolist()
        whole: dict[str, float] = dict(zip(TOOL_ACTION.names, action, strict=True))
        return np.array([whole[name] for name in names], dtype=np.float32)


class JointDriver:
    """Copies a limb's posture, joint by joint; the gripper stays. For attempts whose actions are joint steps."""

    scale = 1.0

    def __init__(self, attempt: Attempt, retarget: JointRetarget, measured: Measured) -> None:
        self._attempt, self._retarget, self._measured = attempt, retarget, measured
        self._engaged_ns: int | None = None
        self._posture_rad = np.array(attempt.rig.home_rad)
        self._glide = Glide(self._posture_rad)

    @property
    def at_home(self) -> bool:
        """Whether the arm's joints have been sent home; the gripper stays."""
        return bool(np.abs(self._home_rad() - self._attempt.motion.target_rad).max() < _AT_HOME_RAD)

    @property
    def goal_m(self) -> Array:
        """Where the posture puts the tool (3,) [m] in the desk frame."""
        return self._attempt.motion.locate(self._posture_rad)[0]

    def gap(self, limb: Limb) -> tuple[float, str]:
        """Return how far the arm is from the limb's posture, and which joint is farthest."""
        measured_rad = self._measured()
        apart_rad = np.abs(self._retarget.posture_rad(limb, measured_rad) - measured_rad)
        joint = int(apart_rad.argmax())
        return float(apart_rad[joint]), self._attempt.description.joint_names[joint]

    def latch(self, limb: Limb) -> None:
        """Engage where the arm stands; it approaches the posture slowly at first."""
        target_rad, measured_rad = self._attempt.motion.target_rad, self._measured()
        away = bool(np.abs(measured_rad - target_rad)[:-1].max() > STANDS_RAD)
        self._posture_rad = measured_rad if away else target_rad
        self._glide, self._engaged_ns = Glide(self._posture_rad), None

    def see(self, limb: Limb, now_ns: int) -> None:
        """Take in the limb of a new picture."""
        self._posture_rad = self._retarget.posture_rad(limb, self._posture_rad)
        self._glide.to(self._posture_rad, now_ns)

    def follow(self, now_ns: int) -> Action:
        """Return the action of this period."""
        if self._engaged_ns is None:
            self._engaged_ns = now_ns
        ramp = (now_ns - self._engaged_ns) * 1e-9 / _RAMP_S
        return self._towards(self._glide.at(now_ns), min(1.0, _FIRST_SHARE + (1.0 - _FIRST_SHARE) * ramp))

    def go_home(self) -> Action:
        """Return the action of a period of the slow way home."""
        return self._towards(
            self._home_rad(), HOME_SPEED_RAD_S / float(self._attempt.description.max_speed_rad_s.max())
        )

    def scale_by(self, factor: float, limb: Limb | None) -> None:
        """Nothing: a posture has no scale."""

    def _home_rad(self) -> Array:
        return np.append(self._attempt.rig.home_rad[:-1], self._attempt.motion.target_rad[-1])

    def _towards(self, wanted_rad: Array, share: float) -> Action:
        attempt, before_rad = self._attempt, self._attempt.motion.target_rad
        after_rad = slewed(attempt.description, before_rad, wanted_rad, attempt.period_s, share)
        fastest_rad = attempt.description.max_speed_rad_s * attempt.period_s
        return np.clip((after_rad - before_rad) / fastest_rad, -1.0, 1.0).astype(np.float32)
