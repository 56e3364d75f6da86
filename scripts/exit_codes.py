"""Which errors people can mend themselves, and the exit code and line each of them earns."""

from __future__ import annotations

import errno
from dataclasses import dataclass

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_EXTRAS = {
    "workstation": (
        "av", "cv2", "gymnasium", "h5py", "imageio", "matplotlib", "mediapipe", "minari", "onnx", "onnxruntime",
        "PIL", "pinocchio", "pyarrow", "pybullet", "pyrealsense2", "rich", "safetensors", "scipy",
        "stable_baselines3", "tensorboard", "torch",
    ),
}  # fmt: skip


#: Where the most particular class of an error decides. By name, because on the arm's own computer half of the rooms
#: cannot be imported, and what is not imported cannot have raised.
EXIT_CODES = {
    "urdf.errors.ArmError": BAD_INPUT,
    "urdf.errors.Unreachable": FAILED,
    "bridge.errors.BridgeError": FAILED,
    "bridge.errors.PolicyMismatch": BAD_INPUT,
    "bridge.errors.EndpointRefused": BAD_INPUT,
    "bridge.errors.KeyRefused": BAD_INPUT,
    "bridge.errors.BadEpisode": BAD_INPUT,
    "hardware.errors.HardwareError": FAILED,
    "hardware.errors.BadCommand": BAD_INPUT,
    "hardware.errors.PortError": BAD_INPUT,
    "hardware.errors.WrongServo": BAD_INPUT,
    "hardware.errors.CameraMissing": BAD_INPUT,
    "hardware.errors.SettingRefused": BAD_INPUT,
    "calibration.errors.CalibrationError": BAD_INPUT,
    "calibration.errors.RoutineStopped": INTERRUPTED,
    "perception.errors.PerceptionError": FAILED,
    "perception.errors.BadLandmarks": BAD_INPUT,
    "perception.errors.LibraryMissing": BAD_INPUT,
    "perception.errors.LocatorUnfit": BAD_INPUT,
    "perception.errors.ModelMissing": BAD_INPUT,
    "perception.errors.ModelUnfit": BAD_INPUT,
    "perception.errors.ViewTooNarrow": BAD_INPUT,
    "policies.errors.PolicyError": FAILED,
    "policies.errors.ArtifactError": BAD_INPUT,
    "policies.errors.BadConfig": BAD_INPUT,
    "policies.errors.CheckpointError": BAD_INPUT,
    "policies.errors.UnfitDemonstrations": BAD_INPUT,
    "policies.errors.UnfitWorlds": BAD_INPUT,
    "scripts.programs.model_errors.SourceUnreachable": FAILED,
    "scripts.programs.model_errors.WrongBytes": FAILED,
    "sim.errors.SimError": BAD_INPUT,
    "sim.errors.WorkerError": FAILED,
}

#: A file or folder that is not there, or is no such thing.
_WRONG_FILE = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
#: What a full disk says, a quota and a limit on the size of a file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class KnownError:
    """What to tell, in one line, and the exit code."""

    line: str
    exit_code: int


def describe(error: Exception) -> KnownError | None:
    """Return the line and exit code of a typed error, or None for one that is a defect and deserves its traceback."""
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, _WRONG_FILE):
        where = f": {error.filename}" if error.filename else ""
        return KnownError(f"{error.strerror or error}{where}", BAD_INPUT)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return KnownError(f"{error}: make room and go on", FAILED)
    for kind in type(error).__mro__:
        exit_code = EXIT_CODES.get(f"{kind.__module__}.{kind.__qualname__}")
        if exit_code is not None:
            return KnownError(" ".join(str(error).split()) or type(error).__name__, exit_code)
    return None


def _missing_package(error: ModuleNotFoundError) -> KnownError | None:
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            why = f"this needs the Python package {package!r}, which the base install leaves out"
            return KnownError(f"{why}: pip install 'tandem-arm[{extra}]' (CPython 3.11)", BAD_INPUT)
    return None
