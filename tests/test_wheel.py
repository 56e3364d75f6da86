"""What `pip install tandem-arm` puts on a machine: the rooms with their data, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="the wheel is built with the dev extra")

ROOT = Path(__file__).parent.parent
ROOMS = ("urdf", "bridge", "hardware", "calibration", "perception", "sim", "policies", "scripts")


def tracked_files(*folders: str) -> list[str]:
    """Return the files that git would hand to someone else, or every file when this is no checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    found = [path for folder in folders for path in [ROOT / folder, *(ROOT / folder).rglob("*")]]
    return [str(path.relative_to(ROOT)) for path in found if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy, so that an old build/ folder cannot lend its files."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked_files(*ROOMS, "tests", "pyproject.toml", "README.md", "LICENSE"):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("tandem_arm-*.whl")
    return built


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_rooms_and_no_tests(wheel: Path) -> None:
    folders = {name.split("/")[0] for name in names_in(wheel)}
    assert {folder for folder in folders if not folder.endswith(".dist-info")} == set(ROOMS)


def test_the_wheel_holds_every_module_every_arm_file_and_every_policy(wheel: Path) -> None:
    suffixes = (".py", ".toml", ".urdf", ".obj", ".onnx", ".json", ".npz")
    wanted = {name for name in tracked_files(*ROOMS) if Path(name).suffix in suffixes}
    assert wanted - names_in(wheel) == set()


def test_an_arm_loads_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    probe = f"""
import sys
sys.path[:] = [p for p in sys.path if p != {str(ROOT)!r}]
sys.path.insert(0, {str(tmp_path)!r})
from urdf.description import load_arm
arm = load_arm("dofbot")
assert arm.urdf_path.is_relative_to({str(tmp_path)!r}), arm.urdf_path
assert arm.urdf_path.is_file()
"""
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_wheel_names_the_command_and_the_base_requirements(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read("tandem_arm-0.1.0.dist-info/METADATA").decode()
        entry_points = archive.read("tandem_arm-0.1.0.dist-info/entry_points.txt").decode()
    assert "tandem = scripts.main:main" in entry_points
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    base = {line.split()[1].split(">")[0] for line in required}
    assert base == {"mcap", "msgspec", "numpy", "pyserial", "pyzmq", "smbus2", "tyro"}
