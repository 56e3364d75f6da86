"""ServoRobot: an arm on a servo bus, in radians. It decides what may be sent; ServoArm sends it.

A thread of its own reads one servo after the other; nobody else ever waits for a servo. `send` and `hold` write at
once, under a lock that no read holds.

A fault latches: the arm holds and takes no command until `recover`. When nobody can know any more where the arm stands
or what moves it - the port was lost, the servos are silent, somebody else moved it - it is adrift: from then on not
even a hold is written, since it would pull the arm to a place that it has left.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable

import numpy as np

from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock
from calibration.actuator import ActuatorModel
from calibration.servo import ServoCalibration
from hardware.errors import (
    Astray,
    BusError,
    BusLost,
    HardwareError,
    NoReply,
    RobotFaulted,
    ServoAlarm,
    Stalled,
)
from hardware.fault_latch import FaultLatch
from hardware.footing import check_vitals, come_to_rest, find_footing
from hardware.guards import ANY_SERVO_LIMITS, VitalsGuard, VitalsLimits
from hardware.leaving import Leaving, Walked
from hardware.pace import Pace
from hardware.servo_arm import ServoArm
from hardware.servo_bus import Reading, ServoBus, ServoVitals
from hardware.servo_joints import ServoJoints
from hardware.servo_reader import FAILED_READS, Listener, ServoReader
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

_NO_TORQUE = "the torque is off: recover the robot to switch it on where the arm stands"


def _never() -> bool:
    return False


class ServoRobot:
    """A Robot over a ServoBus; owns the bus and closes it. Make one with `connect`."""

    def __init__(
        self, arm: ServoArm, description: ArmDescription, clock: Clock, limits: VitalsLimits, is_read: bool
    ) -> None:
        """Take over an arm that has just been found, on a bus that reads its servos or (`is_read`) does not."""
        self._arm, self._description, self._clock, self._is_read = arm, description, clock, is_read
        self._vitals = VitalsGuard(description.joint_names, limits)
        self._latch = FaultLatch()
        walked = Walked(self._send, self.hold, self.torque_off, self._regain)
        self._leaving = Leaving(walked, arm, self._latch, clock, is_read)
        self._recovery_lock = threading.Lock()
        self._seqs = itertools.count(1)
        listener = Listener(arm.gripper_moves, self._take_in, self._feel, self._take_alarm, self._fall_silent)
        self._reader = ServoReader(arm.joints, listener, clock, arm.pace.period_s)

    @staticmethod
    def connect(
        bus: ServoBus,
        calibration: ServoCalibration,
        description: ArmDescription,
        rig: Rig,
        clock: Clock,
        actuator: ActuatorModel | None = None,
        period_s: float = 0.05,
        move_time_s: float | None = None,
        limits: VitalsLimits = ANY_SERVO_LIMITS,
        assume_rad: Array | None = None,
    ) -> ServoRobot:
        """Find every servo, wait until the arm stands, and switch the torque on right there: the arm does not jump.

        Commands come every `period_s` and are written with `move_time_s` (None: the same). A bus that cannot read its
        servos needs `assume_rad` (n,), how the arm stands: torque comes on there, and by nature the arm jumps from
        wherever it really is; from then on its state is the model of its commands.

        Raises WrongServo with every missing and unexpected id, ForeignCalibration, Astray where the arm goes on moving,
        Overheated, Undervoltage, or what the bus raises. On an error the bus stays open and belongs to the caller.
        """
        calibration.check_belongs(calibration.robot_serial, description)
        readings = ServoJoints.find(bus, calibration, assume_rad)
        standing = np.array(assume_rad) if readings is None else calibration.to_rad([r.ticks for r in readings])
        joints = ServoJoints(bus, calibration, standing)
        if readings is not None:
            standing, readings = come_to_rest(joints, clock, standing)
        model, pace = actuator or ActuatorModel.nominal(description), Pace(period_s, move_time_s)
        arm = ServoArm(joints, description, rig, clock, standing, model, pace)
        arm.stand(standing, readings)
        robot = ServoRobot(arm, description, clock, limits, readings is not None)
        check_vitals(joints, robot._vitals)
        arm.take_hold()
        if readings is not None:
            robot._reader.start()
        return robot

    # Robot -----------------------------------------------------------------------------------------
    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self._description

    @property
    def warning(self) -> str:
        """What is too warm already, though nothing has stopped for it; or empty."""
        return self._vitals.warning

    def read_state(self) -> RobotState:
        """Return the estimate and the age of the reading behind each joint, at once.

        On a bus that reads no servo the age is the time since connect: nothing has been measured since.
        """
        now_ns = self._clock.now_ns()
        position, velocity, ages, readings = self._arm.estimate(now_ns)
        return RobotState(
            seq=next(self._seqs),
            stamp_ns=now_ns,
            position_rad=tuple(position.tolist()),
            velocity_rad_s=tuple(velocity.tolist()),
            reading_age_s=ages,
            torque_on=self._arm.torque_on,
            holding=self._latch.holding,
            fault=self._latch.reason,
            reading_rad=readings if self._is_read else (),
        )

    def send(self, command: JointCommand) -> JointCommand:
        """Pass the command through start gate, start budget and safety filter, and write it at once.

        Returns what was really sent. Raises RobotFaulted once a fault has latched, and when torque is off.
        """
        with self._latch.lock:
            if self._latch.reason:
                raise RobotFaulted(f"{self._latch.reason}. Recover the robot, or connect again, once the cause is gone")
            if not self._arm.torque_on:
                raise RobotFaulted(_NO_TORQUE)
            return self._send(command)

    def hold(self) -> None:
        """Stop where the servos' setpoints will be when this frame reaches them; reads nothing, waits for nothing.

        The setpoint, not the measurement: jaws that squeeze a block go on squeezing it. Without torque, and adrift,
        nothing is sent. Ends a walk to the rest pose. Never raises for a lost bus: that latches and stands in the
        state, and there is nobody left to stop.
        """
        with self._latch.lock:
            self._latch.stop()
            if self._arm.torque_on and not self._latch.adrift:
                try:
                    self._arm.stop()
                except BusLost as error:
                    self._latch.latch(error, adrift=True)

    def close(self) -> None:
        """Stop reading and give the port back; the servos keep holding what they hold. Calling it twice is harmless."""
        self._reader.stop()
        with self._recovery_lock:  # an arm that is being looked for is first held where it is found
            self._arm.joints.bus.close()
        self._reader.join()

    # Leaving and recovering ------------------------------------------------------------------------
    def relax(self, rest_rad: Array, should_stop: Callable[[], bool] = _never) -> None:
        """Walk slowly to `rest_rad` (n,), the arm first and the gripper after it, and let go once the arm lies there.

        When `should_stop` turns true the arm holds and keeps its torque. Raises RelaxBlocked where something stops the
        walk or the arm is not read at the rest pose, and BusLost; a latched fault does not keep it from being set down.
        """
        rest = np.asarray(rest_rad, dtype=np.float64)
        if self._arm.torque_on:
            self._leaving.walk(rest, should_stop, let_go=True)
        else:
            self.torque_off()

    def park(self, rest_rad: Array, should_stop: Callable[[], bool] = _never) -> None:
        """Walk slowly to `rest_rad` (n,) and stay there with the torque on; what the gripper holds, it goes on holding.

        Otherwise as `relax`. Raises RobotFaulted without torque.
        """
        if not self._arm.torque_on:
            raise RobotFaulted(_NO_TORQUE)
        self._leaving.walk(np.asarray(rest_rad, dtype=np.float64), should_stop, let_go=False)
        self._latch.holding = True

    def torque_off(self) -> None:
        """Let go at once: a raised arm falls. Raises BusLost."""
        with self._latch.lock:
            self._latch.stop()
            self._arm.release()

    def recover(self) -> None:
        """Read every servo, take hold where the arm stands, without a jump, and clear the fault; else change nothing.

        Raises what still stands in the way: BusLost, WrongServo with the servos that do not answer, Astray while the
        arm moves, Overheated or Undervoltage. On a bus that reads no servo the last command is taken for the truth.
        """
        if self._arm.torque_on and not self._latch.reason:
            return
        with self._recovery_lock:
            standing, readings = self._find_footing()
            check_vitals(self._arm.joints, self._vitals)
            with self._latch.lock:
                if self._arm.torque_on and not self._latch.adrift:  # jaws that squeeze something have never let go
                    standing = np.append(standing[:-1], self._arm.output_rad[-1])
                self._arm.stand(standing, readings)
                self._arm.take_hold()
                self._latch.clear()

    def _send(self, command: JointCommand) -> JointCommand:
        try:
            sent, self._latch.holding = self._arm.send(command)
        except BusLost as error:
            self._latch.latch(error, adrift=True)
            raise RobotFaulted(self._latch.reason) from error
        return sent

    # Readings and faults ---------------------------------------------------------------------------
    def _take_in(self, joint: int, reading: Reading) -> bool:
        if not self._arm.torque_on or self._latch.adrift:
            moved = self._arm.let_go(joint, reading)
            if moved is not None:
                self._fail(moved)
            return False
        trouble = self._arm.correct(joint, reading)
        if isinstance(trouble, Stalled):
            self._arm.let_go(joint, reading)  # the hold must not press on
        if trouble is not None:
            self._fail(trouble)
        return self._arm.is_suspicious(joint)

    def _feel(self, joint: int, vitals: ServoVitals) -> bool:
        trouble = self._vitals.check(joint, vitals)
        if trouble is not None:
            self._fail(trouble)
        return self._vitals.is_suspicious(joint)

    def _take_alarm(self, alarm: ServoAlarm) -> None:
        """A servo that complains of itself lets go, or has: stop the others, and find out where it stands."""
        if not self._latch.reason:
            self._fail(alarm)
            self._latch.latch(alarm, adrift=True)
            self._regain_if_possible()

    def _fall_silent(self, error: BusError) -> None:
        if isinstance(error, BusLost):
            self._latch.latch(error, adrift=True)
            return
        self._fail(NoReply(f"{FAILED_READS} reads in a row failed: {error}"))
        self._latch.latch(error, adrift=True)

    def _fail(self, trouble: HardwareError) -> None:
        """Latch a fault and stop whatever still moves; an arm that has gone astray is first looked for."""
        with self._latch.lock:
            known = self._latch.reason != ""
            self._latch.latch(trouble, adrift=isinstance(trouble, Astray))
            if not known or isinstance(trouble, Stalled):
                self.hold()
        if isinstance(trouble, Astray):
            self._regain_if_possible()

    def _regain_if_possible(self) -> None:
        with contextlib.suppress(HardwareError):  # it stays adrift, and the fault says enough
            self._regain()

    def _regain(self) -> None:
        """Take the arm to stand where it is found once it has come to rest, and hold it there; the fault stays."""
        with self._recovery_lock:
            standing, readings = self._find_footing()
            with self._latch.lock:
                self._arm.stand(standing, readings)
                if self._arm.torque_on:
                    self._arm.stop()
                self._latch.adrift = False

    def _find_footing(self) -> tuple[Array, list[Reading] | None]:
        return find_footing(self._arm.joints, self._clock, None if self._is_read else self._arm.output_rad)
