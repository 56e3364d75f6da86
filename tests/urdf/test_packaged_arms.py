"""The arms whose models a Python package keeps, and what all arms have in common with them."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from urdf.description import ArmDescription, load_arm
from urdf.errors import PackageMissing

ARM = load_arm("dofbot")


def packaged(name: str) -> ArmDescription:
    try:
        return load_arm(name)
    except PackageMissing as error:
        pytest.skip(str(error))


def masses_kg(arm: ArmDescription) -> dict[str, float]:
    links = ElementTree.parse(arm.urdf_path).getroot().findall("link")
    masses = {str(link.get("name")): link.find("inertial/mass") for link in links}
    return {name: float(mass.get("value", "nan")) for name, mass in masses.items() if mass is not None}


def test_the_ur5_has_the_makers_masses_limits_and_speeds() -> None:
    arm = packaged("ur5")
    masses = masses_kg(arm)
    links = ("shoulder", "upper_arm", "forearm", "wrist_1", "wrist_2", "wrist_3")
    assert [masses[f"{n}_link"] for n in links] == pytest.approx([3.7, 8.393, 2.275, 1.219, 1.219, 0.188], abs=1e-3)
    np.testing.assert_allclose(np.degrees(arm.upper_rad[:6]), 180.0, atol=1e-4)
    np.testing.assert_allclose(arm.lower_rad, [*-arm.upper_rad[:6], 0.0])
    np.testing.assert_allclose(np.degrees(arm.max_speed_rad_s[:6]), 180.0, atol=0.01)
    np.testing.assert_allclose(arm.max_effort[:6], [150.0, 150.0, 150.0, 28.0, 28.0, 28.0])


def test_the_kuka_turns_as_fast_as_its_data_sheet_says_and_not_ten_radians_a_second() -> None:
    arm = packaged("kuka_iiwa")
    np.testing.assert_allclose(np.degrees(arm.max_speed_rad_s[:7]), [85, 85, 100, 75, 130, 135, 135], atol=0.01)
    np.testing.assert_allclose(np.degrees(arm.upper_rad[:7]), [170, 120, 170, 120, 170, 120, 175], atol=0.01)
    np.testing.assert_allclose(arm.max_effort[:7], [320, 320, 176, 176, 110, 40, 40])


@pytest.mark.parametrize(("name", "gripper_kg"), [("ur5", 0.925), ("kuka_iiwa", 1.00)])
def test_every_link_says_its_mass_and_the_gripper_weighs_what_such_grippers_do(name: str, gripper_kg: float) -> None:
    arm = packaged(name)
    root = ElementTree.parse(arm.urdf_path).getroot()
    assert set(masses_kg(arm)) == {link.get("name") for link in root.findall("link")}  # none is left to PyBullet's 1 kg
    moved = {arm.tool_link}
    for joint in arm.chain.joints:
        if joint.parent in moved:
            moved.add(joint.child)
    assert sum(masses_kg(arm)[link] for link in moved) == pytest.approx(gripper_kg, abs=0.01)


PACKAGED_RIGS = [("ur5", "table"), ("kuka_iiwa", "table"), ("kuka_iiwa", "reference")]
#: The pads' width: a block that overlaps them less than not at all is not gripped.
PAD_WIDTH_M = {"ur5": 0.022, "kuka_iiwa": 0.020}


@pytest.mark.parametrize(("name", "rig_name"), PACKAGED_RIGS)
def test_a_packaged_arms_area_is_six_capture_windows_with_home_beside_it(name: str, rig_name: str) -> None:
    arm = packaged(name)
    rig = arm.rig(rig_name)
    # What jaws that come straight down can catch of a 30 mm block: as far as it stands between them along their axis,
    # and touches the pads across it. (Measured in simulation on a grid of 6 mm: 2,900 and 2,600 square millimetres.)
    opening = arm.gripper.opening_m(arm.gripper.open_rad)
    window = (opening - 0.030, PAD_WIDTH_M[name] + 0.030)
    assert np.prod(rig.area_size_m) >= 6 * np.prod(window)
    tool = rig.desk_from_base @ arm.base_from_tool(rig.home_rad)
    assert tool.position_m[2] == pytest.approx(rig.hover_m, abs=0.001)
    assert math.degrees(math.acos(-tool.rotation[2, 2])) < 0.1
    assert not rig.contains(tool.position_m[:2], margin_m=window[0] / 2 + 0.015)
    assert rig.contains(tool.position_m[:2], margin_m=0.06)  # reached within the descent
    spare = math.radians(2.0)
    for pose in (rig.home_rad, rig.rest_rad):
        assert (pose[:-1] >= arm.lower_rad[:-1] + spare).all()
        assert (pose[:-1] <= arm.upper_rad[:-1] - spare).all()
    assert rig.hover_m - rig.grasp_m >= 0.04


def test_the_kukas_reference_rig_has_the_reference_experiments_reach_in_the_base_frame() -> None:
    rig = packaged("kuka_iiwa").rig("reference")
    corners = rig.desk_from_base.inverse().apply([rig.reach_lower_m, rig.reach_upper_m])
    np.testing.assert_allclose(corners.min(axis=0), [0.2, -0.3, 0.0], atol=1e-9)
    np.testing.assert_allclose(corners.max(axis=0), [0.7, 0.3, 0.6], atol=1e-9)


def test_the_wrist_camera_of_the_hanging_rig_is_the_reference_experiments() -> None:
    hanging, table = ARM.rig("hanging"), ARM.rig("table")
    mount = ARM.camera("wrist", hanging)
    assert (mount.link, math.degrees(mount.fov_y_rad), mount.near_m, mount.far_m) == ("gripper_link", 45.0, 0.02, 3.0)
    np.testing.assert_allclose(mount.link_from_camera.position_m, [0.0, 0.065, 0.0])
    np.testing.assert_allclose(mount.link_from_camera.rotvec_rad(), [0.5, 0.0, 0.0], atol=1e-5)
    assert mount.name == "wrist"
    # Elsewhere it goes by its own name, and what is `wrist` elsewhere goes by another name here.
    assert ARM.camera("wrist_reference", table) == ARM.camera("wrist_reference", hanging)
    assert ARM.camera("wrist_wide", hanging).link_from_camera == ARM.camera("wrist", table).link_from_camera


@pytest.mark.parametrize("name", ["dofbot", "ur5", "kuka_iiwa"])
def test_desk_cameras_look_across_the_area_30_to_50_degrees_down(name: str) -> None:
    arm = packaged(name)
    mount = arm.camera("desk", next(iter(arm.rigs.values())))
    assert mount.link == "desk"
    forward, down = mount.link_from_camera.rotation[:, 2], mount.link_from_camera.rotation[:, 1]
    assert 30.0 <= math.degrees(math.asin(-forward[2])) <= 50.0
    assert down[2] < 0.0  # upright
    for rig in arm.rigs.values():
        to_area = np.append(rig.area_center_m, 0.0) - mount.link_from_camera.position_m
        cosine = float(forward @ to_area) / float(np.linalg.norm(to_area))
        assert math.degrees(math.acos(min(1.0, cosine))) < 8.0


def test_hashes_that_policies_and_calibrations_carry_have_not_changed() -> None:
    """How an arm is read and written down may change; what a Dofbot is has not."""
    assert ARM.sha256 == "09d9b93c21f47d589c612136b9e2630ac7e4219f89df4f76a4286a175b355150"
    assert load_arm("dofbot-se").sha256 == "8bae2a12eda7871246cf85d65752f522b24d709aa5db023cd0a278872199d0c4"
