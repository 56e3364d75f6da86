"""The UR5 and the Kuka in physics: contact as strict as the Dofbot's, and the whole grasp through the environment."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pybullet as bullet
import pytest

from bridge.attempt import MAX_LEAD_M
from bridge.pick_place import PickPlaceAttempt
from policies.scripted import scripted_policy
from sim.env import ArmEnv
from sim.world import PHYSICS_HZ, ArmWorld
from tests.sim.lifting import Lifter
from tests.sim.states import advance, start
from urdf.description import load_arm
from urdf.pose import Pose

RIGS = [("ur5", "table"), ("kuka_iiwa", "table"), ("kuka_iiwa", "reference")]
TABLES = RIGS[:2]
EVERY_RIG = [("dofbot", "table"), ("dofbot", "hanging"), *RIGS]
each_rig = pytest.mark.parametrize(("arm_name", "rig_name"), RIGS)
each_table = pytest.mark.parametrize(("arm_name", "rig_name"), TABLES)
#: Half the motor's force for each jaw: 4.6 N m on knuckles of 57.15 mm; 80 N on the racks.
JAW_FORCE_N = {"ur5": 4.6 / 2 / 0.05715, "kuka_iiwa": 40.0}

Lifters = dict[tuple[str, str], Lifter]


@pytest.fixture(scope="module")
def lifters() -> Iterator[Lifters]:
    made = {(arm, rig): Lifter(rig, load_arm(arm)) for arm, rig in RIGS}
    yield made
    for lifter in made.values():
        lifter.close()


# Contact --------------------------------------------------------------------------------------------


@each_table
@pytest.mark.parametrize("yaw_deg", [-45.0, 0.0, 40.0])
def test_a_lifted_block_neither_slips_nor_tilts(arm_name: str, rig_name: str, yaw_deg: float, lifters: Lifters) -> None:
    lifter = lifters[arm_name, rig_name]
    for offset in ((0.0, 0.0), (0.010, 0.0), (-0.010, 0.0), (0.0, 0.010), (0.0, -0.008)):
        skill = lifter.grip(offset, math.radians(yaw_deg))
        assert skill.contact_rad is not None
        assert lifter.arm.gripper.opening_m(skill.contact_rad) == pytest.approx(0.030, abs=0.0015)
        start_m = lifter.world.block_pose().position_m[2]
        slip_m, tilt_rad = lifter.hold_up()
        assert slip_m < 0.001, offset
        assert math.degrees(tilt_rad) < 5.0, offset
        assert lifter.world.block_pose().position_m[2] - start_m > 0.045
        assert lifter.world.jaws_touching() == 2


@each_table
@pytest.mark.parametrize("mass_kg", [0.020, 0.200])
def test_light_and_heavy_blocks_are_held(arm_name: str, rig_name: str, mass_kg: float) -> None:
    lifter = Lifter(rig_name, load_arm(arm_name))
    lifter.weigh(mass_kg)
    lifter.grip((0.004, 0.003), math.radians(30.0))
    slip_m, tilt_rad = lifter.hold_up()
    assert slip_m < 0.001
    assert math.degrees(tilt_rad) < 5.0
    assert lifter.world.jaws_touching() == 2
    lifter.close()


@each_table
def test_jaws_that_close_beside_the_block_lift_nothing(arm_name: str, rig_name: str, lifters: Lifters) -> None:
    lifter = lifters[arm_name, rig_name]
    skill = lifter.grip((0.090, 0.0), 0.0)
    assert skill.contact_rad is None
    lifter.lift()
    assert lifter.world.jaws_touching() == 0
    assert lifter.world.block_pose().position_m[2] == pytest.approx(0.015, abs=0.001)


@each_table
def test_the_gripper_pushes_with_its_motors_force_and_no_more(arm_name: str, rig_name: str, lifters: Lifters) -> None:
    lifter = lifters[arm_name, rig_name]
    world, gripper = lifter.world, lifter.arm.gripper
    lifter.grip((0.0, 0.0), 0.0)
    world.set_gripping(True)
    world.drive(np.append(world.joint_states()[0][:-1], gripper.closed_rad))
    world.step(PHYSICS_HZ)
    assert (
        gripper.opening_m(float(world.joint_states()[0][-1])) > 0.025
    )  # told to close for good, the block is in between
    pushed_n: dict[int, float] = {}
    for contact in bullet.getContactPoints(world.arm, world.block, physicsClientId=world.client):
        pushed_n[contact[3]] = pushed_n.get(contact[3], 0.0) + contact[9]
    assert len(pushed_n) == 2
    for force_n in pushed_n.values():
        assert 0.5 * JAW_FORCE_N[arm_name] < force_n < 1.25 * JAW_FORCE_N[arm_name]


@each_table
def test_the_jaws_stay_parallel_and_move_as_one(arm_name: str, rig_name: str, lifters: Lifters) -> None:
    lifter = lifters[arm_name, rig_name]
    lifter.grip((0.008, 0.0), 0.2)
    world, arm = lifter.world, lifter.arm
    gripper = world.link_pose(arm.tool_link).inverse()
    fingers = {"ur5": "finger", "kuka_iiwa": "jaw"}[arm_name]
    left, right = (gripper @ world.link_pose(f"{side}_{fingers}") for side in ("left", "right"))
    for finger in (left, right):
        assert math.degrees(float(np.linalg.norm(finger.rotvec_rad()))) < 3.0
    assert left.position_m[0] == pytest.approx(-right.position_m[0], abs=0.001)  # the same way on both sides


# Standing and seeing --------------------------------------------------------------------------------


@each_rig
def test_the_arm_stands_still_where_the_chain_has_it(arm_name: str, rig_name: str, lifters: Lifters) -> None:
    world, arm, rig = (
        lifters[arm_name, rig_name].world,
        lifters[arm_name, rig_name].arm,
        lifters[arm_name, rig_name].rig,
    )
    world.reset(rig.home_rad, None)
    world.step(2 * PHYSICS_HZ)
    np.testing.assert_allclose(world.joint_states()[0], rig.home_rad, atol=0.002)
    assert world.tool_pose().is_close(rig.desk_from_base @ arm.base_from_tool(rig.home_rad), 0.001, 0.002)


@each_rig
def test_nothing_weighs_what_pybullet_makes_up(arm_name: str, rig_name: str, lifters: Lifters) -> None:
    world = lifters[arm_name, rig_name].world
    links = range(-1, bullet.getNumJoints(world.arm, physicsClientId=world.client))
    masses = [bullet.getDynamicsInfo(world.arm, i, physicsClientId=world.client)[0] for i in links]
    assert 1.0 not in masses
    assert sum(masses) > 15.0


def block_pixels(world: ArmWorld, camera: str) -> list[int]:
    """Return how many of 64 x 64 pixels show the block from home, for places all over the area."""
    rig, counts = world.rig, []
    for x in np.linspace(-0.5, 0.5, 5) * rig.area_size_m[0]:
        for y in np.linspace(-0.5, 0.5, 3) * rig.area_size_m[1]:
            for yaw_deg in (-45.0, -20.0, 0.0, 20.0):
                place = [rig.area_center_m[0] + x, rig.area_center_m[1] + y, 0.015]
                world.reset(rig.home_rad, Pose.from_rotvec(place, [0.0, 0.0, math.radians(yaw_deg)]))
                bodies = world.render(world.description.camera(camera, rig), 64, 64)[2]
                counts.append(int((bodies == world.block).sum()))
    return counts


@each_rig
def test_the_wrist_camera_sees_the_block_from_home_wherever_it_lies(
    arm_name: str, rig_name: str, lifters: Lifters
) -> None:
    assert min(block_pixels(lifters[arm_name, rig_name].world, "wrist")) >= 60


@pytest.mark.parametrize(("arm_name", "rig_name"), EVERY_RIG)
def test_the_desk_camera_sees_the_block_from_home_wherever_it_lies(arm_name: str, rig_name: str) -> None:
    arm = load_arm(arm_name)
    world = ArmWorld(arm, arm.rig(rig_name))
    assert min(block_pixels(world, "desk")) >= 25
    # It stands on the desk, not on the arm: another pose does not move it.
    assert world.link_pose("desk").is_close(Pose.identity())
    world.close()


# The task -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.deep  # tests/sim/test_task_table.py has the oracle grasp with every arm
@pytest.mark.timeout(400)
@each_table
def test_the_scripted_attempt_grasps_wherever_the_block_lies(arm_name: str, rig_name: str) -> None:
    """The same attempt that a Dofbot makes: descend over the block, close, lift, hold, 50 times of 50."""
    env = ArmEnv(arm=arm_name, rig=rig_name)
    oracle = scripted_policy("oracle", env.observation_layout, 2, env.action_repeat, np.random.default_rng(0))
    failed = []
    for seed in range(50):
        observation = start(env, seed)
        over, info = False, {}
        while not over:
            observation, _, over, _, info = advance(env, oracle.act(observation))
        if not info["is_success"]:
            failed.append(seed)
    assert failed == []
    env.close()


@each_rig
def test_doing_nothing_and_going_straight_down_lift_nothing(arm_name: str, rig_name: str) -> None:
    env = ArmEnv(arm=arm_name, rig=rig_name)
    for seed in range(5):
        env.reset(seed=seed)
        over, info = False, {}
        while not over:
            _, _, over, _, info = env.step(np.zeros(2, dtype=np.float32))
        assert not info["is_success"]
    env.close()


# Free motion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm_name", ["dofbot", "ur5", "kuka_iiwa"])
@pytest.mark.parametrize("turn", [-1.0, 1.0])
def test_jaws_that_turn_as_far_as_they_can_leave_the_tool_where_it_is(arm_name: str, turn: float) -> None:
    """At the last joint's limit another posture would serve: the tool must not travel there."""
    with closing(ArmEnv(arm=arm_name, task="pick-place", action_repeat=4)) as env:
        env.reset(seed=3)
        start_m = env.world.tool_pose().position_m
        for _ in range(40):
            env.step(np.array([0.0, 0.0, 0.0, turn, -1.0], dtype=np.float32))
            # 15 mm: a Dofbot's joints start one after the other.
            assert np.linalg.norm(env.world.tool_pose().position_m - start_m) < 0.015


@pytest.mark.parametrize("arm_name", ["dofbot", "ur5", "kuka_iiwa"])
def test_the_command_never_runs_away_from_the_tool(arm_name: str) -> None:
    rng = np.random.default_rng(0)
    with closing(ArmEnv(arm=arm_name, task="pick-place")) as env:
        for seed in range(4):
            env.reset(seed=seed)
            over, action = False, rng.uniform(-1.0, 1.0, 5)
            while not over:
                if rng.random() < 0.15:
                    action = np.sign(rng.uniform(-1.0, 1.0, 5))
                _, _, terminated, truncated, _ = env.step(action.astype(np.float32))
                over = terminated or truncated
                attempt = env.attempt
                assert isinstance(attempt, PickPlaceAttempt)
                assert np.linalg.norm(attempt.motion.command_m - attempt.tool_m) < MAX_LEAD_M + 0.010


@pytest.mark.parametrize("seed", [1600338967, 192923692, 487214046])
def test_an_arm_between_two_limits_finds_the_way_up_again(seed: int) -> None:
    """Beside the base of a hanging arm two joints reach their limits on the way down: straight up leads nowhere."""
    with closing(ArmEnv(task="pick-place", rig="hanging")) as env:
        rng = np.random.default_rng(seed)
        policy = scripted_policy("oracle", env.observation_layout, 5, env.action_repeat, rng)
        observation, _ = env.reset(seed=seed)
        over, info = False, {}
        while not over:
            assert isinstance(observation, np.ndarray)
            observation, _, terminated, truncated, info = env.step(policy.act(observation.astype(np.float32)))
            over = terminated or truncated
        assert info["is_success"]
