"""robot.toml: what is on disk stays readable when a field is added."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.programs.robot_file import RobotFile, RobotFileError, robot_file_path

#: As it was written before a robot could be on another bus.
OLD = """\
arm = "dofbot"
rig = "table"
port = "/dev/ttyUSB0"
endpoint = "ipc:///run/user/1000/tandem-1000-desk.sock"
camera_endpoint = ""
stage_endpoint = ""
truth_path = ""
pid = 0
"""


def write(text: str, data: Path) -> None:
    path = robot_file_path("desk", data)
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_a_file_from_before_there_were_several_buses_is_a_dofbot_se(tmp_path: Path) -> None:
    write(OLD, tmp_path)
    robot = RobotFile.load("desk", tmp_path)
    assert (robot.bus, robot.port) == ("dofbot-serial", "/dev/ttyUSB0")


def test_the_bus_survives(tmp_path: Path) -> None:
    robot = RobotFile("dofbot", "table", "/dev/i2c-1", "ipc:///tmp/x", bus="dofbot-i2c")
    robot.save("desk", tmp_path)
    assert 'bus = "dofbot-i2c"' in robot_file_path("desk", tmp_path).read_text()
    assert RobotFile.load("desk", tmp_path) == robot


def test_a_bus_that_there_is_not_is_refused_and_the_valid_ones_are_named(tmp_path: Path) -> None:
    write(OLD + 'bus = "can"\n', tmp_path)
    with pytest.raises(RobotFileError, match=r"'can'.*\$\.bus"):
        RobotFile.load("desk", tmp_path)


def test_a_file_that_is_no_text_is_refused_with_its_path(tmp_path: Path) -> None:
    path = robot_file_path("desk", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b'arm = "\xff\xfe"')
    with pytest.raises(RobotFileError, match="decode"):
        RobotFile.load("desk", tmp_path)
