from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from urdf.description import ArmDescription, load_arm
from urdf.errors import ArmError, PackageMissing
from urdf.gripper import PinionLaw, RobotiqLaw, read_gripper
from urdf.pose import Pose

ROBOTIQ = RobotiqLaw(phase_rad=0.715, offset_m=0.010, span_m=0.1143, tip_height_m=0.1059)
PINION = PinionLaw(radius_m=0.020, offset_m=0.0, widest_m=0.084, tip_height_m=0.140)


def arm_or_skip(name: str) -> ArmDescription:
    try:
        return load_arm(name)
    except PackageMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("opening_m", "angle_rad"), [(0.0, 0.8026), (0.0425, 0.4267), (0.085, -0.0007)])
def test_the_robotiq_law_is_the_reference_experiments(opening_m: float, angle_rad: float) -> None:
    assert ROBOTIQ.angle_rad(opening_m) == pytest.approx(angle_rad, abs=5e-5)
    assert ROBOTIQ.angle_rad(opening_m) == pytest.approx(0.715 - math.asin((opening_m - 0.010) / 0.1143), abs=1e-12)
    assert ROBOTIQ.opening_m(ROBOTIQ.angle_rad(opening_m)) == pytest.approx(opening_m, abs=1e-12)


def test_the_robotiqs_tips_are_as_far_from_the_flange_as_the_maker_says() -> None:
    assert ROBOTIQ.tip_m(0.0) == pytest.approx(0.1493, abs=0.001)
    assert ROBOTIQ.tip_m(0.8026) == pytest.approx(0.1628, abs=0.0005)


def test_a_pinion_turns_radians_into_travel_of_both_jaws() -> None:
    assert PINION.opening_m(-2.0) == pytest.approx(0.080)
    assert PINION.opening_m(-0.05) == pytest.approx(0.002)
    assert PINION.angle_rad(0.030) == pytest.approx(-0.75)
    assert PINION.tip_m(-2.0) == PINION.tip_m(0.0)


@pytest.mark.parametrize("opening_m", [-0.110, 0.130])
@pytest.mark.parametrize("law", [ROBOTIQ, PINION])
def test_what_no_gripper_does_is_refused(law: RobotiqLaw | PinionLaw, opening_m: float) -> None:
    with pytest.raises(ArmError, match="beyond this gripper"):
        law.angle_rad(opening_m)


@pytest.mark.parametrize("name", ["dofbot", "dofbot-se", "ur5", "kuka_iiwa"])
def test_closing_makes_the_angle_grow_and_the_opening_shrink(name: str) -> None:
    gripper = arm_or_skip(name).gripper
    assert gripper.open_rad < gripper.closed_rad
    beyond_widest = max(gripper.open_rad, -1.35)  # a Dofbot's cranks pass their widest point
    openings = [gripper.opening_m(float(g)) for g in np.linspace(beyond_widest, gripper.closed_rad, 40)]
    assert all(a > b for a, b in itertools.pairwise(openings))
    assert openings[-1] < 0.0025
    assert openings[0] > 0.035


def test_the_angle_from_which_the_jaws_are_nearer_than_an_object() -> None:
    dofbot, narrow = load_arm("dofbot").gripper, load_arm("dofbot-se").gripper
    assert dofbot.opening_m(dofbot.reaches_rad(0.042)) == pytest.approx(0.042)
    assert narrow.reaches_rad(0.042) == -math.inf  # they open by 38.5 mm: always nearer


TABLE: dict[str, object] = {
    "law": "pinion", "followers": {"left": -0.02, "right": -0.02}, "radius_m": 0.02, "offset_m": 0.0,
    "widest_m": 0.084, "tip_height_m": 0.14, "open_rad": -2.0, "closed_rad": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "pinyon"}, "unknown gripper law 'pinyon'; valid, nearest first: pinion"),
        ({"followers": {}}, "followers"),
        ({"followers": {"left": 0.0}}, "followers"),
        ({"linkage": {"left": "elsewhere"}}, "linkage"),
        ({"linkage": {"left": "right", "right": "left"}}, "linkage"),
        ({"open_rad": 0.5}, "closing must make the angle grow"),
        ({"radius_m": True}, "radius_m must be a finite number"),
    ],
)
def test_a_malformed_gripper_is_refused(change: dict[str, object], message: str) -> None:
    assert read_gripper(TABLE).opening_m(-1.0) == pytest.approx(0.040)
    with pytest.raises((ArmError, ValueError), match=message):
        read_gripper(TABLE | change)


#: Of each arm: what its fingers' links are called, how far inside their frames the pads' faces lie, where they end.
PADS = {"ur5": ("finger", 0.0256, 0.051), "kuka_iiwa": ("jaw", 0.0, 0.070)}


@pytest.mark.parametrize("name", PADS)
def test_the_pads_stand_in_pybullet_where_the_law_says(name: str) -> None:
    bullet = pytest.importorskip("pybullet")
    arm = arm_or_skip(name)
    finger, inwards_m, tip_m = PADS[name]
    client = bullet.connect(bullet.DIRECT)
    body = bullet.loadURDF(str(arm.urdf_path), useFixedBase=True, physicsClientId=client)
    infos = [
        bullet.getJointInfo(body, i, physicsClientId=client)
        for i in range(bullet.getNumJoints(body, physicsClientId=client))
    ]
    joints, links = {i[1].decode(): i[0] for i in infos}, {i[12].decode(): i[0] for i in infos}

    def desk_from(link: str) -> Pose:
        state = bullet.getLinkState(body, links[link], computeForwardKinematics=True, physicsClientId=client)
        return Pose(np.array(state[4]), np.array(state[5]))

    middle = (arm.lower_rad + arm.upper_rad) / 2
    for g in np.linspace(arm.gripper.open_rad, arm.gripper.closed_rad, 9):
        for joint, angle in arm.joint_angles([*middle[:-1], g]).items():
            bullet.resetJointState(body, joints[joint], angle, physicsClientId=client)
        gripper = desk_from(arm.tool_link).inverse()
        left, right = (gripper @ desk_from(f"{side}_{finger}") for side in ("left", "right"))
        left_face, right_face = left.apply([-inwards_m, 0.0, tip_m]), right.apply([inwards_m, 0.0, tip_m])
        assert left_face[0] - right_face[0] == pytest.approx(arm.gripper.opening_m(float(g)), abs=5e-5)
        assert left_face[2] == pytest.approx(arm.gripper.tip_m(float(g)), abs=5e-5)
        for pose in (left, right):
            np.testing.assert_allclose(pose.rotation, np.eye(3), atol=1e-5)
    bullet.disconnect(client)
