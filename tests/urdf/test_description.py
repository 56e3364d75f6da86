from __future__ import annotations

import math
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from urdf.description import ArmDescription, load_arm, urdf_folder
from urdf.errors import ArmError, PackageMissing, UnknownName
from urdf.pose import Pose

ARM = load_arm("dofbot")

#: Joint angle g [rad], height of the tips over the gripper frame [m], gap between the pads [m]: measured on the arm.
MEASURED_GRIPPER = [
    (-1.571, 0.0790, 0.0573),
    (-1.400, 0.0841, 0.0581),
    (-1.000, 0.0958, 0.0533),
    (-0.700, 0.1035, 0.0438),
    (-0.500, 0.1076, 0.0351),
    (-0.300, 0.1109, 0.0250),
    (0.000, 0.1137, 0.0079),
    (0.100, 0.1140, 0.0019),
]


def copied(tmp_path: Path, edit_toml: Callable[[str], str] = str, edit_urdf: Callable[[str], str] = str) -> Path:
    """Return a folder that holds a changed copy of the Dofbot."""
    folder = tmp_path / "dofbot"
    shutil.copytree(urdf_folder() / "dofbot", folder, dirs_exist_ok=True)
    for name, edit in (("arm.toml", edit_toml), ("dofbot.urdf", edit_urdf)):
        path = folder / name
        path.write_text(edit(path.read_text()))
    return tmp_path


def swap(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return edit


# The chain ------------------------------------------------------------------------------------------


def test_at_zero_the_joints_stand_one_above_the_other_at_the_measured_heights() -> None:
    links = ARM.chain.link_matrices({})
    heights = {"link1": 0.0661, "link2": 0.1075, "link3": 0.1903, "link4": 0.2732, "gripper_link": 0.3462}
    for link, height in heights.items():
        assert links[link][2, 3] == pytest.approx(height, abs=0.001), link
        assert np.hypot(links[link][0, 3], links[link][1, 3]) < 0.006


def test_the_joint_vector_is_the_arms_joints_in_order_then_the_gripper() -> None:
    assert ARM.joint_names == ("joint1", "joint2", "joint3", "joint4", "joint5", "gripper")
    assert ARM.arm_joint_count == 5
    angles = ARM.joint_angles([0.1, 0.2, 0.3, 0.4, 0.5, -0.6])
    assert angles == {
        "joint1": 0.1, "joint2": 0.2, "joint3": 0.3, "joint4": 0.4, "joint5": 0.5,
        "left_gear_joint": -0.6, "left_finger_joint": 0.6, "right_gear_joint": -0.6, "right_finger_joint": 0.6,
    }  # fmt: skip


def test_limits_are_the_servos_and_their_margin_is_two_degrees() -> None:
    np.testing.assert_allclose(np.degrees(ARM.lower_rad[:5]), [-90.0] * 5, atol=0.01)
    np.testing.assert_allclose(np.degrees(ARM.upper_rad[:5]), [90.0, 90.0, 90.0, 90.0, 180.0], atol=0.01)
    assert (ARM.lower_rad[5], ARM.upper_rad[5]) == (-1.57, 0.10)
    assert math.degrees(ARM.margin_rad) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="read-only"):
        ARM.lower_rad[0] = 0.0


def test_the_tool_frame_lies_100_mm_above_the_gripper_frame_and_ignores_the_gripper() -> None:
    position = [0.3, -0.4, 0.2, 0.5, -0.7]
    gripper = ARM.chain.link_matrix("gripper_link", dict(zip(ARM.joint_names, position, strict=False)))
    expected = gripper @ np.array([0.0, -0.0005, 0.100, 1.0])
    for joints in ([*position, -1.57], [*position, 0.1], position):
        np.testing.assert_allclose(ARM.base_from_tool(joints).position_m, expected[:3], atol=1e-15)


def test_servos_turn_200_to_250_degrees_a_second() -> None:
    assert all(199.9 <= v <= 250.0 for v in np.degrees(ARM.max_speed_rad_s[:5]))
    assert 199.9 <= 101.0 * ARM.max_speed_rad_s[5] <= 250.0  # 101 servo degrees turn the jaws by one radian


# The gripper ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("g", "tip", "gap"), MEASURED_GRIPPER)
def test_the_gripper_law_is_the_measured_one(g: float, tip: float, gap: float) -> None:
    assert ARM.gripper.tip_m(g) == pytest.approx(tip, abs=0.0005)
    assert ARM.gripper.opening_m(g) == pytest.approx(gap, abs=0.0005)


def test_closing_carries_the_tips_32_mm_forward() -> None:
    assert ARM.gripper.tip_m(-0.3) - ARM.gripper.tip_m(-1.57) == pytest.approx(0.032, abs=0.0005)


def test_an_opening_becomes_the_angle_that_has_it() -> None:
    for g in np.linspace(-1.35, 0.10, 30):  # past -1.4 the crank is over its widest point
        assert ARM.gripper.angle_rad(ARM.gripper.opening_m(float(g))) == pytest.approx(float(g), abs=1e-9)
    for opening_m in (0.059, -0.08):
        with pytest.raises(ArmError, match="beyond this gripper"):
            ARM.gripper.angle_rad(opening_m)


@pytest.mark.skipif(find_spec("pybullet") is None, reason="PyBullet is not part of the base install")
class TestAgainstPyBullet:
    @pytest.fixture
    def client(self) -> Iterator[int]:
        import pybullet as bullet

        client = bullet.connect(bullet.DIRECT)
        self.arm = bullet.loadURDF(str(ARM.urdf_path), useFixedBase=True, physicsClientId=client)
        infos = [
            bullet.getJointInfo(self.arm, i, physicsClientId=client)
            for i in range(bullet.getNumJoints(self.arm, physicsClientId=client))
        ]
        self.joints = {info[1].decode(): info[0] for info in infos}
        self.links = {info[12].decode(): info[0] for info in infos}
        yield client
        bullet.disconnect(client)

    def link_pose(self, client: int, link: str) -> Pose:
        import pybullet as bullet

        state = bullet.getLinkState(self.arm, self.links[link], computeForwardKinematics=True, physicsClientId=client)
        return Pose(np.array(state[4]), np.array(state[5]))

    @pytest.mark.parametrize("g", [row[0] for row in MEASURED_GRIPPER])
    def test_the_fingers_stand_where_the_law_says(self, client: int, g: float) -> None:
        import pybullet as bullet

        for name, angle in ARM.joint_angles([0.2, -0.5, 0.3, 0.4, 0.9, g]).items():
            bullet.resetJointState(self.arm, self.joints[name], angle, physicsClientId=client)
        gripper = self.link_pose(client, "gripper_link").inverse()
        # The pad is a box at (38, 10.9) mm, 25 mm long and 5 mm thick: its inner face's outer end is at (50.5, 13.4).
        left, right = (
            gripper.apply(self.link_pose(client, f"{side}_finger").apply([0.0505, 0.0134, 0.0015]))
            for side in ("left", "right")
        )
        assert left[0] - right[0] == pytest.approx(ARM.gripper.opening_m(g), abs=1e-5)
        for tip in (left, right):
            assert tip[2] == pytest.approx(ARM.gripper.tip_m(g), abs=1e-5)
        # Parallel: the fingers' long axes point along the gripper's whatever g is.
        for side in ("left", "right"):
            long_axis = (gripper @ self.link_pose(client, f"{side}_finger")).rotation[:, 0]
            np.testing.assert_allclose(long_axis, [0.0, 0.0, 1.0], atol=1e-5)

    def test_the_arm_weighs_1_3_kg_and_nothing_weighs_what_pybullet_makes_up(self, client: int) -> None:
        import pybullet as bullet

        free = bullet.loadURDF(
            str(ARM.urdf_path), useFixedBase=False, physicsClientId=client
        )  # a fixed base shows no mass
        masses = [bullet.getDynamicsInfo(free, i, physicsClientId=client)[0] for i in range(-1, len(self.links))]
        assert sum(masses) == pytest.approx(1.3, abs=0.1)
        assert max(masses) < 0.9
        assert min(masses) > 0.0

    def test_pybullet_has_the_same_limits(self, client: int) -> None:
        import pybullet as bullet

        for k, name in enumerate(ARM.joint_names[:-1]):
            info = bullet.getJointInfo(self.arm, self.joints[name], physicsClientId=client)
            assert info[8:10] == pytest.approx((ARM.lower_rad[k], ARM.upper_rad[k]))
            assert info[11] == pytest.approx(ARM.max_speed_rad_s[k])


def test_every_link_has_an_inertia_that_a_solid_body_can_have() -> None:
    for link in ElementTree.parse(ARM.urdf_path).getroot().findall("link"):
        inertia = link.find("inertial/inertia")
        assert inertia is not None, link.get("name")
        xx, yy, zz, xy, xz, yz = (float(inertia.get(f"i{k}", "nan")) for k in ("xx", "yy", "zz", "xy", "xz", "yz"))
        small, middle, large = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        assert small > 0.0
        assert small + middle >= large * (1 - 1e-9), link.get("name")  # no mass distribution breaks the triangle rule


# Rigs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rig_name", ["table", "hanging"])
@pytest.mark.parametrize("arm_name", ["dofbot", "dofbot-se"])
def test_rigs_have_an_area_of_10_by_5_cm_and_a_home_beside_it(arm_name: str, rig_name: str) -> None:
    arm = load_arm(arm_name)
    rig = arm.rig(rig_name)
    np.testing.assert_allclose(rig.area_size_m, [0.10, 0.05])
    tool = rig.desk_from_base @ arm.base_from_tool(rig.home_rad)
    assert abs(tool.position_m[0]) >= 0.075
    assert not rig.contains(tool.position_m[:2])
    assert tool.position_m[2] == pytest.approx(rig.hover_m, abs=0.001)
    for pose in (rig.home_rad, rig.rest_rad):
        assert (pose[:5] >= arm.lower_rad[:5] + math.radians(2.0)).all()
        assert (pose[:5] <= arm.upper_rad[:5] - math.radians(2.0)).all()
    rest = rig.desk_from_base @ arm.base_from_tool(rig.rest_rad)
    tip_above_tool = 0.100 - arm.gripper.tip_m(float(rig.rest_rad[-1]))
    assert -0.02 < rest.position_m[2] + tip_above_tool < 0.03  # a torque-off lets the arm fall by millimetres


def test_the_hanging_base_is_upside_down_0_4_m_above_the_desk() -> None:
    base = ARM.rig("hanging").desk_from_base
    np.testing.assert_allclose(base.position_m, [0.0, 0.0, 0.4])
    np.testing.assert_allclose(base.rotation[:, 2], [0.0, 0.0, -1.0], atol=1e-12)
    assert ARM.rig("table").desk_from_base.is_close(Pose.identity())


def test_an_area_contains_its_points_and_a_margin_widens_it() -> None:
    rig = ARM.rig("table")  # 100 x 50 mm around (0, 155) mm
    assert rig.contains([0.05, 0.13])
    assert not rig.contains([0.051, 0.155])
    assert not rig.contains([0.0, 0.181])
    assert rig.contains([0.06, 0.19], margin_m=0.0101)
    assert not rig.contains([0.06, 0.19], margin_m=0.0099)


# Names ----------------------------------------------------------------------------------------------


def test_unknown_names_list_the_valid_ones_nearest_first() -> None:
    with pytest.raises(UnknownName, match=r"unknown arm 'dofbot-es'.*nearest first: dofbot-se, dofbot") as arm:
        load_arm("dofbot-es")
    assert arm.value.valid[:2] == ["dofbot-se", "dofbot"]
    assert set(arm.value.valid) == {"dofbot", "dofbot-se", "ur5", "kuka_iiwa"}
    with pytest.raises(UnknownName, match="nearest first: hanging, table"):
        ARM.rig("hangig")
    with pytest.raises(UnknownName, match="nearest first: wrist_reference, wrist"):
        ARM.camera("wrist-reference", ARM.rig("table"))


# The hash -------------------------------------------------------------------------------------------


def loaded(root: Path) -> ArmDescription:
    return load_arm("dofbot", root)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("arm.toml", "limit_margin_deg", "# a remark\n\nlimit_margin_deg"),
        ("arm.toml", "crank_a_m = 0.005", "crank_a_m   =   5.0e-3   # the same"),
        ("arm.toml", "near_m = 0.02", "near_m = 0.03"),
        ("dofbot.urdf", 'rgba="0.13 0.36 0.66 1"', 'rgba="1 0 0 1"'),
        ("dofbot.urdf", '<box size="0.040 0.046 0.040"/>', '<box size="0.041 0.046 0.040"/>'),
        ("dofbot.urdf", 'mass value="0.17"', 'mass value="0.18"'),
        ("dofbot.urdf", "</robot>", "<!-- a remark -->\n\n</robot>"),
    ],
)
def test_the_hash_stays_where_the_tool_goes_the_same_way(tmp_path: Path, name: str, old: str, new: str) -> None:
    edits = (swap(old, new), str) if name == "arm.toml" else (str, swap(old, new))
    assert loaded(copied(tmp_path, *edits)).sha256 == ARM.sha256


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("arm.toml", "crank_b_m = 0.0297", "crank_b_m = 0.0298"),
        ("arm.toml", "xyz_m = [0.0, -0.0005, 0.100]", "xyz_m = [0.0, -0.0005, 0.101]"),
        ("arm.toml", "open_rad = -1.57", "open_rad = -1.50"),
        ("arm.toml", "left_finger_joint = -1.0", "left_finger_joint = 1.0"),
        ("arm.toml", '"joint1", "joint2"', '"joint2", "joint1"'),
        ("dofbot.urdf", 'xyz="-0.08285 0 0"', 'xyz="-0.08295 0 0"'),
        ("dofbot.urdf", 'axis xyz="0 0 1"', 'axis xyz="0 0 -1"'),
        ("dofbot.urdf", 'upper="3.141593"', 'upper="3.0"'),
    ],
)
def test_the_hash_changes_with_whatever_moves_the_tool(tmp_path: Path, name: str, old: str, new: str) -> None:
    edits = (swap(old, new), str) if name == "arm.toml" else (str, swap(old, new))
    assert loaded(copied(tmp_path, *edits)).sha256 != ARM.sha256


def test_arms_that_differ_in_their_jaws_have_different_hashes() -> None:
    assert load_arm("dofbot-se").sha256 != ARM.sha256


# Broken files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[gripper]", "[gripper"),  # no TOML
        ("limit_margin_deg", "limit_margin"),  # a key is missing
        ("crank_a_m = 0.005", 'crank_a_m = "thin"'),
        ("crank_a_m = 0.005", "crank_a_m = nan"),
        ("hover_m = 0.060", "hover_m = inf"),
        ('"joint1", "joint2"', '"joint1", "joint9"'),
        ('link = "gripper_link"', 'link = "gripper_lonk"'),
        ("left_gear_joint = 1.0", "left_gaer_joint = 1.0"),
        ("xyz_m = [0.0, -0.0005, 0.100]", "xyz_m = [0.0, 0.100]"),
        ("area_size_m = [0.10, 0.05]", "area_size_m = [0.10]"),
        ("home_rad = [0.5463, ", "home_rad = ["),
        ("home_rad = [0.5463, ", "home_rad = [1.6, "),
        ('urdf = "dofbot.urdf"', 'urdf = "dofbit.urdf"'),
    ],
)
def test_a_malformed_arm_is_refused_with_the_file_named(tmp_path: Path, old: str, new: str) -> None:
    root = copied(tmp_path, swap(old, new))
    with pytest.raises(ArmError, match=r"arm\.toml|dofbit\.urdf"):
        loaded(root)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("</robot>", "", "cannot read"),
        ('<parent link="link1"/>', "", "lacks its parent or child"),
        ('<parent link="base_link"/>', '<parent link="gripper_link"/>', "loop|one root"),
        ('<parent link="link2"/>', '<parent link="elsewhere"/>', "one root"),
        ('<axis xyz="0 0 1"/>', '<axis xyz="0 0 0"/>', "joint1' has no axis"),
    ],
)
def test_a_urdf_that_is_no_tree_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    root = copied(tmp_path, edit_urdf=swap(old, new))
    with pytest.raises(ArmError, match=what):
        loaded(root)


# Folders and tables that are wrong ------------------------------------------------------------------


def test_a_folder_that_is_not_there_or_holds_no_arm_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArmError, match=r"nothere does not exist"):
        load_arm(str(tmp_path / "nothere"))
    with pytest.raises(ArmError, match=r"holds no arm\.toml"):
        load_arm(str(tmp_path))


def test_a_folder_here_is_suggested_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(urdf_folder() / "dofbot", tmp_path / "my_arm")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName, match=r"for the folder here: \./my_arm"):
        load_arm("my_arm")
    assert load_arm("./my_arm").name == "my_arm"


@pytest.mark.parametrize("table", ["rigs", "cameras", "tool", "gripper"])
def test_a_missing_table_is_named(table: str, tmp_path: Path) -> None:
    def without(text: str) -> str:
        return re.sub(rf"(?m)^(\[+){table}(?=[.\]])", rf"\1guards_{table}", text)

    root = copied(tmp_path, edit_toml=lambda text: without(text).replace("[guards_", "[physics.guards_"))
    with pytest.raises(ArmError, match=rf"the table \[{table}\] is missing from this file"):
        load_arm("dofbot", root)


def set_first(key: str, value: str, table: str) -> Callable[[str], str]:
    """Return an edit that sets the first `key` at or after a table's head."""

    def edit(text: str) -> str:
        start = text.index(f"[{table}]")
        return text[:start] + re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text[start:], count=1)

    return edit


@pytest.mark.parametrize(
    ("table", "key", "value", "said"),
    [
        ("cameras.wrist", "fov_y_deg", "0.5", r"\[cameras\.wrist\] fov_y_deg must be 1 to 170 degrees, got 0\.5"),
        ("cameras.wrist", "fov_y_deg", "171.0", "fov_y_deg must be 1 to 170"),
        ("cameras.wrist", "near_m", "50.0", "near_m must be above 0 and below far_m"),
        ("cameras.wrist", "near_m", "0.0", "near_m must be above 0"),
        ("rigs.table", "area_size_m", "[-0.1, 0.05]", r"\[rigs\.table\] area_size_m must be above 0"),
        ("rigs.table", "hover_m", "0.001", "hover_m must be above grasp_m"),
        ("rigs.table", "grasp_m", "-0.01", "grasp_m must be above 0"),
    ],
)
def test_numbers_that_no_arm_can_have_are_refused_when_it_is_loaded(
    table: str, key: str, value: str, said: str, tmp_path: Path
) -> None:
    root = copied(tmp_path, edit_toml=set_first(key, value, table))
    with pytest.raises(ArmError, match=said):
        load_arm("dofbot", root)


def test_a_missing_key_of_a_rig_is_named_with_its_rig(tmp_path: Path) -> None:
    root = copied(tmp_path, edit_toml=lambda text: text.replace("hover_m", "hoover_m", 1))
    with pytest.raises(ArmError, match=r"'hover_m' is missing from \[rigs\.table\]"):
        load_arm("dofbot", root)


def test_a_package_that_nobody_knows_is_not_said_to_be_part_of_an_extra(tmp_path: Path) -> None:
    root = copied(tmp_path, edit_toml=swap('urdf = "dofbot.urdf"', 'urdf = "nopkg:arm.urdf"'))
    with pytest.raises(PackageMissing, match="the arm 'dofbot' is kept by 'nopkg'") as caught:
        load_arm("dofbot", root)
    assert "extra" not in str(caught.value)
