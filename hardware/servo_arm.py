"""ServoArm: what is sent to the servos, and where the arm therefore is. Whether it may be sent is ServoRobot's matter.

Commands come from one thread at a time, which its owner sees to; readings may come in meanwhile from another.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np

from bridge.messages import JointCommand
from bridge.ports import Clock
from calibration.actuator import ActuatorModel
from hardware.command_path import CommandPath
from hardware.errors import HardwareError
from hardware.estimate import PoseEstimate
from hardware.guards import FollowMonitor
from hardware.pace import Pace
from hardware.servo_bus import Reading
from hardware.servo_joints import HOLD_S, ServoJoints
from urdf.description import ArmDescription, Rig
from urdf.pose import Array


class ServoArm:
    """The servos, the way of a command to them, and the estimate. Writing raises BusLost."""

    def __init__(
        self,
        joints: ServoJoints,
        description: ArmDescription,
        rig: Rig,
        clock: Clock,
        standing_rad: Array,
        actuator: ActuatorModel,
        pace: Pace,
    ) -> None:
        """Stand at `standing_rad` (n,) without torque. Moves nothing."""
        self.joints, self.pace = joints, pace
        self.torque_on = False
        self._clock, self._joint_names = clock, description.joint_names
        now_ns = clock.now_ns()
        self._estimate = PoseEstimate(actuator, standing_rad, now_ns)
        self._path = CommandPath(description, rig, pace.period_s, standing_rad, now_ns)
        self._monitor = self._new_monitor(now_ns)
        self._lock = threading.Lock()

    @property
    def output_rad(self) -> Array:
        """What was sent last (n,)."""
        return self._path.position_rad

    def estimate(self, now_ns: int) -> tuple[Array, Array, tuple[float, ...], tuple[float, ...]]:
        """Return position (n,), velocity (n,), how old the reading behind each joint is, and what it said."""
        with self._lock:
            position, velocity = self._estimate.at(now_ns)
            return position, velocity, self._estimate.reading_age_s(now_ns), self._estimate.reading_rad()

    def gripper_moves(self) -> bool:
        """Return whether the gripper is on its way."""
        with self._lock:
            return self._estimate.is_moving(self.joints.count - 1, self._clock.now_ns())

    def off(self, pose_rad: Array, since_ns: int) -> str:
        """Say which arm joint has not been read near `pose_rad` (n,) since a time; empty where all have."""
        now_ns = self._clock.now_ns()
        _, _, ages_s, readings_rad = self.estimate(now_ns)
        for name, pose, age_s, reading in zip(self._joint_names[:-1], pose_rad, ages_s, readings_rad, strict=False):
            if now_ns - age_s * 1e9 < since_ns:
                return f"{name} has not been read there"
            if abs(reading - pose) > FollowMonitor.STALL_RAD:
                return f"{name} stands {math.degrees(abs(reading - pose)):.1f} deg from it"
        return ""

    # Commands --------------------------------------------------------------------------------------
    def send(self, command: JointCommand) -> tuple[JointCommand, bool]:
        """Write a command as far as it may go; return what was really sent, and whether that is standing still."""
        now_ns = self._clock.now_ns()
        measured, _, _, _ = self.estimate(now_ns)
        counted_s = self.pace.counted_s(command.duration_s)
        output = self._path.step(np.array(command.position_rad), measured, counted_s, now_ns)
        written_s = max(output.duration_s, self.pace.written_s(command.duration_s))
        sent_rad = self._write(output.position_rad, written_s)
        sent = JointCommand(command.seq, self._clock.now_ns(), tuple(sent_rad.tolist()), written_s, command.ttl_s)
        return sent, output.held

    def stop(self) -> None:
        """Stop where the servos' setpoints will be when this frame reaches them: jaws that squeeze go on squeezing."""
        now_ns = self._clock.now_ns()
        with self._lock:
            point = self._estimate.stopping_point_rad(now_ns)
        self._path.stand(self._write(point, HOLD_S), now_ns)

    def take_hold(self) -> None:
        """Switch the torque on where the arm is taken to stand."""
        self.joints.take_hold()
        self.torque_on = True

    def release(self) -> None:
        """Switch the torque off."""
        self.joints.bus.set_torque(False)
        self.torque_on = False

    def stand(self, standing_rad: Array, readings: Sequence[Reading] | None) -> None:
        """Take the arm to stand at `standing_rad` (n,), whatever was sent before; nothing is written."""
        now_ns = self._clock.now_ns()
        with self._lock:
            for joint in range(self.joints.count):
                read_ns = None if readings is None else readings[joint].received_ns
                self._estimate.let_go(joint, float(standing_rad[joint]), read_ns)
            self._monitor = self._new_monitor(now_ns)
        self.joints.stand(standing_rad)
        self._path.stand(standing_rad, now_ns)

    def _new_monitor(self, now_ns: int) -> FollowMonitor:
        return FollowMonitor(self._joint_names, self.joints.bus.ticks_range, now_ns)

    def _write(self, position_rad: Array, duration_s: float) -> Array:
        """Write a pose (n,); return the pose that its counts mean."""
        sent_rad = self.joints.write(position_rad, duration_s)
        with self._lock:
            self._estimate.command(sent_rad, duration_s, self._clock.now_ns())
        return sent_rad

    # Readings --------------------------------------------------------------------------------------
    def correct(self, joint: int, reading: Reading) -> HardwareError | None:
        """Take in a reading of a joint; return Stalled or Astray where it does not follow its commands."""
        measured, stamp_ns = self.joints.angle_rad(joint, reading.ticks), reading.received_ns
        with self._lock:
            lag = self._estimate.correct(joint, measured, stamp_ns)
            moving = self._estimate.is_moving(joint, stamp_ns)
            lag_ticks = lag * self.joints.ticks_per_rad(joint)
            return self._monitor.check(joint, reading.ticks, lag, lag_ticks, moving, stamp_ns)

    def is_suspicious(self, joint: int) -> bool:
        """Return whether one reading alone says that a joint has moved by itself."""
        with self._lock:
            return self._monitor.is_suspicious(joint)

    def let_go(self, joint: int, reading: Reading) -> HardwareError | None:
        """Take a joint to be where it is read, whatever was commanded; return Astray where one without torque moves."""
        measured = self.joints.angle_rad(joint, reading.ticks)
        with self._lock:
            self._estimate.let_go(joint, measured, reading.received_ns)
            return None if self.torque_on else self._monitor.check_loose(joint, measured, reading.received_ns)
