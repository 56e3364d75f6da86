from __future__ import annotations

import math

import pytest

from urdf.description import load_arm
from urdf.errors import PackageMissing, UnknownName
from urdf.limb import JointRule, LimbAngle, LimbRules, read_limb

JOINTS = ("shoulder", "elbow")


def test_a_rule_says_what_a_joint_follows() -> None:
    rules = read_limb(
        {
            "arm": {"shoulder": {"follows": "upper_pitch", "gain": -1.0, "offset_deg": 90.0}},
            "planar": {"elbow": {"offset_deg": -30.0, "sided": True}},
        },
        JOINTS,
    )
    assert rules.arm == (JointRule(LimbAngle.UPPER_PITCH, -1.0, math.pi / 2, sided=False), None)
    assert rules.planar == (None, JointRule(None, 1.0, math.radians(-30.0), sided=True))


def test_an_arm_without_the_table_has_no_rules() -> None:
    assert read_limb({}, JOINTS) == LimbRules((), ())


@pytest.mark.parametrize("name", ["dofbot", "ur5", "kuka_iiwa"])
def test_every_arm_says_how_it_copies(name: str) -> None:
    try:
        arm = load_arm(name)
    except PackageMissing as error:
        pytest.skip(str(error))
    assert len(arm.limb.arm) == len(arm.limb.planar) == arm.arm_joint_count


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"leg": {}}, "leg"),
        ({"arm": {"knee": {}}}, "knee"),
        ({"arm": {"elbow": {"follow": "bend"}}}, "follow"),
        ({"arm": {"elbow": {"follows": "bent"}}}, "bent"),
        ({"arm": {"elbow": {"follows": "drop"}}}, "drop"),
        ({"planar": {"elbow": {"follows": "bend"}}}, "bend"),
    ],
)
def test_what_means_nothing_is_refused_with_the_valid_names(table: dict[str, object], said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        read_limb(table, JOINTS)


@pytest.mark.parametrize("rule", [{"gain": "much"}, {"offset_deg": math.nan}, {"sided": 1}])
def test_a_rule_with_no_number_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        read_limb({"arm": {"elbow": rule}}, JOINTS)


def test_the_two_ways_to_describe_a_limb_in_space_do_not_mix() -> None:
    with pytest.raises(ValueError, match="mixes"):
        read_limb({"arm": {"shoulder": {"follows": "plane_yaw"}, "elbow": {"follows": "bend"}}}, JOINTS)
