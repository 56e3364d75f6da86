"""`data/robots/<name>/robot.toml`: what arm a robot is, how it is mounted, and where it is reached."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec

from calibration.artifacts import write_atomic
from calibration.errors import CalibrationError
from scripts.programs.bus_choice import BusKind
from scripts.programs.process_tree import is_running


class RobotFileError(CalibrationError):
    """A robot.toml that is missing or cannot be read."""


class RobotFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One robot. Endpoints are empty where there is nothing to reach; `pid` is that of the program that serves it.

    `bus` is what its servos are on at `port`. Files from before it was asked for are those of a Dofbot-SE. `key` is the
    path of our key, where it is served with keys. `wrist_endpoint` is that of a depth camera at the wrist.
    `camera` and `wrist` name the cameras as a command line does, such as uvc:0 or remote:tcp://HOST:PORT, in place of
    their endpoints; `camera_key` is the path of our key where those are served with keys.
    """

    arm: str
    rig: str
    port: str
    endpoint: str
    bus: BusKind = "dofbot-serial"
    key: str = ""
    camera_endpoint: str = ""
    wrist_endpoint: str = ""
    camera: str = ""
    wrist: str = ""
    camera_key: str = ""
    stage_endpoint: str = ""
    truth_path: str = ""
    pid: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether the program that serves it still runs."""
        return is_running(self.pid)

    @property
    def desk_camera(self) -> str:
        """The desk's camera as a command line names it; empty where there is none."""
        return self.camera or (f"remote:{self.camera_endpoint}" if self.camera_endpoint else "")

    @property
    def wrist_camera(self) -> str:
        """The wrist's depth camera as a command line names it; empty where there is none."""
        return self.wrist or (f"remote:{self.wrist_endpoint}" if self.wrist_endpoint else "")

    def save(self, name: str, data_root: Path) -> Path:
        """Write the file, whole or not at all; return its path."""
        lines = [f"{field} = {json.dumps(getattr(self, field))}" for field in self.__struct_fields__]
        path = robot_file_path(name, data_root)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, ("\n".join(lines) + "\n").encode())
        return path

    @staticmethod
    def load(name: str, data_root: Path) -> RobotFile:
        """Read the file strictly; raises RobotFileError."""
        path = robot_file_path(name, data_root)
        try:
            return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), RobotFile)
        except FileNotFoundError as error:
            known = ", ".join(sorted(p.parent.name for p in (data_root / "robots").glob("*/robot.toml"))) or "none"
            hint = "; the lab runs while `tandem lab` does" if name == "lab" else ""
            raise RobotFileError(f"no robot {name!r}: expected {path}; known here: {known}{hint}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise RobotFileError(f"{path}: {error}") from error


def robot_file_path(name: str, data_root: Path) -> Path:
    """Return where the file of a robot lies."""
    return data_root / "robots" / name / "robot.toml"


def stop_latch_path(name: str, data_root: Path) -> Path:
    """Return where a robot's emergency stop is written down for as long as it is latched."""
    return data_root / "robots" / name / "emergency_stop"
