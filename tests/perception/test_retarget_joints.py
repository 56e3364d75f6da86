from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perception.body import Side
from perception.errors import NoLimbRules
from perception.retarget import slewed
from perception.retarget_joints import Copying, JointRetarget
from scripts.programs.known_poses import POSES, KnownPose, error_deg
from tests.perception.limbs import limb_along, limb_at
from urdf.description import ArmDescription, load_arm
from urdf.limb import LimbRules
from urdf.pose import Array

ARMS = {name: load_arm(name) for name in ("dofbot", "ur5", "kuka_iiwa")}
#: Where upper arm and forearm begin and end: the frames of these joints.
SEGMENTS = {
    "dofbot": ("joint2", "joint3", "joint4"),
    "ur5": ("shoulder_lift_joint", "elbow_joint", "wrist_1_joint"),
    "kuka_iiwa": ("lbr_iiwa_joint_2", "lbr_iiwa_joint_4", "lbr_iiwa_joint_6"),
}


def upright(arm: ArmDescription) -> Array:
    return np.clip(0.0, arm.lower_rad, arm.upper_rad)


@pytest.mark.parametrize("pose", POSES, ids=lambda pose: f"{pose.copying} {pose.arm} {pose.name}")
def test_known_poses_give_the_joints_that_were_worked_out_by_hand(pose: KnownPose) -> None:
    assert error_deg(pose) < 0.5


def directions(arm: ArmDescription, joints_rad: Array) -> list[Array]:
    """Where the arm's own upper arm and forearm point on the desk, by forward kinematics."""
    angles = dict(zip(arm.joint_names, joints_rad.tolist(), strict=True))
    children = {joint.name: joint.child for joint in arm.chain.joints}
    desk_from_base = arm.rig("table").desk_from_base.as_matrix()
    places = [(desk_from_base @ arm.chain.link_matrix(children[name], angles))[:3, 3] for name in SEGMENTS[arm.name]]
    segments = [end - begin for begin, end in pairwise(places)]
    if arm.name == "ur5":  # its segments lie side by side: what counts is where they go in the arm's plane
        across = desk_from_base[:3, :3] @ arm.chain.link_matrix(children["shoulder_pan_joint"], angles)[:3, 1]
        segments = [segment - (segment @ across) * across for segment in segments]
    return [segment / np.linalg.norm(segment) for segment in segments]


def test_a_kukas_segments_point_where_the_persons_do() -> None:
    arm = ARMS["kuka_iiwa"]
    retarget = JointRetarget(arm, Copying.ARM)
    rng = np.random.default_rng(4)
    met = 0
    for upper, forearm in rng.normal(size=(400, 2, 3)):
        upper, forearm = upper / np.linalg.norm(upper), forearm / np.linalg.norm(forearm)
        joints_rad = retarget.posture_rad(limb_along(upper, forearm), upright(arm))
        inside = (joints_rad[:4] > arm.lower_rad[:4] + 1e-6) & (joints_rad[:4] < arm.upper_rad[:4] - 1e-6)
        # Nearly upright or straight, headings and twists are noise and are left alone.
        clear = abs(upper[2]) < 0.99 and abs(float(upper @ forearm)) < 0.99
        if inside.all() and clear:
            met += 1
            for copied, own in zip(directions(arm, joints_rad), (upper, forearm), strict=True):
                assert math.degrees(math.acos(min(1.0, float(copied @ own)))) < 0.1
    assert met > 150


@pytest.mark.parametrize("name", ["dofbot", "ur5"])
def test_an_arm_with_one_shoulder_joint_copies_what_is_in_a_vertical_plane(name: str) -> None:
    arm = ARMS[name]
    retarget = JointRetarget(arm, Copying.ARM)
    rng = np.random.default_rng(5)
    for yaw, pitch, elbow in rng.uniform((-1.4, 0.1, -1.4), (1.4, 1.5, 1.4), (100, 3)):
        aims = [
            np.array([-math.sin(yaw) * math.cos(p), math.cos(yaw) * math.cos(p), math.sin(p)])
            for p in (pitch, pitch + elbow)
        ]
        joints_rad = retarget.posture_rad(limb_along(aims[0], aims[1]), upright(arm))
        for copied, own in zip(directions(arm, joints_rad), aims, strict=True):
            # The Dofbot's own links lean by a degree at its zeros.
            assert math.degrees(math.acos(min(1.0, float(copied @ own)))) < 2.0


@pytest.mark.parametrize("name", ["dofbot", "ur5", "kuka_iiwa"])
def test_an_arm_that_crosses_the_vertical_does_not_turn_round(name: str) -> None:
    arm = ARMS[name]
    retarget = JointRetarget(arm, Copying.ARM)
    joints_rad = retarget.posture_rad(limb_along([0, 1, 1], [0, 1, 1]), upright(arm))
    for lean_rad in np.radians(np.arange(45, 136, 1.0)):
        along = [0.002, math.cos(lean_rad), math.sin(lean_rad)]
        after_rad = retarget.posture_rad(limb_along(along, along), joints_rad)
        assert float(np.abs(after_rad - joints_rad).max()) < math.radians(12)
        joints_rad = after_rad


def test_an_arm_that_turns_past_the_end_of_its_range_waits_there_instead_of_going_round() -> None:
    arm = ARMS["ur5"]
    retarget = JointRetarget(arm, Copying.ARM)
    joints_rad = retarget.posture_rad(limb_along([-1, 1, 0.2], [-1, 1, 0.2]), upright(arm))
    for yaw_deg in range(45, 226, 5):
        yaw_rad = math.radians(yaw_deg)
        along = [-math.sin(yaw_rad), math.cos(yaw_rad), 0.2]
        after_rad = retarget.posture_rad(limb_along(along, along), joints_rad)
        assert abs(after_rad[0] - joints_rad[0]) < math.radians(6)
        joints_rad = after_rad
    assert math.degrees(joints_rad[0]) == pytest.approx(180)


def test_a_hand_that_passes_before_the_shoulder_of_the_outline_keeps_its_fold() -> None:
    arm = ARMS["kuka_iiwa"]
    retarget = JointRetarget(arm, Copying.PLANAR)
    joints_rad = upright(arm)
    folds: list[float] = []
    for fold_deg in range(0, 200, 5):
        forearm = math.radians(fold_deg)
        limb = limb_along([-1, 0, 0], [-math.cos(forearm), 0, math.sin(forearm)], Side.LEFT)
        joints_rad = retarget.posture_rad(limb, joints_rad)
        folds.append(math.degrees(joints_rad[5]))
    assert folds[:24] == pytest.approx(list(range(0, 120, 5)))
    assert min(folds[24:]) > 119, "at its limit it stays, instead of turning by two thirds of a circle"


def test_joints_without_a_rule_and_the_gripper_stay() -> None:
    arm = ARMS["kuka_iiwa"]
    before_rad = arm.rig("table").home_rad
    after_rad = JointRetarget(arm, Copying.ARM).posture_rad(limb_along([1, 1, 0], [0, 0, 1]), before_rad)
    assert after_rad[[4, 6, 7]].tolist() == before_rad[[4, 6, 7]].tolist()


@pytest.mark.parametrize("copying", list(Copying))
def test_an_arm_without_rules_is_refused(copying: Copying) -> None:
    with pytest.raises(NoLimbRules, match=rf"dofbot: .*\[limb.{copying}\]"):
        JointRetarget(replace(ARMS["dofbot"], limb=LimbRules()), copying)


coordinates = st.one_of(st.sampled_from([0.0, 0.3, -0.3, 1e-9]), st.floats(-1.5, 1.5))


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(list(ARMS)),
    copying=st.sampled_from(list(Copying)),
    side=st.sampled_from(list(Side)),
    points_m=arrays(np.float64, (3, 3), elements=coordinates),
    start=st.integers(0, 2**32 - 1),
    duration_s=st.floats(0.0, 0.3),
)
def test_whatever_the_limb_joints_are_finite_inside_limits_and_no_faster_than_they_can(
    name: str, copying: Copying, side: Side, points_m: Array, start: int, duration_s: float
) -> None:
    arm = ARMS[name]
    before_rad = np.random.default_rng(start).uniform(arm.lower_rad, arm.upper_rad)
    retarget = JointRetarget(arm, copying)
    limb = limb_at(points_m - points_m[0], side)
    wanted_rad = retarget.posture_rad(limb, before_rad)
    after_rad = retarget.follow(limb, before_rad, duration_s)
    for joints_rad in (wanted_rad, after_rad):
        assert np.isfinite(joints_rad).all()
        assert (joints_rad >= arm.lower_rad - 1e-9).all()
        assert (joints_rad <= arm.upper_rad + 1e-9).all()
    assert (np.abs(after_rad - before_rad) <= arm.max_speed_rad_s * duration_s + 1e-9).all()


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(list(ARMS)), points_m=arrays(np.float64, (3, 3), elements=coordinates))
def test_a_posture_that_is_reached_is_kept(name: str, points_m: Array) -> None:
    arm = ARMS[name]
    retarget = JointRetarget(arm, Copying.ARM)
    limb = limb_at(points_m - points_m[0])
    once_rad = retarget.posture_rad(limb, upright(arm))
    np.testing.assert_allclose(retarget.posture_rad(limb, once_rad), once_rad, atol=1e-9)


def test_one_scale_keeps_the_way_straight_and_the_gripper_has_its_own() -> None:
    arm = ARMS["dofbot"]
    before_rad = np.zeros(6)
    wanted_rad = np.array([1.0, -0.5, 0.2, 0.0, 0.0, -0.05])
    after_rad = slewed(arm, before_rad, wanted_rad, 0.02)
    share = after_rad[0] / 1.0
    np.testing.assert_allclose(after_rad[:5], share * wanted_rad[:5], atol=1e-12)
    assert after_rad[0] == pytest.approx(0.02 * arm.max_speed_rad_s[0])
    assert after_rad[5] == pytest.approx(max(-0.05, -0.02 * arm.max_speed_rad_s[5]))
    np.testing.assert_allclose(slewed(arm, before_rad, wanted_rad, 0.02, share=0.1)[0], 0.1 * after_rad[0])
