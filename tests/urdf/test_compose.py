from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import urdf.compose
from urdf.description import load_arm, urdf_folder
from urdf.errors import ArmError, PackageMissing, UnknownName

ARM = """
<robot name="stick">
  <link name="base"><inertial><mass value="1.5"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
    <visual><geometry><mesh filename="package://shapes/stick.stl"/></geometry></visual>
    <collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision></link>
  <link name="stick"><inertial><mass value="0.5"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <joint name="turn" type="revolute"><parent link="base"/><child link="stick"/><origin xyz="0 0 0.1"/>
    <axis xyz="0 0 1"/><limit lower="-1" upper="1" effort="5" velocity="2"/></joint>
  <link name="flange"/>
  <joint name="end" type="fixed"><parent link="stick"/><child link="flange"/><origin xyz="0 0 0.2"/></joint>
  <link name="spare"/>
  <joint name="spare_joint" type="fixed"><parent link="base"/><child link="spare"/></joint>
  <transmission name="for_other_programs"/>
</robot>
"""
HAND = """
<robot name="hand">
  <link name="palm"><inertial><mass value="0.2"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <link name="jaw"><inertial><mass value="0.1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <joint name="jaw_joint" type="prismatic"><parent link="palm"/><child link="jaw"/><axis xyz="1 0 0"/>
    <limit lower="0" upper="0.04" effort="40" velocity="0.1"/></joint>
</robot>
"""
TOML = """
urdf = "arm.urdf"
drop_links = ["spare"]
joints = ["turn"]
limit_margin_deg = 2.0
[limits]
turn = { upper = 2.5, effort = 7.0 }
[attach]
urdf = "hand.urdf"
link = "flange"
xyz_m = [0.0, 0.0, 0.05]
rpy_deg = [0.0, 90.0, 0.0]
[tool]
link = "palm"
xyz_m = [0.0, 0.0, 0.1]
[gripper]
law = "pinion"
followers = { jaw_joint = -0.02 }
radius_m = 0.02
offset_m = 0.0
widest_m = 0.08
tip_height_m = 0.1
open_rad = -2.0
closed_rad = 0.0
[cameras.desk]
link = "desk"
xyz_m = [0.0, 0.5, 0.5]
fov_y_deg = 40.0
near_m = 0.1
far_m = 2.0
[rigs.table]
xyz_m = [0.0, 0.0, 0.0]
area_center_m = [0.0, 0.2]
area_size_m = [0.1, 0.1]
hover_m = 0.06
grasp_m = 0.02
max_tilt_deg = 30.0
home_rad = [2.0, -2.0]
rest_rad = [0.0, -1.0]
floor_m = 0.002
reach_lower_m = [-0.1, 0.1, 0.0]
reach_upper_m = [0.1, 0.2, 0.1]
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compose into a folder of the test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"tandem-{os.getuid()}-urdf"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def write(toml: str = TOML, arm: str = ARM, hand: str = HAND) -> Path:
        folder = tmp_path / "arms" / "stick"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "arms" / "shapes").mkdir(exist_ok=True)
        (tmp_path / "arms" / "shapes" / "stick.stl").write_bytes(b"solid")
        for name, text in (("arm.toml", toml), ("arm.urdf", arm), ("hand.urdf", hand)):
            (folder / name).write_text(text)
        return folder.parent

    return write


def swap(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_arm_and_gripper_become_one_urdf(make: Callable[..., Path]) -> None:
    arm = load_arm("stick", make())
    text = arm.urdf_path.read_text()
    assert "transmission" not in text
    assert "spare" not in text
    assert str(arm.urdf_path.parents[1] / "arms" / "shapes" / "stick.stl") in text
    assert arm.joint_names == ("turn", "gripper")
    assert (arm.lower_rad[0], arm.upper_rad[0], arm.max_effort[0], arm.max_speed_rad_s[0]) == (-1.0, 2.5, 7.0, 2.0)
    # A rail's force and speed, by the 20 mm of the pinion: 40 N are 0.8 N m, 0.1 m/s are 5 rad/s.
    assert arm.max_effort[1] == pytest.approx(0.8)
    assert arm.max_speed_rad_s[1] == pytest.approx(5.0)
    # 0.1 + 0.2 + 0.05 m up to the palm, which points along x: the tool is 0.1 m further that way.
    assert arm.base_from_tool([0.0, 0.0]).position_m == pytest.approx([0.1, 0.0, 0.35])
    assert arm.joint_angles([0.3, -1.5]) == pytest.approx({"turn": 0.3, "jaw_joint": 0.03})


def test_what_has_no_inertia_weighs_nothing(make: Callable[..., Path]) -> None:
    text = load_arm("stick", make()).urdf_path.read_text()
    assert text.count("<inertial>") == 5
    assert '<mass value="0" />' in text


def test_collision_shapes_may_be_drawn(make: Callable[..., Path]) -> None:
    text = load_arm("stick", make(f"drawn_rgba = [0.5, 0.5, 0.5, 1.0]\n{TOML}")).urdf_path.read_text()
    assert "stick.stl" not in text
    assert text.count('<box size="0.1 0.1 0.1" />') == 2
    assert '<color rgba="0.5 0.5 0.5 1" />' in text


def test_a_urdf_that_needs_nothing_is_used_where_it_lies() -> None:
    assert load_arm("dofbot").urdf_path == urdf_folder() / "dofbot" / "dofbot.urdf"


def test_the_same_arm_is_composed_once_and_a_broken_copy_is_written_anew(
    make: Callable[..., Path], own_folder: Path
) -> None:
    root = make()
    path = load_arm("stick", root).urdf_path
    text, written_ns = path.read_text(), path.stat().st_mtime_ns
    assert path.parent == own_folder
    assert own_folder.stat().st_mode & 0o077 == 0
    assert load_arm("stick", root).urdf_path == path
    assert path.stat().st_mtime_ns == written_ns
    path.write_text(text[:100])
    assert load_arm("stick", root).urdf_path.read_text() == text
    other = load_arm("stick", make(swap(TOML, "effort = 7.0", "effort = 8.0"))).urdf_path
    assert other != path
    assert path.read_text() == text
    assert sorted(p.suffix for p in own_folder.iterdir()) == [".urdf", ".urdf"]


def test_a_folder_that_others_may_write_is_not_used(make: Callable[..., Path], own_folder: Path) -> None:
    own_folder.mkdir()
    own_folder.chmod(0o777)
    with pytest.raises(ArmError, match="only you may write"):
        load_arm("stick", make())


def test_an_arm_may_be_named_by_its_folder(make: Callable[..., Path]) -> None:
    root = make()
    arm = load_arm(str(root / "stick"))
    assert arm.name == "stick"
    assert arm.sha256 == load_arm("stick", root).sha256
    with pytest.raises(UnknownName, match="unknown arm 'stock'; valid, nearest first: stick"):
        load_arm(str(root / "stock"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('drop_links = ["spare"]', 'drop_links = ["spear"]', "link of .* to drop 'spear'.*nearest first: spare"),
        ('drop_links = ["spare"]', 'drop_links = ["stick"]', "one root"),
        ("turn = { upper", "trun = { upper", "limits are corrected 'trun'.*turn"),
        ("upper = 2.5", "uper = 2.5", "limit of turn 'uper'.*upper"),
        ("upper = 2.5", "upper = nan", "upper must be a finite number"),
        ("effort = 7.0", "effort = 0.0", "effort above zero"),
        ('link = "flange"', 'link = "flanch"', "link to attach to 'flanch'.*flange"),
        ("rpy_deg = [0.0, 90.0, 0.0]\n[tool]", "rpy_rad = [0.0, 1.5, 0.0]\n[tool]", "rpy_rad"),
        ('urdf = "hand.urdf"', 'urdf = "arm.urdf"', "both have a link named"),
        ('urdf = "hand.urdf"', 'urdf = "hond.urdf"', "cannot read the URDF"),
        ("limit_margin_deg", "limit_margin_degrees", "unknown key of an arm.toml 'limit_margin_degrees'"),
        ("[tool]", "[physics]\ngrip_iteration = 9\n[tool]", "unknown key of .physics. 'grip_iteration'"),
        ("reach_upper_m = [0.1, 0.2, 0.1]", "reach_upper_m = [0.1, 0.1, 0.1]", "reach_lower_m"),
        ("area_center_m = [0.0, 0.2]", "area_center_m = [0.0, 0.58]", "beyond the desk"),
        ("home_rad = [2.0, -2.0]", "home_rad = [2.6, -2.0]", "home_rad .*outside the joint limits"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(make: Callable[..., Path], old: str, new: str, message: str) -> None:
    with pytest.raises(ArmError, match=message):
        load_arm("stick", make(swap(TOML, old, new)))


def test_a_mesh_that_is_not_there_is_named(make: Callable[..., Path]) -> None:
    with pytest.raises(ArmError, match=r"package://shapes/stock\.stl"):
        load_arm("stick", make(arm=swap(ARM, "stick.stl", "stock.stl")))


def test_a_moving_link_without_mass_is_refused(make: Callable[..., Path]) -> None:
    hand = HAND.replace('<link name="jaw"><inertial>', '<link name="jaw"><nothing>').replace(
        '<mass value="0.1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>',
        '<mass value="0.1"/></nothing>',
    )
    with pytest.raises(ArmError, match="'jaw' moves and has no <inertial>"):
        load_arm("stick", make(hand=hand))


@pytest.mark.parametrize(("arm", "install"), [("ur5", "example-robot-data"), ("kuka_iiwa", "pybullet")])
def test_without_its_package_only_that_arm_fails_and_says_what_to_install(
    arm: str, install: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def find_nothing(name: str) -> None:
        return None

    monkeypatch.setattr(urdf.compose, "find_spec", find_nothing)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(PackageMissing, match=f"pip install {install}") as caught:
        load_arm(arm)
    assert caught.value.install == install
    assert load_arm("dofbot").arm_joint_count == 5


def test_a_copied_folder_is_the_same_arm(tmp_path: Path) -> None:
    """An arm is its folder: nothing else knows of it."""
    try:
        original = load_arm("ur5")
    except PackageMissing as error:
        pytest.skip(str(error))
    shutil.copytree(urdf_folder() / "ur5", tmp_path / "ours")
    assert load_arm("ours", tmp_path).sha256 == original.sha256
