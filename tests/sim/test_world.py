from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pybullet as bullet
import pytest
from numpy.typing import NDArray

from sim.world import PHYSICS_HZ, ArmWorld, render
from tests.sim.lifting import ARM, Lifter
from urdf.pose import Pose

RIGS = ("table", "hanging")
each_rig = pytest.mark.parametrize("rig_name", RIGS)


@pytest.fixture(scope="module")
def lifters() -> Iterator[dict[str, Lifter]]:
    made = {name: Lifter(name) for name in RIGS}
    yield made
    for lifter in made.values():
        lifter.close()


@pytest.fixture(scope="module")
def worlds(lifters: dict[str, Lifter]) -> dict[str, ArmWorld]:
    return {name: lifter.world for name, lifter in lifters.items()}


def block_at(x: float, y: float, yaw_deg: float = 0.0) -> Pose:
    return Pose.from_rotvec([x, y, 0.015], [0.0, 0.0, math.radians(yaw_deg)])


# Gripping -------------------------------------------------------------------------------------------


@each_rig
@pytest.mark.parametrize("yaw_deg", [-45.0, 0.0, 40.0])
def test_a_lifted_block_neither_slips_nor_tilts(rig_name: str, yaw_deg: float, lifters: dict[str, Lifter]) -> None:
    lifter = lifters[rig_name]
    for offset in ((0.0, 0.0), (0.010, 0.0), (-0.010, 0.0), (0.0, 0.010), (0.0, -0.008)):
        skill = lifter.grip(offset, math.radians(yaw_deg))
        assert skill.contact_rad is not None
        start_m = lifter.world.block_pose().position_m[2]
        slip_m, tilt_rad = lifter.hold_up()
        assert slip_m < 0.001, offset
        assert math.degrees(tilt_rad) < 5.0, offset
        assert lifter.world.block_pose().position_m[2] - start_m > 0.035
        assert lifter.world.jaws_touching() == 2


@each_rig
@pytest.mark.parametrize("mass_kg", [0.020, 0.050])
def test_light_and_heavy_blocks_are_held(rig_name: str, mass_kg: float) -> None:
    lifter = Lifter(rig_name)
    lifter.weigh(mass_kg)
    for yaw_deg in (0.0, 30.0):
        lifter.grip((0.004, 0.003), math.radians(yaw_deg))
        slip_m, tilt_rad = lifter.hold_up()
        assert slip_m < 0.001
        assert math.degrees(tilt_rad) < 5.0
        assert lifter.world.jaws_touching() == 2
    lifter.close()


def test_jaws_that_close_beside_the_block_lift_nothing(lifters: dict[str, Lifter]) -> None:
    lifter = lifters["table"]
    lifter.grip((0.070, 0.0), 0.0)
    lifter.lift()
    assert lifter.world.jaws_touching() == 0
    assert lifter.world.block_pose().position_m[2] == pytest.approx(0.015, abs=0.001)


def test_the_gripper_pushes_with_its_servos_torque_and_no_more(lifters: dict[str, Lifter]) -> None:
    """Told to close for good, the jaws stop at the block: joints set by decree would go through it."""
    world = lifters["table"].world
    lifters["table"].grip((0.0, 0.0), 0.0)
    world.set_gripping(True)
    world.drive(np.append(world.joint_states()[0][:-1], ARM.gripper.closed_rad))
    world.step(PHYSICS_HZ)
    # 30 mm block: the measured law has 25 mm at -0.3 rad. Rubber gives way by a few tenths of a millimetre.
    assert world.joint_states()[0][-1] < -0.30
    pushed_n = [0.0, 0.0]
    for contact in bullet.getContactPoints(world.arm, world.block, physicsClientId=world.client):
        pushed_n[contact[3] == world.link_index["left_finger"]] += contact[9]
    # 0.59 N m shared by two cranks of 30.1 mm: no more than 0.59 / 2 / 0.0301 = 9.8 N for each jaw.
    assert all(1.0 < n < 12.0 for n in pushed_n)


def test_the_fingers_stay_parallel_while_they_grip(lifters: dict[str, Lifter]) -> None:
    for rig_name in RIGS:
        lifters[rig_name].grip((0.005, 0.0), 0.3)
        gripper = lifters[rig_name].world.link_pose("gripper_link").inverse()
        for side in ("left", "right"):
            long_axis = (gripper @ lifters[rig_name].world.link_pose(f"{side}_finger")).rotation[:, 0]
            assert math.degrees(math.acos(min(1.0, float(long_axis[2])))) < 3.0, (rig_name, side)


# Reset and reading ----------------------------------------------------------------------------------


@each_rig
def test_reset_puts_arm_and_block_at_rest_where_they_are_asked_to_be(
    rig_name: str, worlds: dict[str, ArmWorld]
) -> None:
    world = worlds[rig_name]
    rng = np.random.default_rng(5)
    for position in rng.uniform(ARM.lower_rad, ARM.upper_rad, (10, 6)):
        block = block_at(rng.uniform(-0.05, 0.05), 0.15, rng.uniform(-45, 45))
        world.reset(position, block)
        measured, speed = world.joint_states()
        np.testing.assert_allclose(measured, position, atol=1e-12)
        np.testing.assert_array_equal(speed, np.zeros(6))
        assert world.block_pose().is_close(block, 1e-12, 1e-7)
    world.reset(ARM.rig(rig_name).home_rad, None)
    assert np.linalg.norm(world.block_pose().position_m) > 1.0  # nobody meets a block that was not asked for


@each_rig
def test_links_and_tool_are_where_the_chain_has_them(rig_name: str, worlds: dict[str, ArmWorld]) -> None:
    world, base = worlds[rig_name], ARM.rig(rig_name).desk_from_base
    rng = np.random.default_rng(6)
    for _ in range(20):
        position = rng.uniform(ARM.lower_rad, ARM.upper_rad)
        world.reset(position, None)
        matrices = ARM.chain.link_matrices(ARM.joint_angles(position))
        for link in ("base_link", "link1", "link4", "gripper_link", "left_finger", "right_finger"):
            assert world.link_pose(link).is_close(base @ Pose.from_matrix(matrices[link]), 1e-4, 1e-3), link
        assert world.tool_pose().is_close(base @ ARM.base_from_tool(position), 1e-4, 1e-3)


@each_rig
def test_the_arm_stands_still_under_its_own_weight(rig_name: str, worlds: dict[str, ArmWorld]) -> None:
    world, rig = worlds[rig_name], ARM.rig(rig_name)
    world.reset(rig.home_rad, block_at(*rig.area_center_m))
    world.step(2 * PHYSICS_HZ)
    np.testing.assert_allclose(world.joint_states()[0], rig.home_rad, atol=0.01)
    assert world.block_pose().is_close(block_at(*rig.area_center_m), 0.0005, 0.01)


# Seeing ---------------------------------------------------------------------------------------------


def area_grid(rig_name: str) -> Iterator[Pose]:
    rig = ARM.rig(rig_name)
    for x in np.linspace(-0.05, 0.05, 5):
        for y in np.linspace(-0.025, 0.025, 3):
            for yaw_deg in (-45.0, -20.0, 0.0, 20.0):
                yield block_at(rig.area_center_m[0] + x, rig.area_center_m[1] + y, yaw_deg)


def block_pixels(world: ArmWorld, camera: str) -> int:
    return int((world.render(ARM.camera(camera, world.rig), 64, 64)[2] == world.block).sum())


@each_rig
def test_the_wrist_camera_sees_the_block_from_home_wherever_it_lies(rig_name: str, worlds: dict[str, ArmWorld]) -> None:
    world, home = worlds[rig_name], ARM.rig(rig_name).home_rad
    counts = []
    for block in area_grid(rig_name):
        world.reset(home, block)
        counts.append(block_pixels(world, "wrist" if rig_name == "table" else "wrist_wide"))
    assert min(counts) >= 60


def test_the_hanging_rigs_own_wrist_camera_is_blind_near_the_base(worlds: dict[str, ArmWorld]) -> None:
    world, home = worlds["hanging"], ARM.rig("hanging").home_rad
    counts: dict[float, list[int]] = {}
    for block in area_grid("hanging"):
        world.reset(home, block)
        counts.setdefault(round(float(block.position_m[1]), 3), []).append(block_pixels(world, "wrist"))
    nearest, *_ = sorted(counts)
    assert min(counts[nearest]) < 60
    assert min(min(c) for c in counts.values()) == 0


def straight_down(height_m: float) -> Pose:
    """Return a camera far from the arm that looks straight down: x to the right, y towards the arm."""
    rotation = np.diag([1.0, -1.0, -1.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, [0.35, -0.35, height_m]
    return Pose.from_matrix(matrix)


@pytest.mark.parametrize(("near_m", "far_m"), [(0.02, 3.0), (0.1, 1.0)])
@pytest.mark.parametrize("height_m", [0.15, 0.3])
def test_depth_is_the_distance_along_the_optical_axis(
    height_m: float, near_m: float, far_m: float, worlds: dict[str, ArmWorld]
) -> None:
    world = worlds["table"]
    world.reset(ARM.rig("table").home_rad, block_at(0.35, -0.35))
    _, depth, bodies = render(world.client, straight_down(height_m), math.radians(50.0), near_m, far_m, 96, 64)
    assert set(np.unique(bodies)) == {world.desk, world.block}
    # On a plane the depth is constant over the picture: it is no distance from the eye.
    np.testing.assert_allclose(depth[bodies == world.desk], height_m, atol=0.002)
    np.testing.assert_allclose(
        depth[(bodies == world.block) & interior(bodies == world.block)], height_m - 0.030, atol=0.002
    )


def interior(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels all of whose neighbours belong to the mask: the rims show the block's sides."""
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(mask, step, axis)
    return inner


def test_the_picture_has_the_block_where_a_pinhole_puts_it(worlds: dict[str, ArmWorld]) -> None:
    world = worlds["table"]
    width, height, fov = 160, 120, math.radians(50.0)
    world.reset(ARM.rig("table").home_rad, block_at(0.35 + 0.04, -0.35 - 0.02))
    rgb, _, bodies = render(world.client, straight_down(0.3), fov, 0.02, 3.0, width, height)
    focal_px = height / 2 / math.tan(fov / 2)
    rows, columns = np.nonzero(bodies == world.block)
    # The top face, 30 mm above the desk, hides all but the sides: its middle is that of the outline within a pixel.
    assert columns.mean() == pytest.approx(width / 2 - 0.5 + focal_px * 0.04 / 0.27, abs=1.5)
    assert rows.mean() == pytest.approx(height / 2 - 0.5 + focal_px * 0.02 / 0.27, abs=1.5)
    assert len(rows) == pytest.approx((focal_px * 0.030 / 0.27) ** 2, rel=0.15)
    red, _, blue = rgb[bodies == world.block].mean(axis=0)
    assert red > 1.5 * blue  # wood on a pale desk


# The body -------------------------------------------------------------------------------------------


def test_nothing_is_loaded_at_reset(worlds: dict[str, ArmWorld]) -> None:
    world = worlds["table"]
    before = bullet.getNumBodies(physicsClientId=world.client)
    for _ in range(20):
        world.reset(ARM.rig("table").home_rad, block_at(0.0, 0.155))
        assert bullet.getNumBodies(physicsClientId=world.client) == before == 3


def test_closing_a_world_twice_is_harmless() -> None:
    world = ArmWorld(ARM, ARM.rig("table"))
    client = world.client
    world.close()
    world.close()
    assert world.client < 0
    with pytest.raises(bullet.error, match="Not connected"):
        bullet.getNumBodies(physicsClientId=client)
