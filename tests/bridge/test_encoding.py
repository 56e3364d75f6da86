from __future__ import annotations

import math

import numpy as np
import pytest

from bridge.encoding import GRASP_STATE, GraspSituation, Phase, ToolFrame, encode_grasp_state
from urdf.description import load_arm
from urdf.pose import Pose

ARM = load_arm("dofbot")
RIG = ARM.rig("table")  # area around (0, 155) mm, hover 60 mm, grasp 18 mm

#: Version 1, for good: policies on disk were trained with these names in this order.
NAMES_V1 = (
    "block_from_command_x", "block_from_command_y",
    "block_from_tool_x", "block_from_tool_y", "block_from_tool_z",
    "tool_x", "tool_y", "tool_z", "block_x", "block_y",
    "tool_heading_cos2", "tool_heading_sin2", "block_heading_cos4", "block_heading_sin4",
    "opening", "descent_left", "phase_descend", "phase_close", "phase_lift", "phase_hold",
)  # fmt: skip


def situation(phase: Phase = Phase.DESCEND, heading_deg: float = 30.0, block_yaw_deg: float = 10.0) -> GraspSituation:
    return GraspSituation(
        tool_m=np.array([0.010, 0.165, 0.050]),
        tool_heading_rad=math.radians(heading_deg),
        command_m=np.array([0.012, 0.160, 0.039]),
        opening_m=0.045,
        block=Pose.from_rotvec([0.040, 0.150, 0.015], [0.0, 0.0, math.radians(block_yaw_deg)]),
        phase=phase,
    )


def test_the_layout_is_what_trained_policies_know() -> None:
    assert (GRASP_STATE.name, GRASP_STATE.version, GRASP_STATE.size) == ("grasp-state", 3, 20)
    assert GRASP_STATE.feature_names == NAMES_V1
    assert [GRASP_STATE.index(name) for name in NAMES_V1] == list(range(20))


def test_every_feature_has_the_value_worked_out_by_hand() -> None:
    expected = {
        "block_from_command_x": 28 / 30, "block_from_command_y": -10 / 30,  # (40 - 12, 150 - 160) mm in 3 cm
        "block_from_tool_x": 1.0, "block_from_tool_y": -0.5, "block_from_tool_z": -0.35,
        "tool_x": 0.025, "tool_y": 0.025, "tool_z": 0.50,  # 10 mm from the middle of the area in 40 cm; above the desk
        "block_x": 0.10, "block_y": -0.0125,
        "tool_heading_cos2": 0.1, "tool_heading_sin2": 0.1 * math.sqrt(3),  # a fifth of 60 degrees's
        "block_heading_cos4": 0.2 * math.cos(math.radians(40)), "block_heading_sin4": 0.2 * math.sin(math.radians(40)),
        "opening": 0.75, "descent_left": 0.5,  # 45 of 60 mm; 39 mm is half-way from 60 to 18
        "phase_descend": 1.0, "phase_close": 0.0, "phase_lift": 0.0, "phase_hold": 0.0,
    }  # fmt: skip
    observation = encode_grasp_state(situation(), RIG)
    assert observation.dtype == np.float32
    assert observation.shape == (20,)
    assert dict(zip(NAMES_V1, observation.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)


def test_what_looks_the_same_is_encoded_the_same() -> None:
    """Jaws after half a turn, a cube after a quarter."""
    reference = encode_grasp_state(situation(), RIG)
    np.testing.assert_allclose(encode_grasp_state(situation(heading_deg=210.0), RIG), reference, atol=1e-6)
    np.testing.assert_allclose(encode_grasp_state(situation(block_yaw_deg=100.0), RIG), reference, atol=1e-6)
    assert not np.allclose(encode_grasp_state(situation(heading_deg=120.0), RIG), reference, atol=1e-3)


@pytest.mark.parametrize(
    ("phase", "flags"),
    [
        (Phase.DESCEND, [1, 0, 0, 0]),
        (Phase.CLOSE, [0, 1, 0, 0]),
        (Phase.LIFT, [0, 0, 1, 0]),
        (Phase.HOLD, [0, 0, 0, 1]),
        (Phase.DONE, [0, 0, 0, 0]),
    ],
)
def test_one_flag_tells_the_phase(phase: Phase, flags: list[int]) -> None:
    np.testing.assert_array_equal(encode_grasp_state(situation(phase), RIG)[16:], flags)


def test_the_tool_frame_is_found_in_the_desk_frame() -> None:
    position, heading = ToolFrame(ARM, ARM.rig("hanging")).locate(np.zeros(6))
    # Straight down from 0.4 m: joints at 66.05 + 41.45 + 82.85 + 82.85 + 73 mm, the tool 100 mm further.
    assert position[2] == pytest.approx(0.4 - 0.4462, abs=0.001)
    assert math.hypot(position[0], position[1]) < 0.01
    turned, heading_turned = ToolFrame(ARM, ARM.rig("hanging")).locate(np.array([0.3, 0, 0, 0, 0, 0]))
    assert abs(math.sin(heading_turned - heading)) == pytest.approx(math.sin(0.3), abs=1e-3)
    np.testing.assert_allclose(turned[2], position[2], atol=1e-3)
