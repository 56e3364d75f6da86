from __future__ import annotations

import pytest

from bridge.messages import RobotState
from bridge.skills import CloseGripper
from urdf.description import load_arm

PERIOD_S = 0.05


def close_against(stop_rad: float) -> tuple[CloseGripper, int]:
    """Close jaws that follow their command up to `stop_rad`, read afresh every period; return the skill and periods."""
    arm = load_arm("dofbot")
    skill = CloseGripper(arm, arm.gripper.open_rad, PERIOD_S)
    gripper = arm.gripper.open_rad
    for period in range(1, 201):
        others = (0.0,) * arm.arm_joint_count
        ages = (0.0,) * len(arm.joint_names)
        target = skill.step(RobotState(period, 0, (*others, gripper), (0.0,) * len(arm.joint_names), ages))
        gripper = min(target, stop_rad)
        if skill.finished:
            return skill, period
    raise AssertionError("closing never ends")


def test_closing_on_a_block_ends_in_contact_with_a_small_squeeze() -> None:
    law = load_arm("dofbot").gripper
    stop_rad = law.angle_rad(0.030)
    skill, _ = close_against(stop_rad)
    assert skill.contact_rad == pytest.approx(stop_rad)


@pytest.mark.parametrize("short_rad", [0.0, 0.01, 0.04, 0.07, 0.14])
def test_closing_ends_without_contact_when_next_to_nothing_is_in_between(short_rad: float) -> None:
    """Jaws on an edge of the block stand still so near to closed that the command cannot run ahead of them."""
    skill, periods = close_against(load_arm("dofbot").gripper.closed_rad - short_rad)
    assert skill.contact_rad is None
    assert periods < 60
