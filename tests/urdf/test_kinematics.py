from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

pytest.importorskip("pinocchio")
pytest.importorskip("pybullet")

import pinocchio as pin
import pybullet as bullet

from bridge.guards import GuardModel
from urdf.description import ArmDescription, Rig, load_arm
from urdf.errors import Unreachable
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Array, Pose

ARM = load_arm("dofbot")
RIGS = ("table", "hanging")
each_rig = pytest.mark.parametrize("rig_name", RIGS)
ARM_RIGS = [
    *(("dofbot", "table"), ("dofbot", "hanging"), ("dofbot-se", "table")),
    *(("ur5", "table"), ("kuka_iiwa", "table"), ("kuka_iiwa", "reference")),
]
each_arm_rig = pytest.mark.parametrize(("arm_name", "rig_name"), ARM_RIGS)
#: Arms of six and seven joints: more freedom than position, heading and cone take.
FREE_RIGS = [pair for pair in ARM_RIGS if not pair[0].startswith("dofbot")]
DEEP = bool(os.environ.get("TANDEM_DEEP"))
FREE_TARGETS = 2000 if DEEP else 800

#: Servo limits of the five arm joints, by hand: 180 degrees, and 270 for the wrist.
LOWER_DEG = np.array([-90.0, -90.0, -90.0, -90.0, -90.0])
UPPER_DEG = np.array([90.0, 90.0, 90.0, 90.0, 180.0])
TARGETS = 5000 if DEEP else 2000


@pytest.fixture(scope="module")
def solvers() -> dict[str, PinocchioKinematics]:
    return {name: PinocchioKinematics(ARM, ARM.rig(name)) for name in RIGS}


@pytest.fixture
def client() -> Iterator[int]:
    client = bullet.connect(bullet.DIRECT)
    yield client
    bullet.disconnect(client)


def tilt_deg(desk_from_tool: Pose) -> float:
    return math.degrees(math.acos(min(1.0, -float(desk_from_tool.rotation[2, 2]))))


def heading_error_rad(desk_from_tool: Pose, yaw_rad: float) -> float:
    """Return the angle between two jaw headings; jaws look the same after half a turn."""
    x, y = desk_from_tool.rotation[:2, 0]
    return abs((math.atan2(y, x) - yaw_rad + math.pi / 2) % math.pi - math.pi / 2)


#: Links of each arm that are not its root.
LINK_COUNTS = {"dofbot": 9, "dofbot-se": 9, "ur5": 12, "kuka_iiwa": 10}


@each_arm_rig
def test_numpy_pinocchio_and_pybullet_put_every_link_in_the_same_place(
    arm_name: str, rig_name: str, client: int
) -> None:
    arm = load_arm(arm_name)
    base = arm.rig(rig_name).desk_from_base
    model = pin.buildModelFromUrdf(str(arm.urdf_path))
    data = model.createData()
    body = bullet.loadURDF(
        str(arm.urdf_path), base.position_m.tolist(), base.quat_xyzw.tolist(), useFixedBase=True, physicsClientId=client
    )
    infos = [
        bullet.getJointInfo(body, i, physicsClientId=client)
        for i in range(bullet.getNumJoints(body, physicsClientId=client))
    ]
    joints, links = {i[1].decode(): i[0] for i in infos}, {i[12].decode(): i[0] for i in infos}
    assert len(links) == LINK_COUNTS[arm_name]
    rng = np.random.default_rng(11)
    for _ in range(200):
        angles = arm.joint_angles(rng.uniform(arm.lower_rad, arm.upper_rad))
        numpy_links = arm.chain.link_matrices(angles)
        pin.framesForwardKinematics(model, data, np.array([angles[name] for name in model.names[1:]]))
        for name, angle in angles.items():
            bullet.resetJointState(body, joints[name], angle, physicsClientId=client)
        for link, index in links.items():
            state = bullet.getLinkState(body, index, computeForwardKinematics=True, physicsClientId=client)
            in_pybullet = Pose(np.array(state[4]), np.array(state[5]))
            in_pinocchio = Pose.from_matrix(data.oMf[model.getFrameId(link)].homogeneous)
            in_numpy = Pose.from_matrix(numpy_links[link])
            assert in_numpy.is_close(in_pinocchio, 1e-9, 1e-7), link
            assert (base @ in_numpy).is_close(in_pybullet, 1e-4, 1e-3), link
        by_path = arm.chain.link_matrix(arm.tool_link, angles)
        np.testing.assert_array_equal(by_path, numpy_links[arm.tool_link])


@dataclass(slots=True)
class Tally:
    """What the random targets gave, checked with the NumPy chain: the test above holds it against two others."""

    rig: Rig
    errors_mm: list[float] = field(default_factory=list)
    heading_rad: list[float] = field(default_factory=list)
    tilts_deg: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    violations: int = 0
    cold_us: list[float] = field(default_factory=list)
    warm_us: list[float] = field(default_factory=list)

    def take(self, joints: Array, position: Array, yaw: float) -> None:
        tool = self.rig.desk_from_base @ ARM.base_from_tool(joints)
        self.errors_mm.append(1000 * float(np.linalg.norm(tool.position_m - position)))
        self.heading_rad.append(heading_error_rad(tool, yaw))
        self.tilts_deg.append(tilt_deg(tool))
        degrees = np.degrees(joints)
        self.violations += int((degrees < LOWER_DEG).any() or (degrees > UPPER_DEG).any())


@each_rig
def test_reachable_targets_are_met_within_the_limits_and_none_is_refused(
    rig_name: str, solvers: dict[str, PinocchioKinematics], capsys: pytest.CaptureFixture[str]
) -> None:
    solver, rig = solvers[rig_name], ARM.rig(rig_name)
    rng = np.random.default_rng(42)
    lower, upper = np.radians(LOWER_DEG + 2.0), np.radians(UPPER_DEG - 2.0)
    tally = Tally(rig)
    while len(tally.cold_us) + len(tally.refused) < TARGETS:
        truth = rng.uniform(lower, upper)
        place, _, tilt_rad = solver.tool_in_desk(truth)  # quick; held against the chain below
        if tilt_rad > rig.max_tilt_rad or place[2] < rig.floor_m:
            continue
        tool = rig.desk_from_base @ ARM.base_from_tool(truth)
        position, yaw = tool.position_m, tool.yaw_rad
        near = truth + rng.uniform(-0.05, 0.05, 5)  # where one control period ago the arm may have been
        started_ns = time.perf_counter_ns()
        try:
            cold = solver.solve(position, yaw)
            cold_ns = time.perf_counter_ns()
            warm = solver.solve(position, yaw, near)
            warm_ns = time.perf_counter_ns()
        except Unreachable as error:
            tally.refused.append(str(error))
            continue
        tally.cold_us.append((cold_ns - started_ns) / 1000)
        tally.warm_us.append((warm_ns - cold_ns) / 1000)
        tally.take(cold, position, yaw)
        tally.take(warm, position, yaw)
    cold_us, warm_us = statistics.median(tally.cold_us), statistics.median(tally.warm_us)
    with capsys.disabled():
        print(  # noqa: T201  the figure is to be seen in every run
            f"\n{rig_name} rig: median solve time {warm_us:.0f} us warm (aim 60), {cold_us:.0f} us cold; "
            f"largest error {max(tally.errors_mm):.3f} mm",
            end=" ",
        )
    assert tally.refused == []
    assert tally.violations == 0
    assert max(tally.errors_mm) < 0.5
    assert max(tally.heading_rad) < math.radians(0.5)
    assert max(tally.tilts_deg) <= math.degrees(rig.max_tilt_rad) + 0.1


@each_rig
def test_the_solver_reports_the_tool_where_the_chain_has_it(
    rig_name: str, solvers: dict[str, PinocchioKinematics]
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        joints = rng.uniform(ARM.lower_rad, ARM.upper_rad)
        position, heading, tilt = solvers[rig_name].tool_in_desk(joints)
        tool = ARM.rig(rig_name).desk_from_base @ ARM.base_from_tool(joints)
        np.testing.assert_allclose(position, tool.position_m, atol=1e-9)
        assert heading == pytest.approx(tool.yaw_rad, abs=1e-7)
        assert math.degrees(tilt) == pytest.approx(tilt_deg(tool), abs=1e-4)


def least_tilt_deg(rig_name: str, radius_m: float, height_m: float) -> float:
    """Return the smallest lean in the plane through the base axis at which two links of 82.85 mm reach the wrist.

    By elementary geometry: the wrist lies 173 mm from the tool along its lean; shoulder, elbow and wrist joint turn by
    at most 87.5 degrees from straight (half a degree for what the measured chain is off the ideal one).
    """
    up, shoulder_m = (1.0, 0.1075) if rig_name == "table" else (-1.0, 0.4 - 0.1075)
    leans = sorted(np.radians(np.arange(-40.0, 40.0, 0.1)), key=abs)
    for lean in leans:
        out = radius_m - 0.173 * math.sin(lean)
        along = up * (height_m + 0.173 * math.cos(lean) - shoulder_m)  # along the base axis, away from the base
        reach = math.hypot(out, along)
        if reach > 2 * 0.08285:
            continue
        half = math.acos(reach / (2 * 0.08285))
        for elbow in (half, -half):
            shoulder = math.atan2(out, along) - elbow
            tool = math.pi - lean if up > 0 else lean
            wrist = tool - (shoulder + 2 * elbow)
            if max(abs(shoulder), abs(2 * elbow), abs(wrist)) <= math.radians(87.5):
                return abs(math.degrees(lean))
    return math.inf


@each_rig
def test_the_tool_stands_mostly_as_upright_as_the_limits_allow(
    rig_name: str, solvers: dict[str, PinocchioKinematics]
) -> None:
    rig = ARM.rig(rig_name)
    surplus = []
    for radius in rig.area_center_m[1] + np.arange(-0.035, 0.036, 0.005):
        for height in (0.018, 0.030, 0.045, 0.060):
            least = least_tilt_deg(rig_name, float(radius), height)
            if least > math.degrees(rig.max_tilt_rad) - 3.0:
                continue
            joints = solvers[rig_name].solve(np.array([0.0, radius, height]), 0.0)
            surplus.append(tilt_deg(rig.desk_from_base @ ARM.base_from_tool(joints)) - least)
    assert len(surplus) > 15
    assert min(surplus) > -2.0  # the measured chain is off the ideal one by a degree
    assert np.quantile(surplus, 0.75) < 1.5
    assert max(surplus) < 9.0  # now and then the other elbow is found first


def spares_two_degrees(positions: Array, arm: ArmDescription) -> bool:
    """Return whether arm joints (n - 1,) lie inside the limits with two degrees to spare."""
    count = arm.arm_joint_count
    spare = math.radians(2.0) - 1e-6
    inside = (positions >= arm.lower_rad[:count] + spare) & (positions <= arm.upper_rad[:count] - spare)
    return bool(inside.all())


@pytest.mark.parametrize(("arm_name", "rig_name"), FREE_RIGS)
def test_arms_with_freedom_to_spare_meet_reachable_targets_within_limits_and_cone(arm_name: str, rig_name: str) -> None:
    arm = load_arm(arm_name)
    rig = arm.rig(rig_name)
    solver = PinocchioKinematics(arm, rig)
    rng = np.random.default_rng(42)
    count = arm.arm_joint_count
    refused: list[str] = []
    met = 0
    while met + len(refused) < FREE_TARGETS:
        truth = rng.uniform(arm.lower_rad[:count] + math.radians(2.0), arm.upper_rad[:count] - math.radians(2.0))
        place, yaw, tilt_rad = solver.tool_in_desk(truth)
        if tilt_rad > rig.max_tilt_rad or place[2] < rig.floor_m:
            continue
        near = truth + rng.uniform(-0.05, 0.05, count)
        try:
            solutions = (solver.solve(place, yaw), solver.solve(place, yaw, near))
        except Unreachable as error:
            refused.append(str(error))
            continue
        met += 1
        for joints in solutions:
            tool = rig.desk_from_base @ arm.base_from_tool(joints)
            assert np.linalg.norm(tool.position_m - place) < 0.0005
            assert heading_error_rad(tool, yaw) < math.radians(0.5)
            assert tilt_deg(tool) <= math.degrees(rig.max_tilt_rad) + 0.1
            assert spares_two_degrees(joints, arm)
    assert refused == []


@each_arm_rig
def test_nearly_every_point_of_the_reach_box_is_served_clear_of_floor_and_arm(arm_name: str, rig_name: str) -> None:
    arm = load_arm(arm_name)
    rig = arm.rig(rig_name)
    solver, guards = PinocchioKinematics(arm, rig), GuardModel(arm, rig)
    rng = np.random.default_rng(8)
    served = 0
    for point in rng.uniform(rig.reach_lower_m, rig.reach_upper_m, (200, 3)):
        heading = math.atan2(float(point[1]), float(point[0])) - math.pi / 2
        try:
            joints = solver.solve(point, heading, rig.home_rad)
        except Unreachable:
            continue
        clearances = guards.clearances_m(np.append(joints, rig.home_rad[-1])[None])
        served += bool((clearances >= 0.0).all())
    assert served >= 190


# What cannot be reached -----------------------------------------------------------------------------


@each_rig
@pytest.mark.parametrize("position", [(0.0, 0.5, 0.06), (0.0, 0.155, -0.5), (-0.6, 0.3, 0.05)])
def test_a_far_target_is_refused_with_the_distance_that_remains(
    rig_name: str, position: tuple[float, float, float], solvers: dict[str, PinocchioKinematics]
) -> None:
    # Shoulder to tool at full stretch: 82.85 + 82.85 + 73 + 100 mm, and the 2 mm by which the wrist is offset.
    base = ARM.rig(rig_name).desk_from_base
    shoulder = base.apply([0.0, 0.0, 0.1075])
    missing_m = float(np.linalg.norm(np.array(position) - shoulder)) - 0.3395
    with pytest.raises(Unreachable, match=r"mm remain") as caught:
        solvers[rig_name].solve(np.array(position), 0.3)
    assert caught.value.residual_m >= missing_m
    assert caught.value.residual_m < missing_m + 0.25  # the cone forbids the straight stretch
    assert f"{1000 * caught.value.residual_m:.2f} mm remain" in str(caught.value)


def test_the_joint_that_is_in_the_way_is_named(solvers: dict[str, PinocchioKinematics]) -> None:
    # Sideways and slightly behind: only a base that turned past 90 degrees would get there.
    with pytest.raises(Unreachable, match="joint1 is at its limit") as caught:
        solvers["table"].solve(np.array([0.25, -0.004, 0.05]), math.pi / 2)
    assert caught.value.limiting_joint == "joint1"
    # Close to the base the elbow would have to fold tighter than 90 degrees.
    with pytest.raises(Unreachable, match="joint3 is at its limit") as caught:
        solvers["table"].solve(np.array([0.0, 0.05, 0.02]), 0.0)
    assert caught.value.limiting_joint == "joint3"


def test_a_place_that_only_a_leaning_tool_reaches_is_refused_in_these_words(
    solvers: dict[str, PinocchioKinematics],
) -> None:
    with pytest.raises(Unreachable, match="tilted beyond the cone") as caught:
        solvers["table"].solve(np.array([0.0, 0.155, 0.3]), 0.0)  # at shoulder height and above: the tool lies flat
    assert caught.value.residual_m < 1e-4


# The task -------------------------------------------------------------------------------------------


def descent(home_m: Array, block_xy_m: Array, rig: Rig) -> Iterator[Array]:
    """Yield tool positions from home to the block at 10 mm a period while sinking 1 mm a period, then up at 2 mm."""
    to_block = block_xy_m - home_m[:2]
    count = math.ceil(float(np.hypot(*to_block)) / 0.010)
    down = np.append(np.arange(rig.hover_m, rig.grasp_m, -0.001), rig.grasp_m)
    for k, height in enumerate(down, start=1):
        yield np.array([*(home_m[:2] + to_block * min(1.0, k / count)), height])
    for height in np.append(np.arange(rig.grasp_m, rig.hover_m, 0.002), rig.hover_m):
        yield np.array([*block_xy_m, height])


def jaw_heading_rad(block_yaw_rad: float, x_m: float, y_m: float) -> float:
    """Return the block's yaw or the quarter turn of it that is nearest to the tangent, found by trying all four."""
    tangent = math.atan2(-x_m, y_m)
    quarters = [block_yaw_rad + k * math.pi / 2 for k in range(-2, 2)]
    return min(quarters, key=lambda h: abs((h - tangent + math.pi / 2) % math.pi - math.pi / 2))


@pytest.mark.parametrize(("arm_name", "rig_name"), [*ARM_RIGS, ("dofbot-se", "hanging")])
def test_every_pose_of_the_task_keeps_two_degrees_from_every_limit(arm_name: str, rig_name: str) -> None:
    arm: ArmDescription = load_arm(arm_name)
    rig = arm.rig(rig_name)
    solver = PinocchioKinematics(arm, rig)
    home = rig.desk_from_base @ arm.base_from_tool(rig.home_rad)
    steps, tilts = [], []
    for x in rig.area_center_m[0] + np.linspace(-0.5, 0.5, 5) * rig.area_size_m[0]:
        for y in rig.area_center_m[1] + np.linspace(-0.5, 0.5, 3) * rig.area_size_m[1]:
            for yaw in np.radians([-45.0, -22.0, 0.0, 22.0, 45.0]):
                heading = jaw_heading_rad(float(yaw), float(x), float(y))
                joints, turned = rig.home_rad[:-1], home.yaw_rad
                for position in descent(home.position_m, np.array([x, y]), rig):
                    turn = (heading - turned + math.pi / 2) % math.pi - math.pi / 2
                    turned += min(math.radians(5.0), max(-math.radians(5.0), turn))
                    following = solver.solve(position, turned, joints)
                    assert spares_two_degrees(following, arm), (x, y, yaw, position)
                    tool = rig.desk_from_base @ arm.base_from_tool(following)
                    assert np.linalg.norm(tool.position_m - position) < 0.0005
                    assert heading_error_rad(tool, turned) < math.radians(0.5)
                    tilts.append(tilt_deg(tool))
                    steps.append(float(np.abs(following - joints).max()))
                    joints = following
    assert max(tilts) <= math.degrees(rig.max_tilt_rad) + 0.1
    # The arm never jumps to another solution: 10 mm sideways, 5 degrees of heading and the righting take this much.
    assert math.degrees(max(steps)) < 20.0
    assert math.degrees(np.quantile(steps, 0.99)) < 12.0
