"""How a command reaches a served arm: by what robot.toml says, with the key that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge.clock import MonotonicClock
from bridge.errors import KeyRefused
from bridge.keys import ClientKey
from bridge.link import is_local
from bridge.ports import Clock
from bridge.remote import RemoteRobot
from bridge.watcher import RobotWatcher
from scripts.programs.robot_file import RobotFile
from urdf.description import ArmDescription, load_arm


@dataclass(frozen=True, slots=True)
class RobotLink:
    """Where an arm is served, and as whom we come."""

    address: RobotFile
    description: ArmDescription
    key: ClientKey | None
    take_over: bool = False

    @staticmethod
    def of(address: RobotFile, key: Path | None = None, take_over: bool = False) -> RobotLink:
        """Read the key, that of robot.toml unless another is given; raises KeyRefused, also where one is missing."""
        path = key or (Path(address.key) if address.key else None)
        if path is None and address.endpoint and not is_local(address.endpoint):
            raise KeyRefused(
                f"{address.endpoint} is reached with a key alone: say --key FILE, or name it in robot.toml "
                '(key = "FILE"). `tandem keys new NAME` on the machine that serves the arm makes one'
            )
        return RobotLink(address, load_arm(address.arm), ClientKey.load(path) if path else None, take_over)

    def connect(self, clock: Clock | None = None) -> RemoteRobot:
        """Return the arm; raises what RemoteRobot raises."""
        return RemoteRobot(
            self.address.endpoint, self.description, clock or MonotonicClock(), key=self.key, take_over=self.take_over
        )

    def watch(self, clock: Clock | None = None) -> RobotWatcher:
        """Return somebody who only looks; raises what RobotWatcher raises."""
        return RobotWatcher(self.address.endpoint, clock or MonotonicClock(), self.key)
