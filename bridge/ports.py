"""The seams: what each room may ask of another. Siblings meet here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bridge.messages import JointCommand, RobotState
from bridge.observation import Observed
from urdf.description import ArmDescription
from urdf.pose import Array, Pose


class Clock(Protocol):
    """Time in monotonic nanoseconds."""

    def now_ns(self) -> int:
        """Return the time now."""
        ...

    def sleep_until(self, deadline_ns: int) -> None:
        """Return at `deadline_ns`, or at once when it has passed."""
        ...


class Robot(Protocol):
    """An arm that takes joint commands: simulated, on a servo bus, or on the other end of a wire."""

    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        ...

    def read_state(self) -> RobotState:
        """Return the newest estimate at once; never waits for a servo."""
        ...

    def send(self, command: JointCommand) -> JointCommand:
        """Pass the command through the safety filter to the motors; return what was really sent."""
        ...

    def hold(self) -> None:
        """Stand still now, without reading anything first."""
        ...

    def close(self) -> None:
        """Give the arm back; calling it twice is harmless."""
        ...


class RelaxingRobot(Robot, Protocol):
    """A robot whose motors can let go: whoever owns one decides how it is left, and when a fault is over."""

    def park(self, rest_rad: Array, should_stop: Callable[[], bool]) -> None:
        """Move the arm slowly to `rest_rad` (n,) and stay there with the torque on; blocks until done.

        The gripper stays as it is: what it holds, it goes on holding. A `hold` ends the move, and so does
        `should_stop`; where the way is blocked the arm holds, and this raises.
        """
        ...

    def recover(self) -> None:
        """End a fault, or the time without torque: find the arm anew, take hold where it stands, and clear the fault.

        Nothing else does. Raises what still stands in the way; then the fault stays.
        """
        ...

    def relax(self, rest_rad: Array, should_stop: Callable[[], bool]) -> None:
        """Ramp slowly to `rest_rad` (n,), then switch the torque off; blocks until done.

        When `should_stop` turns true on the way the arm holds where it is and keeps its torque: a raised arm falls.
        So it does where the way is blocked, and then raises.
        """
        ...

    def torque_off(self) -> None:
        """Let go at once, wherever the arm is."""
        ...


#: The lens models, and how many of OpenCV's coefficients each has: k1 k2 p1 p2 k3; these and k4 k5 k6; k1 k2 k3 k4.
LENS_MODELS: Mapping[str, int] = {"pinhole": 5, "rational": 8, "fisheye": 4}


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A camera's geometry: focal lengths and centre in pixels, and a lens model with its coefficients.

    `calibration/lens.py` projects and undistorts with it. Raises ValueError on another model or number of coefficients.
    """

    width_px: int
    height_px: int
    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    model: str = "pinhole"

    def __post_init__(self) -> None:
        if len(self.distortion) != LENS_MODELS.get(self.model):
            models = ", ".join(f"{name} ({count})" for name, count in LENS_MODELS.items())
            raise ValueError(
                f"lens model {self.model!r} with {len(self.distortion)} coefficients: expected one of {models}"
            )

    @staticmethod
    def unknown(width_px: int, height_px: int) -> Intrinsics:
        """Return what is known of a camera that is not calibrated: focal lengths are not-a-number, not guessed."""
        return Intrinsics(width_px, height_px, math.nan, math.nan, (width_px - 1) / 2, (height_px - 1) / 2)

    @property
    def is_known(self) -> bool:
        """Whether the camera is calibrated, so that pixels mean directions."""
        return not math.isnan(self.fx_px)

    def matrix(self) -> Array:
        """Return the (3, 3) camera matrix."""
        return np.array([[self.fx_px, 0.0, self.cx_px], [0.0, self.fy_px, self.cy_px], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture, stamped at capture (ns of the reader's monotonic clock). `rgb` is (H, W, 3) uint8."""

    name: str
    seq: int
    stamp_ns: int
    rgb: NDArray[np.uint8]
    intrinsics: Intrinsics
    depth_m: NDArray[np.float32] | None = None


class Camera(Protocol):
    """A camera that hands out its newest frame."""

    def read(self, max_age_s: float) -> Frame:
        """Return the newest frame; raises StaleFrame when it is older than `max_age_s`."""
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


@dataclass(frozen=True, slots=True)
class BlockSighting:
    """Where the block was, and when: `stamp_ns` is the capture time on the reader's monotonic clock.

    `covariance` (6, 6) is of the errors x y z [m] of the block's centre and of a small rotation about the base's
    x y z [rad], both in the base frame; None where the source does not tell.
    """

    base_from_block: Pose
    stamp_ns: int
    marker_ids: tuple[int, ...] = ()
    covariance: Array | None = field(default=None, compare=False)


class BlockSource(Protocol):
    """Whatever knows where the block is: the simulator, or a camera and markers."""

    def read_block(self) -> BlockSighting | None:
        """Return the newest sighting, or None when the block has not been seen."""
        ...

    def missing(self) -> str:
        """Say in words what was looked for and not found (empty when nothing is missing)."""
        ...


class Policy(Protocol):
    """Whatever decides."""

    def act(self, observation: Observed) -> NDArray[np.float32]:
        """Return the action in [-1, 1] for one observation: one part alone, or several by name."""
        ...


@runtime_checkable
class StatefulEnv(Protocol):
    """An environment, or many together, that a run can be stopped in and gone on with.

    It hands over what a reset with a seed does not determine, such as the stage of a curriculum; that of an episode
    under way is not asked for: whoever restores resets.
    """

    def state(self) -> bytes:
        """Return it as UTF-8 text, so that a checkpoint can be read; empty when there is nothing to keep."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from what `state` returned; raises where it is of another kind of environment."""
        ...


class Kinematics(Protocol):
    """Kinematics of the tool in the desk frame of one rig."""

    def tool_in_desk(self, position_rad: Array) -> tuple[Array, float, float]:
        """Return (position (3,) [m], jaw heading [rad], tilt from straight down [rad]) of the tool."""
        ...

    def solve(
        self, desk_position_m: Array, yaw_rad: float, near_rad: Array | None = None, patient: bool = True
    ) -> Array:
        """Return arm joints (n - 1,) that put the tool there with its jaws along `yaw_rad`; raises Unreachable.

        Position comes first, the tool may tilt inside the rig's cone, limits are never violated. The jaws are
        symmetric: yaw is met modulo pi. `near_rad` is where the arm is now; without `patient`
        nothing but a motion from there is tried, which refuses quickly and never changes the arm's posture.
        """
        ...
