"""ServoRobot: an arm on a servo bus, in radians. The bus, the counts, the safety filter and the estimate meet here.

A thread of its own reads one servo after the other; nobody else ever waits for a servo. `send` and `hold` write at
once, under a lock that no read holds.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from bridge.messages import JointCommand, RobotState
from bridge.ports import Clock
from bridge.safety import SafetyFilter
from calibration.actuator import ActuatorModel
from calibration.servo import ServoCalibration
from hardware.errors import BadChecksum, BusError, BusLost, NoReply, RelaxBlocked, RobotFaulted
from hardware.estimate import FollowMonitor, PoseEstimate, ReadSchedule
from hardware.servo_bus import Reading, ServoBus, find_servos
from urdf.description import ArmDescription, Rig
from urdf.pose import Array

#: Reads that fail in a row, retries included, before the bus counts as lost.
FAILED_READS = 3
#: How fast the ramp to the rest pose turns the fastest joint, and how long it waits where its way is blocked.
RELAX_SPEED_RAD_S = 0.5
RELAX_PATIENCE_S = 1.0
#: After the ramp, before the torque goes: dead time, skew and the servos' own settling (0.3 to 0.6 s when loaded).
SETTLE_S = 0.4
HOLD_S = 0.1


class ServoRobot:
    """A Robot over a ServoBus; owns the bus and closes it. Make one with `connect`."""

    def __init__(
        self,
        bus: ServoBus,
        calibration: ServoCalibration,
        description: ArmDescription,
        rig: Rig,
        clock: Clock,
        readings: Sequence[Reading],
        actuator: ActuatorModel,
        period_s: float,
    ) -> None:
        """Take over a bus whose servos have just been read; `readings` are in joint order. Moves nothing."""
        self._bus, self._calibration, self._description, self._clock = bus, calibration, description, clock
        self._period_s = period_s
        self._filter = SafetyFilter(description, rig, period_s)
        measured = calibration.to_rad([r.ticks for r in readings])
        now_ns = clock.now_ns()
        self._estimate = PoseEstimate(actuator, measured, now_ns)
        for joint, reading in enumerate(readings):
            self._estimate.let_go(joint, float(measured[joint]), reading.received_ns)
        self._monitor = FollowMonitor(description.joint_names, now_ns)
        self._safety = self._filter.initial(measured)
        self._sent_ticks = self._taken([r.ticks for r in readings])
        self._state_lock = threading.Lock()
        self._command_lock = threading.RLock()
        self._seq = 0
        self._holding = True
        self._torque_on = False
        self._fault = ""
        self._failed_reads = 0
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read_on, name="servo reader", daemon=True)

    @staticmethod
    def connect(
        bus: ServoBus,
        calibration: ServoCalibration,
        description: ArmDescription,
        rig: Rig,
        clock: Clock,
        actuator: ActuatorModel | None = None,
        period_s: float = 0.05,
    ) -> ServoRobot:
        """Find every servo, read where the arm stands, and switch the torque on right there: the arm does not jump.

        Raises WrongServo with every missing and unexpected id, ForeignCalibration, or what the bus raises. On an
        error the bus stays open and belongs to the caller.
        """
        calibration.check_belongs(calibration.robot_serial, description)
        readings = find_servos(bus, calibration.servo_ids)
        model = actuator or ActuatorModel.nominal(description)
        robot = ServoRobot(bus, calibration, description, rig, clock, readings, model, period_s)
        robot._take_hold()
        robot._reader.start()
        return robot

    # Robot -----------------------------------------------------------------------------------------
    @property
    def description(self) -> ArmDescription:
        """What arm this is."""
        return self._description

    def read_state(self) -> RobotState:
        """Return the estimate and the age of the reading behind each joint, at once."""
        now_ns = self._clock.now_ns()
        with self._state_lock:
            position, velocity = self._estimate.at(now_ns)
            ages = self._estimate.reading_age_s(now_ns)
            self._seq += 1
            seq = self._seq
        return RobotState(
            seq=seq,
            stamp_ns=now_ns,
            position_rad=tuple(position.tolist()),
            velocity_rad_s=tuple(velocity.tolist()),
            reading_age_s=ages,
            torque_on=self._torque_on,
            holding=self._holding,
            fault=self._fault,
        )

    def send(self, command: JointCommand) -> JointCommand:
        """Pass the command through the safety filter and write it at once; return what was really sent.

        Raises RobotFaulted once a fault has latched, and when torque is off.
        """
        with self._command_lock:
            self._check_ready()
            return self._send(command)

    def hold(self) -> None:
        """Stop where the servos' setpoints will be when this frame reaches them; reads nothing, waits for nothing.

        The setpoint, not the measurement: jaws that squeeze a block go on squeezing it. Without torque nothing is sent.
        Never raises for a lost bus: that latches and stands in the state, and there is nobody left to stop.
        """
        with self._command_lock:
            self._holding = True
            if not self._torque_on:
                return
            with self._state_lock:
                point = self._estimate.stopping_point_rad(self._clock.now_ns())
            with contextlib.suppress(RobotFaulted):
                self._safety = self._filter.initial(self._write(point, HOLD_S))

    def relax(self, rest_rad: Array, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Ramp slowly to `rest_rad` (n,), the arm first and the gripper after it, then switch the torque off.

        When `should_stop` turns true the arm holds and keeps its torque. Raises RelaxBlocked where the safety filter
        stops the ramp, and BusLost; a latched stall does not keep the rest of the arm from being set down.
        """
        rest = np.asarray(rest_rad, dtype=np.float64)
        with self._state_lock:
            start = self._estimate.setpoint_rad(self._clock.now_ns())
        if self._torque_on:
            for target in (np.append(rest[:-1], start[-1]), rest):
                if not self._ramp(target, should_stop):
                    self.hold()
                    return
            self._sleep(SETTLE_S)
        self.torque_off()

    def torque_off(self) -> None:
        """Let go at once: a raised arm falls. Raises BusLost."""
        with self._command_lock:
            self._bus.set_torque(False)
            self._torque_on = False
            self._holding = True

    def close(self) -> None:
        """Stop reading and give the port back; the servos keep holding what they hold. Calling it twice is harmless."""
        self._stop.set()
        self._bus.close()
        if self._reader.is_alive() and threading.current_thread() is not self._reader:
            self._reader.join(timeout=2.0)

    # Commands --------------------------------------------------------------------------------------
    def _take_hold(self) -> None:
        """Switch torque on where the arm stands. Written before, since torque pulls to the last target; and after."""
        self._bus.write_ticks(self._by_servo(self._sent_ticks), HOLD_S)
        self._bus.set_torque(True)
        self._bus.write_ticks(self._by_servo(self._sent_ticks), HOLD_S)
        self._torque_on = True

    def _check_ready(self) -> None:
        if self._fault:
            raise RobotFaulted(f"{self._fault}. Connect again once the cause is gone")
        if not self._torque_on:
            raise RobotFaulted("the torque is off: connect again to switch it on where the arm stands")

    def _send(self, command: JointCommand) -> JointCommand:
        with self._state_lock:
            measured, _ = self._estimate.at(self._clock.now_ns())
        target = np.array(command.position_rad)
        self._safety, output = self._filter.step(self._safety, target, measured, command.duration_s)
        sent_rad = self._write(output.position_rad, output.duration_s)
        self._holding = output.held
        return JointCommand(
            seq=command.seq,
            stamp_ns=self._clock.now_ns(),
            position_rad=tuple(sent_rad.tolist()),
            duration_s=output.duration_s,
            ttl_s=command.ttl_s,
        )

    def _write(self, position_rad: Array, duration_s: float) -> Array:
        """Write a pose in counts; return the pose that those counts mean. A lost bus latches and is raised as such."""
        joints = self._calibration.joints
        triples = zip(joints, position_rad, self._sent_ticks, strict=True)
        ticks = self._taken([joint.nearest_ticks(float(angle), before) for joint, angle, before in triples])
        try:
            self._bus.write_ticks(self._by_servo(ticks), duration_s)
        except BusLost as error:
            self._latch(str(error))
            raise RobotFaulted(str(error)) from error
        self._sent_ticks = ticks
        sent_rad = self._calibration.to_rad(ticks)
        with self._state_lock:
            self._estimate.command(sent_rad, duration_s, self._clock.now_ns())
        return sent_rad

    def _taken(self, ticks: Sequence[int]) -> list[int]:
        """Return the counts that the bus takes nearest to these."""
        lowest, highest = self._bus.ticks_range
        return [min(max(t, lowest), highest) for t in ticks]

    def _by_servo(self, ticks: Sequence[int]) -> list[int]:
        """Return counts in the bus's order of servos from counts in joint order."""
        by_id = dict(zip(self._calibration.servo_ids, ticks, strict=True))
        return [by_id[servo_id] for servo_id in self._bus.servo_ids]

    def _ramp(self, target_rad: Array, should_stop: Callable[[], bool]) -> bool:
        """Walk straight to `target_rad`, one period at a time; return False when told to stop."""
        blocked_since_ns, deadline_ns = self._clock.now_ns(), self._clock.now_ns()
        while not should_stop():
            with self._command_lock:
                position = self._safety.position_rad
                away = target_rad - position
                distance = float(np.abs(away).max())
                if distance < 2e-3:
                    return True
                part = min(1.0, RELAX_SPEED_RAD_S * self._period_s / distance)
                waypoint = tuple((position + part * away).tolist())
                self._send(JointCommand(0, self._clock.now_ns(), waypoint, self._period_s))
                moved = float(np.abs(self._safety.position_rad - position).max()) > 1e-4
            now_ns = self._clock.now_ns()
            blocked_since_ns = now_ns if moved else blocked_since_ns
            if (now_ns - blocked_since_ns) * 1e-9 > RELAX_PATIENCE_S:
                self.hold()
                raise RelaxBlocked(
                    "the way to the rest pose is blocked: the arm holds with its torque on; "
                    "support it by hand, then switch the torque off or the supply"
                )
            deadline_ns += round(self._period_s * 1e9)
            self._clock.sleep_until(deadline_ns)
        return False

    def _sleep(self, duration_s: float) -> None:
        self._clock.sleep_until(self._clock.now_ns() + round(duration_s * 1e9))

    # Readings --------------------------------------------------------------------------------------
    def _read_on(self) -> None:
        schedule = ReadSchedule(self._estimate.joint_count)
        gripper = self._estimate.joint_count - 1
        while not self._stop.is_set():
            started_ns = self._clock.now_ns()
            with self._state_lock:
                joint = schedule.next(self._estimate.is_moving(gripper, started_ns))
            try:
                reading = self._bus.read_ticks(self._calibration.servo_ids[joint])
            except (NoReply, BadChecksum) as error:
                self._failed_reads += 1
                if self._failed_reads >= FAILED_READS:
                    self._fail(f"{FAILED_READS} reads in a row failed: {error}")
            except BusError as error:
                if not self._stop.is_set():
                    self._fail(str(error))
                return
            else:
                self._failed_reads = 0
                self._take_in(joint, reading)
            spent_s = (self._clock.now_ns() - started_ns) * 1e-9
            self._stop.wait(max(0.0, self._period_s - spent_s))

    def _take_in(self, joint: int, reading: Reading) -> None:
        servo = self._calibration.joints[joint]
        measured = servo.to_rad(reading.ticks)
        with self._state_lock:
            if not self._torque_on:
                self._estimate.let_go(joint, measured, reading.received_ns)
                return
            lag = self._estimate.correct(joint, measured, reading.received_ns)
            moving = self._estimate.is_moving(joint, reading.received_ns)
        wrong = self._monitor.check(joint, reading.ticks, lag, lag * servo.ticks_per_rad, moving, reading.received_ns)
        if wrong:
            self._fail(wrong)

    def _fail(self, why: str) -> None:
        """Latch a fault and stop whatever still moves."""
        with self._command_lock:
            if self._fault:
                return
            self._latch(why)
            self.hold()

    def _latch(self, why: str) -> None:
        self._fault = self._fault or why
        self._holding = True
