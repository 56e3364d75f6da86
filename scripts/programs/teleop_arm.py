"""The arm that a person leads: a simulated one, or one that is reached over the bridge."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import PolicyMismatch
from bridge.free_attempt import FREE_HZ
from bridge.loop import LoopStep
from bridge.ports import BlockSighting, Clock, Robot
from scripts.programs.paced_robot import PacedRobot
from scripts.programs.robot_link import RobotLink
from sim.objects import BLOCK_SIZE_M
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig
from urdf.pose import Pose


@dataclass(frozen=True, slots=True)
class TeleopArm:
    """An arm, the clock that it moves by, and how it is stopped in an emergency.

    `written_ns`: when the command of a period had been written to the servos. `world`: the simulated one, where it is.
    """

    name: str
    robot: Robot
    clock: Clock
    rig: Rig
    written_ns: Callable[[LoopStep], int]
    stop: Callable[[], None]
    clear: Callable[[], None]
    world: ArmWorld | None = None

    @property
    def description(self) -> ArmDescription:
        """What arm it is."""
        return self.robot.description


class WorldBlock:
    """The block of a simulated world, seen as it is now on the clock that the arm is led by."""

    def __init__(self, world: ArmWorld, clock: Clock) -> None:
        self._world, self._clock = world, clock

    def read_block(self) -> BlockSighting | None:
        """Return where the block is now."""
        base_from_block = self._world.rig.desk_from_base.inverse() @ self._world.block_pose()
        return BlockSighting(base_from_block, self._clock.now_ns())

    def missing(self) -> str:
        """Nothing is ever missing here."""
        return ""


@contextmanager
def simulated_arm(
    description: ArmDescription, rig: Rig, real_time: bool, period_s: float = 1.0 / FREE_HZ
) -> Generator[TeleopArm]:
    """Give an arm in PyBullet that stands at home, a block in the middle of its area.

    In `real_time` its clock is the machine's, else time goes as quickly as physics can be computed. `period_s`: how
    often it is commanded.
    """
    world = ArmWorld(description, rig)
    try:
        sim = SimRobot(world, period_s)
        x_m, y_m = rig.area_center_m
        sim.reset(np.array(rig.home_rad), Pose.from_rotvec([x_m, y_m, BLOCK_SIZE_M / 2], [0.0, 0.0, 0.0]))
        paced = PacedRobot(sim) if real_time else sim
        yield TeleopArm(
            "sim",
            paced,
            paced,
            rig,
            written_ns=lambda step: step.sent.stamp_ns,
            stop=sim.hold,
            clear=lambda: None,
            world=world,
        )
    finally:
        world.close()


@contextmanager
def served_arm(name: str, link: RobotLink) -> Generator[TeleopArm]:
    """Give an arm over the bridge; raises PolicyMismatch where it stands in another rig than robot.toml says."""
    clock = MonotonicClock()
    rig = link.description.rig(link.address.rig)
    with link.connect(clock) as robot:
        if robot.rig_name != rig.name:
            raise PolicyMismatch(f"the server's arm stands in rig {robot.rig_name!r}, robot.toml says {rig.name!r}")
        yield TeleopArm(
            name, robot, clock, rig, written_ns=lambda step: robot.written_ns, stop=robot.stop, clear=robot.clear
        )
