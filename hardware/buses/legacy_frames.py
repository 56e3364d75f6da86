"""The 24-byte stream of older Dofbot programs: six servo angles in degrees, and nothing else. Pure functions.

    6 x little-endian float32: degrees of servos 1 to 6      no header, number, check sum, stamp or reply

Servos 1 to 5 stand at 90 degrees where the joint angle is 0; the gripper opens at 0 and turns 101 degrees a radian.
Older programs truncate to whole degrees, so they miss by up to one; here nothing is truncated. Where a frame begins
cannot be seen: a byte too many shifts all that follow. What gives it away is that the bytes of whole degrees, shifted
by one to three, read as tiny numbers, so those are refused. Ref: vdesai2014/Deep-Learning-Projects, the Dofbot's host.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from hardware.errors import BadCommand
from urdf.pose import Array

PORT = 65432
SERVO_COUNT = 6
_LAYOUT = struct.Struct("<6f")
FRAME_BYTES = _LAYOUT.size
#: The vendor library's ranges; joint 5 turns further. Ref: KNDG01001/Dofbot-Serial_i2c Arm_Lib.py.
MAX_DEG = (180.0, 180.0, 180.0, 180.0, 270.0, 180.0)
#: Programs that do not truncate send -0.05 for -pi/2, because they write pi/2 as 1.57.
_SLACK_DEG = 0.5
#: No program sends anything smaller but zero itself, and shifted bytes of whole degrees read as less than 2e-6.
_TINY_DEG = 1e-3
_GRIPPER_DEG_PER_RAD, _GRIPPER_AT_0_DEG_RAD = 101.0, -1.57


def encode(position_rad: Sequence[float] | Array) -> bytes:
    """Return the frame of a pose (6,); raises BadCommand where the stream cannot carry it."""
    angles = [float(v) for v in position_rad]
    if len(angles) != SERVO_COUNT:
        raise BadCommand(f"the legacy stream carries {SERVO_COUNT} angles, got {len(angles)}")
    arm_deg = [90.0 + math.degrees(v) for v in angles[:-1]]
    gripper_deg = (angles[-1] - _GRIPPER_AT_0_DEG_RAD) * _GRIPPER_DEG_PER_RAD
    return _LAYOUT.pack(*_checked([*arm_deg, gripper_deg]))


def decode(frame: bytes) -> tuple[float, ...]:
    """Return the pose (6,) [rad] of a frame; raises BadCommand where no program can have meant it."""
    degrees = _checked(_LAYOUT.unpack(frame))
    gripper_rad = degrees[-1] / _GRIPPER_DEG_PER_RAD + _GRIPPER_AT_0_DEG_RAD
    return (*np.radians(np.array(degrees[:-1]) - 90.0).tolist(), gripper_rad)


class FrameCutter:
    """Cuts a stream into frames, however TCP has split and joined it. One for each connection."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are complete now; never keeps more than a part of one."""
        data = self._rest + data
        whole = len(data) - len(data) % FRAME_BYTES
        self._rest = data[whole:]
        return [data[i : i + FRAME_BYTES] for i in range(0, whole, FRAME_BYTES)]


def _checked(degrees: Sequence[float]) -> Sequence[float]:
    for servo, (value, highest) in enumerate(zip(degrees, MAX_DEG, strict=True), start=1):
        if not -_SLACK_DEG <= value <= highest + _SLACK_DEG:  # not a number fails here, too
            raise BadCommand(f"servo {servo} takes 0 to {highest:g} degrees, got {value:g}")
        if 0.0 < abs(value) < _TINY_DEG:
            raise BadCommand(f"servo {servo}: {value:g} degrees is what shifted bytes read as, not an angle")
    return degrees
