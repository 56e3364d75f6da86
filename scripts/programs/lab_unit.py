"""LabUnit: which unit the lab's arm is. Another seed or level is another unit, with calibrations of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from calibration.artifacts import calibration_dir, utc_now, write_atomic
from calibration.errors import ForeignCalibration, NotCalibrated
from calibration.servo import ServoCalibration
from urdf.description import ArmDescription


class LabUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a lab's arm the unit that it is."""

    arm: str
    rig: str
    seed: int
    level: str

    @property
    def words(self) -> str:
        """The unit in words."""
        return f"{self.arm} ({self.rig}), seed {self.seed}, level {self.level}"


def nominal_calibration(description: ArmDescription, serial: str) -> ServoCalibration:
    """Return the vendor's scales: how a lab's board counts, whatever anybody has calibrated."""
    return ServoCalibration.nominal(description, serial)


def take_up(unit: LabUnit, serial: str, description: ArmDescription, data: Path) -> list[str]:
    """Make the folder of robot `serial` that of this unit; return what there is to tell.

    Its own calibrations stay in force. Those of another unit are put away, which leaves them under history/, and the
    servos start from the vendor's scales. So is a servo.json of another robot or another variant of the arm; one that
    cannot be read is refused: raises BadArtifact.
    """
    path, folder = data / "robots" / serial / "unit.json", calibration_dir(data, serial)
    told: list[str] = []
    if _known(path) != unit:
        put_away = sorted(folder.glob("*.json")) if path.exists() else []
        for file in put_away:
            file.unlink()
        if put_away:
            names = ", ".join(file.stem for file in put_away)
            told = [f"this lab is another unit ({unit.words}): {names} of the one before stay in {folder}/history"]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, msgspec.json.encode(unit) + b"\n")
    try:
        ServoCalibration.load(serial, description, data)
    except NotCalibrated:
        nominal_calibration(description, serial).save(data)
    except ForeignCalibration as foreign:
        kept = folder / "history" / f"servo_foreign_{utc_now()}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        (folder / "servo.json").replace(kept)
        nominal_calibration(description, serial).save(data)
        told.append(f"{foreign}: it was put away as {kept}, and the servos start from the vendor's scales")
    return told


def _known(path: Path) -> LabUnit | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabUnit)
    except (OSError, msgspec.MsgspecError):
        return None
