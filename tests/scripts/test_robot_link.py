"""How a command reaches a served arm: what is missing is told as what is missing."""

from __future__ import annotations

import pytest

from bridge.errors import KeyRefused
from scripts.programs.robot_file import RobotFile
from scripts.programs.robot_link import RobotLink


def test_an_arm_on_the_network_wants_a_key_and_one_on_this_machine_none() -> None:
    for endpoint in ("tcp://arm.local:5555", "tcp://0.0.0.0:5555"):
        with pytest.raises(KeyRefused, match=r"--key FILE.*robot\.toml"):
            RobotLink.of(RobotFile("dofbot", "table", "", endpoint))
    for endpoint in ("ipc:///tmp/arm.sock", "tcp://127.0.0.1:5555", "tcp://localhost:5555"):
        assert RobotLink.of(RobotFile("dofbot", "table", "", endpoint)).key is None
