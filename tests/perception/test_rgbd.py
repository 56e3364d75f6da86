"""A depth camera on the arm as a source of sightings and of a policy's pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.errors import PolicyMismatch, StaleFrame
from bridge.grasp import CONTROL_HZ, PATIENCE_S, GraspAttempt
from bridge.loop import ControlLoop, LoopStep, run_episode
from bridge.messages import RobotState
from bridge.observation import CameraView, ImageKind, ObservationSpec, Observed
from bridge.ports import Frame, Intrinsics
from bridge.sensing import SensingPolicy
from perception.arm_track import ArmTrack
from perception.block_source import CameraBlockSource
from perception.errors import ArmUnknown, ViewTooNarrow
from perception.pictures import CameraPictures
from perception.rgbd import DepthLocator, MountedCamera
from perception.view import picture_for, view_intrinsics
from scripts.programs.arm_mask import RenderedArmMask
from scripts.programs.depth_scenes import BlockScenes
from sim.env import ArmEnv
from sim.lab_depth import LabDepthEye
from sim.lab_truth import LabTruth
from sim.sim_robot import TrueBlock
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")
MOUNT = ARM.camera("wrist", RIG)
DEPTH = CameraView("wrist", ImageKind.DEPTH)


def state(stamp_s: float, position_rad: np.ndarray, speed_rad_s: float = 0.0) -> RobotState:
    count = len(position_rad)
    return RobotState(
        0, round(stamp_s * 1e9), tuple(float(v) for v in position_rad), (speed_rad_s,) * count, (0.0,) * count
    )


class HandCamera:
    """A camera that is given its pictures."""

    def __init__(self) -> None:
        self.frame: Frame | None = None

    def read(self, max_age_s: float) -> Frame:
        if self.frame is None:
            raise StaleFrame("no picture yet")
        return self.frame

    def close(self) -> None:
        pass


def test_the_arm_is_taken_where_it_was_when_the_picture_was_taken() -> None:
    track = ArmTrack()
    with pytest.raises(ArmUnknown, match="no state"):
        track.at(0)
    track.add(state(1.0, np.zeros(2)))
    track.add(state(1.1, np.array([0.2, -0.1]), 2.0))
    np.testing.assert_allclose(track.at(1_025_000_000), [0.05, -0.025])
    np.testing.assert_allclose(track.at(1_150_000_000), [0.3, 0.0])  # 2 rad/s for 50 ms more
    for stamp_ns, why in ((900_000_000, "older"), (1_300_000_000, "newer")):
        with pytest.raises(ArmUnknown, match=why):
            track.at(stamp_ns)
    track.add(state(3.0, np.zeros(2)))
    with pytest.raises(ArmUnknown, match=r"1\.90 s"):
        track.at(2_000_000_000)


def test_a_frame_of_the_labs_wrist_camera_becomes_a_sighting_in_the_base() -> None:
    truth = LabTruth.draw(3, len(ARM.joint_names), "0")
    eye = LabDepthEye(ARM, RIG, truth)
    block = Pose.from_rpy([*RIG.area_center_m, 0.015], [0.0, 0.0, 0.4])
    angles = ARM.joint_angles(RIG.home_rad)
    frame = eye.draw(angles, block, 1, 2_000_000_000)
    eye.close()
    mask, track = RenderedArmMask(ARM, RIG), ArmTrack()
    covariance = np.diag([1e-6] * 3 + [1e-4] * 3)
    source = CameraBlockSource(
        HandCamera(), DepthLocator(MountedCamera(ARM, RIG, MOUNT, covariance=covariance), track, mask)
    )
    assert source.process(frame) is None
    assert "no state" in source.missing()
    track.add(state(2.0, RIG.home_rad))
    sighting = source.process(frame)
    source.close()
    mask.close()
    assert sighting is not None
    assert sighting.stamp_ns == 2_000_000_000
    assert source.read_block() is sighting
    found = RIG.desk_from_base @ sighting.base_from_block
    np.testing.assert_allclose(found.position_m, block.position_m, atol=0.006)
    assert sighting.covariance is not None
    assert np.linalg.eigvalsh(sighting.covariance).min() > 0
    # A millimetre of the mounting, and its hundredth of a radian over some 0.1 m, are in it.
    assert 0.001**2 < sighting.covariance[0, 0] + sighting.covariance[1, 1] < 0.004**2


@pytest.mark.parametrize(
    ("lean_deg", "along_mm", "jaws_deg"), [(14.0, -4.0, 0.0), (18.0, 0.0, 10.0), (10.0, 6.0, -10.0)]
)
def test_a_block_in_the_jaws_leans_as_the_tool_has_leant_and_is_found_there(
    lean_deg: float, along_mm: float, jaws_deg: float
) -> None:
    joints = RIG.home_rad.copy()
    joints[4] += math.radians(jaws_deg)
    joints[-1] = ARM.gripper.angle_rad(0.028)
    tool = RIG.desk_from_base @ ARM.base_from_tool(joints)
    place_m = tool.apply(np.array([0.0, along_mm / 1000, 0.0]))
    block = Pose.from_rotvec(place_m, [math.radians(lean_deg), 0.0, 0.0]) @ Pose.from_rpy(
        [0.0, 0.0, 0.0], [0.0, 0.0, math.radians(jaws_deg)]
    )
    eye = LabDepthEye(ARM, RIG, LabTruth.draw(3, len(ARM.joint_names), "mild"))
    frame = eye.draw(ARM.joint_angles(joints), block, 1, 10**9)
    eye.close()
    mask, track = RenderedArmMask(ARM, RIG), ArmTrack()
    track.add(state(1.0, joints))
    sighting = DepthLocator(MountedCamera(ARM, RIG, MOUNT), track, mask).locate(frame)
    mask.close()
    found = RIG.desk_from_base @ sighting.base_from_block
    np.testing.assert_allclose(found.position_m, block.position_m, atol=0.006)


def test_a_policys_picture_is_what_its_camera_would_have_seen() -> None:
    worlds = BlockScenes("dofbot", randomization="none", seed=1)
    scene = worlds.scene(0)
    camera = worlds.env.observer.cameras["wrist_depth"]
    # The same camera in four times as many pixels and a third wider: 64 px of 65 degrees are cut out of its middle.
    depth = camera.depth_m()
    rows = columns = np.clip(np.rint((np.arange(320) - 159.5) / 4 + 31.5), 0, 63).astype(int)
    large = depth[np.ix_(rows, columns)]
    focal = view_intrinsics(MOUNT, DEPTH).fx_px
    lens = Intrinsics(320, 320, 4 * focal, 4 * focal, 159.5, 159.5)
    frame = Frame("wrist", 0, 0, np.zeros((320, 320, 3), np.uint8), lens, large)
    np.testing.assert_array_equal(picture_for(frame, DEPTH, MOUNT), scene.pictures[ImageKind.DEPTH])
    worlds.close()


def test_colours_keep_their_order_and_far_is_as_far_as_in_training() -> None:
    lens = view_intrinsics(MOUNT, DEPTH)
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frame = Frame("wrist", 0, 0, rgb, lens, np.full((64, 64), 7.0, np.float32))
    np.testing.assert_array_equal(picture_for(frame, CameraView("wrist", ImageKind.RGB), MOUNT), rgb.transpose(2, 0, 1))
    assert picture_for(frame, DEPTH, MOUNT).max() == np.float16(MOUNT.far_m)
    luma = rgb[10, 20] @ [0.299, 0.587, 0.114]
    assert picture_for(frame, CameraView("wrist", ImageKind.GRAY), MOUNT)[0, 10, 20] == round(luma)


def test_a_lens_that_sees_too_little_is_refused() -> None:
    narrow = Intrinsics(64, 64, 130.0, 130.0, 31.5, 31.5)
    frame = Frame("wrist", 0, 0, np.zeros((64, 64, 3), np.uint8), narrow, np.ones((64, 64), np.float32))
    with pytest.raises(ViewTooNarrow, match="65 degrees"):
        picture_for(frame, DEPTH, MOUNT)
    # A D435 sees 58 degrees from top to bottom: a sixth of the picture is a hole, and no more.
    focal = 240 / math.tan(math.radians(29.0))
    d435 = Intrinsics(848, 480, focal, focal, 423.5, 239.5)
    seen = picture_for(Frame("w", 0, 0, np.zeros((480, 848, 3), np.uint8), d435, np.ones((480, 848), np.float32)),
                       DEPTH, MOUNT)  # fmt: skip
    assert 0.05 < float((seen == 0).mean()) < 0.25


class Remembering:
    """A policy that remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[Observed] = []

    def act(self, observation: Observed) -> np.ndarray:
        self.given.append(observation)
        return np.zeros(2, dtype=np.float32)


class StillRobot:
    """An arm at home: what a policy senses of itself."""

    description = ARM

    def read_state(self) -> RobotState:
        return state(1.0, RIG.home_rad)


def test_pictures_are_stacked_oldest_first_and_forgotten_when_an_attempt_begins() -> None:
    spec = ObservationSpec(state=False, proprioception=True, views=(DEPTH,), frames=3)
    camera, policy = HandCamera(), Remembering()
    attempt = GraspAttempt(ARM, RIG, PinocchioKinematics(ARM, RIG), 1.0 / CONTROL_HZ)
    attempt.begin(state(1.0, RIG.home_rad))
    pictures = CameraPictures({"wrist": camera}, spec, ARM, RIG)
    sensing = SensingPolicy(policy, spec, attempt, StillRobot(), pictures)  # pyright: ignore[reportArgumentType]
    with pytest.raises(StaleFrame, match="no picture yet"):
        sensing.act(np.zeros(20, np.float32))

    def see(metres: float) -> list[float]:
        lens = view_intrinsics(MOUNT, DEPTH)
        depth = np.full((64, 64), metres, np.float32)
        camera.frame = Frame("wrist", 0, 0, np.zeros((64, 64, 3), np.uint8), lens, depth)
        sensing.act(np.zeros(20, np.float32))
        given = policy.given[-1]
        assert not isinstance(given, np.ndarray)
        assert given["wrist_depth"].shape == (3, 64, 64)
        return [float(v) for v in given["wrist_depth"][:, 0, 0]]

    assert see(1.0) == [1.0, 1.0, 1.0]
    assert see(2.0) == [1.0, 1.0, 2.0]
    sensing.begin()
    assert see(0.5) == [0.5, 0.5, 0.5]
    with pytest.raises(PolicyMismatch, match="wrist_depth"):
        SensingPolicy(policy, spec, attempt, StillRobot())  # pyright: ignore[reportArgumentType]


class LateEyes:
    """A policy whose pictures stop for some decisions: what the arm was commanded meanwhile is written down."""

    def __init__(self, late: range) -> None:
        self.late, self.asked = late, 0

    def act(self, observation: Observed) -> np.ndarray:
        self.asked += 1
        if self.asked - 1 in self.late:
            raise StaleFrame("the newest picture is 0.61 s old, at most 0.50 s are accepted")
        return np.zeros(2, dtype=np.float32)


class Steps:
    """Remembers every control period."""

    def __init__(self) -> None:
        self.steps: list[LoopStep] = []

    def record(self, step: LoopStep) -> None:
        self.steps.append(step)


@pytest.mark.parametrize(("late", "ends"), [(range(1, 11), False), (range(1, 10**6), True)])
def test_while_the_pictures_are_too_old_the_arm_stands_still_and_after_long_gives_up(late: range, ends: bool) -> None:
    env, steps = ArmEnv(), Steps()
    env.reset(seed=0, options={"block": Pose.from_rpy([*RIG.area_center_m, 0.015], [0.0, 0.0, 0.0])})
    attempt = GraspAttempt(ARM, RIG, PinocchioKinematics(ARM, RIG), 1.0 / CONTROL_HZ)
    loop = ControlLoop(env.robot, env.robot, TrueBlock(env.robot), attempt, steps)
    run_episode(loop, LateEyes(late), 3)
    held = [step for step in steps.steps if "0.61 s old" in step.waiting_for]
    assert len(held) == (round(PATIENCE_S * CONTROL_HZ) + 1 if ends else len(late))
    assert len({step.sent.position_rad for step in held[1:]}) == 1
    assert ("no fresh picture" in loop.gave_up) == ends
    env.close()
