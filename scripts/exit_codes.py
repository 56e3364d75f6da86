"""Which errors people can mend themselves, and the exit code and line each of them earns."""

from __future__ import annotations

from dataclasses import dataclass

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_EXTRAS = {
    "workstation": (
        "cv2", "gymnasium", "imageio", "matplotlib", "onnx", "onnxruntime", "PIL", "pinocchio", "pybullet", "rich",
        "safetensors", "scipy", "stable_baselines3", "tensorboard", "torch",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class KnownError:
    """What to tell, in one line, and the exit code."""

    line: str
    exit_code: int


def describe(error: Exception) -> KnownError | None:
    """Return the line and exit code of a typed error, or None for one that is a defect and deserves its traceback."""
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError):
        where = f": {error.filename}" if error.filename else ""
        return KnownError(f"{error.strerror or error}{where}", BAD_INPUT)
    for kind, exit_code in _typed_errors():
        if isinstance(error, kind):
            return KnownError(" ".join(str(error).split()) or type(error).__name__, exit_code)
    return None


def _typed_errors() -> list[tuple[type[Exception], int]]:
    """Return each room's errors with their exit codes, the particular before the general; imported when needed."""
    from bridge.errors import BridgeError, PolicyMismatch
    from calibration.errors import CalibrationError, RoutineStopped
    from hardware.errors import HardwareError, PortError, WrongServo
    from perception.errors import PerceptionError
    from policies.errors import ArtifactError, BadConfig, CheckpointError, PolicyError
    from sim.errors import SimError
    from urdf.errors import ArmError, Unreachable

    return [
        (Unreachable, FAILED),
        (ArmError, BAD_INPUT),
        (PolicyMismatch, BAD_INPUT),
        (BridgeError, FAILED),
        (PortError, BAD_INPUT),
        (WrongServo, BAD_INPUT),
        (HardwareError, FAILED),
        (RoutineStopped, INTERRUPTED),
        (CalibrationError, BAD_INPUT),
        (PerceptionError, FAILED),
        (ArtifactError, BAD_INPUT),
        (BadConfig, BAD_INPUT),
        (CheckpointError, BAD_INPUT),
        (PolicyError, FAILED),
        (SimError, BAD_INPUT),
    ]


def _missing_package(error: ModuleNotFoundError) -> KnownError | None:
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            why = f"this needs the Python package {package!r}, which the base install leaves out"
            return KnownError(f"{why}: pip install 'tandem-arm[{extra}]' (CPython 3.11)", BAD_INPUT)
    return None
