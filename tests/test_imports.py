"""What the Raspberry Pi half loads. These tests also run in an environment with the base install alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = (
    "torch", "pybullet", "gymnasium", "mediapipe", "scipy", "cv2", "numba", "pinocchio", "onnxruntime", "onnx",
    "matplotlib", "stable_baselines3", "PIL", "rich",
)  # fmt: skip

#: Pinocchio, Numba and OpenCV are what these modules (and those of hardware/cameras) are about; nothing on the Pi loads
#: them unasked.
WORKSTATION_MODULES = {ROOT / "urdf" / name for name in ("kinematics.py", "kinematics_kernel.py", "compiled.py")}

PI_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("urdf", "bridge", "hardware", "calibration")
    for path in (ROOT / room).rglob("*.py")
    if path.name != "__init__.py"
    and path not in WORKSTATION_MODULES
    and ROOT / "hardware" / "cameras" not in path.parents
)


def modules_loaded_by(statement: str) -> set[str]:
    probe = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import hardware, bridge, urdf, calibration", "import " + ", ".join(PI_MODULES)])
def test_the_pi_half_loads_nothing_heavy(statement: str) -> None:
    assert not modules_loaded_by(statement) & set(HEAVY)


def test_the_pi_half_is_more_than_empty_packages() -> None:
    assert {"urdf.description", "bridge.messages", "bridge.safety"} <= set(PI_MODULES)


@pytest.mark.parametrize(
    "module", ["serve", "programs.served_recording", "jog", "calibrate_servos", "doctor", "camera", "episodes"]
)
def test_the_commands_of_the_arms_own_computer_load_nothing_heavy(module: str) -> None:
    assert not modules_loaded_by(f"import scripts.{module}") & set(HEAVY)


@pytest.mark.parametrize("statement", ["import scripts.main", "import scripts.cli"])
def test_the_command_itself_loads_nothing_heavy(statement: str) -> None:
    assert not modules_loaded_by(statement) & {*HEAVY, "tyro", "numpy"}
