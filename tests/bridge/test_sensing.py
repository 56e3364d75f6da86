from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.encoding import OFFSET_SCALE_M, OPENING_SCALE_M, ToolFrame, proprioception_layout
from bridge.errors import PolicyMismatch
from bridge.grasp import GraspAttempt
from bridge.observation import CameraView, ImageKind, ObservationSpec, Observed, Part, state_of
from bridge.sensing import SensingPolicy
from tests.bridge.desk import ARM, PERIOD_S, RIG, ObedientArm, StepClock
from tests.bridge.numeric_ik import NumericKinematics

STATE = np.arange(20, dtype=np.float32)


class Remembering:
    """A policy that keeps what it was given."""

    def __init__(self) -> None:
        self.seen: Observed = {}

    def act(self, observation: Observed) -> NDArray[np.float32]:
        self.seen = observation
        return np.array([0.25, -0.5], dtype=np.float32)


def begun(robot: ObedientArm) -> GraspAttempt:
    attempt = GraspAttempt(ARM, RIG, NumericKinematics(ARM, RIG), PERIOD_S)
    attempt.begin(robot.read_state())
    return attempt


def seen(spec: ObservationSpec, robot: ObedientArm, attempt: GraspAttempt | None = None) -> dict[str, Part]:
    policy = Remembering()
    action = SensingPolicy(policy, spec, attempt or begun(robot), robot).act(STATE)
    assert action.tolist() == [0.25, -0.5]
    assert isinstance(policy.seen, dict)
    return policy.seen


def test_the_state_passes_as_it_is() -> None:
    parts = seen(ObservationSpec(), ObedientArm(StepClock()))
    assert list(parts) == ["state"]
    assert np.array_equal(parts["state"], STATE)


def test_what_tells_of_the_object_is_left_out_and_proprioception_is_of_now() -> None:
    robot = ObedientArm(StepClock())
    robot.position_rad[0] += 0.3
    parts = seen(ObservationSpec(object_pose=False, proprioception=True), robot)
    assert list(parts) == ["state", "proprioception"]
    # Neither offsets to the block (0-4), nor its place (8, 9), nor its heading (12, 13).
    assert parts["state"].tolist() == [5, 6, 7, 10, 11, 14, 15, 16, 17, 18, 19]
    assert parts["proprioception"][0] == pytest.approx(robot.position_rad[0])


def test_an_arm_knows_what_it_was_told_to_do_and_has_not_done_yet() -> None:
    robot = ObedientArm(StepClock())
    attempt = begun(robot)
    tool_m, _ = ToolFrame(ARM, RIG).locate(robot.position_rad)
    attempt.motion.command_m = tool_m + np.array([0.006, -0.003, 0.0015])
    attempt.motion.set_gripper(-0.5)
    spec = ObservationSpec(state=False, proprioception=True)
    own = dict(zip(proprioception_layout(ARM).feature_names, seen(spec, robot, attempt)["proprioception"], strict=True))
    lead_m = [own[f"command_from_tool_{axis}"] * OFFSET_SCALE_M for axis in "xyz"]
    assert lead_m == pytest.approx([0.006, -0.003, 0.0015], abs=1e-8)
    assert own["commanded_opening"] * OPENING_SCALE_M == pytest.approx(ARM.gripper.opening_m(-0.5))
    assert own["opening"] * OPENING_SCALE_M == pytest.approx(ARM.gripper.opening_m(float(robot.position_rad[-1])))


def test_pictures_are_refused_by_name() -> None:
    spec = ObservationSpec(views=(CameraView("wrist", ImageKind.RGB, 80, 60),))
    robot = ObedientArm(StepClock())
    with pytest.raises(PolicyMismatch, match=r"wrist_rgb \(80x60\) of camera 'wrist'"):
        SensingPolicy(Remembering(), spec, begun(robot), robot)


def test_the_state_is_found_alone_or_among_parts() -> None:
    picture = np.zeros((1, 4, 4), np.uint8)
    assert state_of(STATE) is STATE
    assert state_of({"wrist_gray": picture, "state": STATE}) is STATE
    for nothing in ({"wrist_gray": picture}, picture):
        with pytest.raises(PolicyMismatch, match="reads the part 'state'"):
            state_of(nothing)
