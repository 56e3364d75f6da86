from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from bridge.free_attempt import FREE_HZ, FreeToolAttempt
from bridge.loop import ControlLoop, run_episode
from bridge.ports import BlockSighting
from perception.body import PeopleSighting, Side
from perception.clutch import Clutch, ClutchSettings
from perception.person_view import PersonView
from perception.retarget_tool import ToolRetarget, natural_scale
from perception.teleop_drivers import ToolDriver
from perception.teleop_policy import Deadman, PersonLeft, TeleopPolicy, Wishes
from scripts.programs.grasp_track import grasp_waypoints
from scripts.programs.pose_track import pose_track
from sim.objects import BLOCK_SIZE_M
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")


class NoBlock:
    """A person looks for themselves."""

    def read_block(self) -> BlockSighting | None:
        return None

    def missing(self) -> str:
        return ""


@dataclass
class Film:
    """Sightings that come when their time has come, 20 ms late."""

    sightings: Sequence[PeopleSighting]
    robot: SimRobot

    def newest(self) -> PeopleSighting | None:
        come = [s for s in self.sightings if s.stamp_ns + 20_000_000 <= self.robot.now_ns()]
        return come[-1] if come else None

    def missing(self) -> str:
        return "no picture yet"

    def over(self) -> bool:
        return self.robot.now_ns() > self.sightings[-1].stamp_ns

    def read(self) -> Wishes:
        return Wishes()


def lifted(x_m: float, y_m: float, seed: int) -> tuple[float, int]:
    """Let the person grasp the block there; return how high it is lifted [m] and how many jaws touch it."""
    world = ArmWorld(ARM, RIG)
    robot = SimRobot(world, 1 / FREE_HZ)
    robot.reset(np.array(RIG.home_rad), Pose.from_rotvec([x_m, y_m, BLOCK_SIZE_M / 2], [0.0, 0.0, 0.0]))
    kinematics = PinocchioKinematics(ARM, RIG)
    attempt = FreeToolAttempt(ARM, RIG, kinematics, 1 / FREE_HZ)
    scale = natural_scale(RIG)
    home_m, _, _ = kinematics.tool_in_desk(RIG.home_rad)
    waypoints = grasp_waypoints(home_m, np.array([x_m, y_m]), RIG, scale)
    film = Film(pose_track(waypoints, Side.RIGHT, np.random.default_rng(seed)), robot)
    driver = ToolDriver(attempt, ToolRetarget(RIG), scale, lambda: np.array(robot.read_state().position_rad))
    policy = TeleopPolicy(
        film, PersonView(Side.RIGHT, mirror=False), driver, Clutch(ClutchSettings()), film, robot, Deadman.HAND,
        lambda moment: None,
    )  # fmt: skip
    with pytest.raises(PersonLeft):
        run_episode(ControlLoop(robot, robot, NoBlock(), attempt), policy, 1)
    result = float(world.block_pose().position_m[2]) - BLOCK_SIZE_M / 2, world.jaws_touching()
    world.close()
    return result


@pytest.mark.parametrize(("x_m", "y_m", "seed"), [(0.0, 0.155, 1), (0.03, 0.165, 2)])
def test_a_scripted_person_grasps_and_lifts_the_block(x_m: float, y_m: float, seed: int) -> None:
    height_m, jaws = lifted(x_m, y_m, seed)
    assert height_m > 0.04
    assert jaws == 2


@pytest.mark.deep
def test_wherever_in_its_area_the_block_lies_it_is_lifted() -> None:
    half_m = RIG.area_size_m / 2
    places = RIG.area_center_m + np.random.default_rng(0).uniform(-half_m, half_m, (24, 2))
    heights_m = [lifted(float(x), float(y), seed)[0] for seed, (x, y) in enumerate(places)]
    assert sum(height > 0.04 for height in heights_m) >= 23
