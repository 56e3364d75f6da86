"""SimRobot: the simulated arm behind the same seam as the physical one. It is also a Clock: it steps physics."""

from __future__ import annotations

import numpy as np

from bridge.messages import JointCommand, RobotState
from bridge.ports import BlockSighting
from bridge.safety import SafetyFilter
from calibration.actuator import ActuatorModel, ActuatorState, ServoErrors
from sim.world import PHYSICS_HZ, ArmWorld
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

#: Motor targets are renewed every third physics step (80 Hz): finer makes no difference to the motion, only slower.
STEPS_PER_TARGET = 3
_STEP_NS = 1_000_000_000 // PHYSICS_HZ
#: Jaws further apart than this (the diagonal of the 30 mm block and a little) grip nothing: the quick solver will do.
GRIPPING_BELOW_M = 0.0458


class SimRobot:
    """`Robot` and `Clock` over an ArmWorld. Time starts at zero with every reset and moves only in `sleep_until`.

    `model` is how its servos follow where a reset does not say otherwise: the arm's nominal one, or an identified one.
    """

    def __init__(self, world: ArmWorld, period_s: float, actuator: ActuatorModel | None = None) -> None:
        self.world = world
        self.description: ArmDescription = world.description
        self.expect_object(GRIPPING_BELOW_M)
        self.model = actuator or ActuatorModel.nominal(world.description)
        self._filter = SafetyFilter(world.description, world.rig, period_s)
        self._true_servos = ServoErrors.none(len(world.description.joint_names))
        self.reset(world.rig.home_rad, None)

    def reset(
        self,
        position_rad: Array,
        block: Pose | None,
        servo: ServoErrors | None = None,
        model: ActuatorModel | None = None,
    ) -> None:
        """Start again at time zero with arm and block at rest where they are asked to be.

        `position_rad` (n,) is what the servos read there: `servo` says how they err, neither command nor reading tells.
        Both `servo` and `model` last until the next reset; without them the servos are right and follow `self.model`.
        """
        self._servo = servo or self._true_servos
        self.world.reset(self._servo.joint_rad(np.asarray(position_rad)), block)
        self._actuator = ActuatorState(model or self.model, position_rad)
        self._safety = self._filter.initial(np.asarray(position_rad, dtype=np.float64))
        self._steps = 0
        self._seq = 0
        self._holding = False
        self._position = self._actuator.model.readings_rad(np.array(position_rad, dtype=np.float64))
        self._velocity = np.zeros(len(position_rad))

    def expect_object(self, width_m: float) -> None:
        """Say how wide an object the jaws may close on: from there on the solver works hard."""
        self._gripping_from_rad = self.description.gripper.reaches_rad(width_m)

    # Robot ---------------------------------------------------------------------------------------
    def read_state(self) -> RobotState:
        """Return the joint state from physics, read as finely as the servos do; its readings are always fresh."""
        self._seq += 1
        position = self._position.tolist()
        return RobotState(
            seq=self._seq,
            stamp_ns=self.now_ns(),
            position_rad=tuple(position),
            velocity_rad_s=tuple(self._velocity.tolist()),
            reading_age_s=(0.0,) * len(position),
            holding=self._holding,
            reading_rad=tuple(position),
        )

    def send(self, command: JointCommand) -> JointCommand:
        """Pass the command through the safety filter to the simulated servos; return what was really sent."""
        target = np.array(command.position_rad)
        self._safety, output = self._filter.step(self._safety, target, self._position, command.duration_s)
        self._holding = output.held
        self._actuator.submit(output.position_rad, output.duration_s)
        return JointCommand(
            command.seq, command.stamp_ns, tuple(output.position_rad.tolist()), output.duration_s, command.ttl_s
        )

    def hold(self) -> None:
        """Stop where the setpoint will be when this command has passed the dead time: holding moves nothing back."""
        model = self._actuator.model
        ahead = self._actuator.copy()
        ahead.advance_to(self._actuator.now_s + model.dead_time_s)
        stop = ahead.position_rad
        self._safety = self._filter.initial(stop)
        self._actuator.submit(stop, model.min_move_s)
        self._holding = True

    def close(self) -> None:
        """Free the world."""
        self.world.close()

    # Clock ---------------------------------------------------------------------------------------
    def now_ns(self) -> int:
        """Return simulated nanoseconds since the last reset."""
        return self._steps * 1_000_000_000 // PHYSICS_HZ

    def sleep_until(self, deadline_ns: int) -> None:
        """Step physics up to `deadline_ns`."""
        goal = -(-deadline_ns * PHYSICS_HZ // 1_000_000_000)
        while self._steps < goal:
            count = min(STEPS_PER_TARGET, goal - self._steps)
            self._actuator.advance_to((self._steps + count) / PHYSICS_HZ)
            pulled_to = self._actuator.joint_rad
            # Between jaws that are closing there may be nothing: only what they touch is worth the effort.
            narrow = bool(pulled_to[-1] > self._gripping_from_rad)
            self.world.set_gripping(narrow and (self.world.gripping or self.world.jaws_touching() > 0))
            self.world.drive(self._servo.joint_rad(pulled_to))
            self.world.step(count)
            self._steps += count
        position, velocity = self.world.joint_states()
        self._position = self._actuator.model.readings_rad(self._servo.servo_rad(position))
        self._velocity = velocity / self._servo.scale


class TrueBlock:
    """BlockSource that asks the simulator. `error_m` (3,), set per episode, is added to the truth in the desk frame."""

    def __init__(self, robot: SimRobot) -> None:
        self.error_m: Array = np.zeros(3)
        self._robot = robot
        self._base_from_desk = robot.world.rig.desk_from_base.inverse()

    def read_block(self) -> BlockSighting | None:
        """Return where the block is now."""
        truth = self._robot.world.block_pose()
        seen = Pose(truth.position_m + self.error_m, truth.quat_xyzw)
        return BlockSighting(self._base_from_desk @ seen, self._robot.now_ns())

    def missing(self) -> str:
        """Nothing is ever missing here."""
        return ""
