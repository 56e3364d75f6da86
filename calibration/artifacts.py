"""What every calibration file has in common: a strict header, an atomic write, and a history of what it replaced.

    data/robots/<serial>/calibration/<name>.json
    data/robots/<serial>/calibration/history/<name>_<UTC>.json

Reading is strict: a missing, unknown or foreign field is an error, never a default.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from calibration.errors import BadArtifact, CalibrationError, ForeignCalibration, NotCalibrated
from urdf.description import ArmDescription

SCHEMA_VERSION = 1
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a calibration: for which unit of which arm, when, how, and how well it fits."""

    schema_version: int
    robot_serial: str
    arm: str
    arm_sha256: str
    created_utc: str
    method: str
    residual: float
    residual_unit: str

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise BadArtifact(f"schema_version {self.schema_version}: this program reads {SCHEMA_VERSION}")
        if not math.isfinite(self.residual) or self.residual < 0:
            raise BadArtifact(f"residual {self.residual!r} must be finite and not negative")
        _check_serial(self.robot_serial)

    def check_belongs(self, serial: str, description: ArmDescription) -> None:
        """Raise ForeignCalibration unless this was made for that unit of that very arm."""
        if self.robot_serial != serial:
            raise ForeignCalibration(f"this calibration is of robot {self.robot_serial!r}, not of {serial!r}")
        if self.arm != description.name or self.arm_sha256 != description.sha256:
            raise ForeignCalibration(
                f"this calibration was made for arm {self.arm!r} ({self.arm_sha256[:12]}), "
                f"but the arm is {description.name!r} ({description.sha256[:12]}): calibrate again for this arm"
            )


def check_joints(names: tuple[str, ...], description: ArmDescription, how: str) -> None:
    """Raise BadArtifact unless these are the arm's joints, in its order; `how` says how to make a new artifact."""
    if names != description.joint_names:
        raise BadArtifact(f"joints {names}: expected {description.joint_names}. {how}")


AnyArtifact = TypeVar("AnyArtifact", bound=Artifact)


def utc_now() -> str:
    """Return the time of day in UTC, sortable and good for a file name: 20260131T120000Z."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def calibration_dir(data_root: Path, serial: str) -> Path:
    """Return the folder of one robot's calibrations; raises CalibrationError on an unusable serial."""
    _check_serial(serial)
    return data_root / "robots" / serial / "calibration"


def _check_serial(serial: str) -> None:
    if not _SERIAL.fullmatch(serial):
        raise CalibrationError(
            f"robot serial {serial!r}: expected 1-64 letters, digits, '_', '-' or '.', starting with a letter or digit"
        )


def write_atomic(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write `data` so that `path` holds the old or the new content at any instant, even across a power cut.

    Who may read and write it: what the umask leaves of `mode`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not from tempfile, whose files nobody else may ever read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_artifact(artifact: Artifact, name: str, data_root: Path) -> Path:
    """Write the artifact and a copy of it under history/; return where it is in force."""
    folder = calibration_dir(data_root, artifact.robot_serial)
    data = msgspec.json.format(msgspec.json.encode(artifact), indent=2) + b"\n"
    history = folder / "history" / f"{name}_{artifact.created_utc}.json"
    number = 1
    while history.exists():
        number += 1
        history = history.with_name(f"{name}_{artifact.created_utc}_{number}.json")
    write_atomic(history, data)
    path = folder / f"{name}.json"
    write_atomic(path, data)
    return path


def load_artifact(kind: type[AnyArtifact], name: str, serial: str, data_root: Path, how: str) -> AnyArtifact:
    """Read one robot's artifact; raises NotCalibrated (saying `how` to make one) or BadArtifact."""
    path = calibration_dir(data_root, serial) / f"{name}.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotCalibrated(name, serial, path, how) from error
    except OSError as error:
        raise BadArtifact(f"cannot read {path}: {error}") from error
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, BadArtifact) as error:
        raise BadArtifact(f"{path} is no {name} calibration: {error}. {how}") from error
