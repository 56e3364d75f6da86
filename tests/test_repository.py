"""Promises that no other tool checks: what the tree may and may not hold."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w")


def tracked_text_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    binary = {".gif", ".png", ".npz", ".onnx", ".safetensors"}
    return [ROOT / n for n in listed.stdout.splitlines() if Path(n).suffix not in binary and (ROOT / n).is_file()]


def test_nothing_names_a_path_of_one_machine() -> None:
    found = [str(p.relative_to(ROOT)) for p in tracked_text_files() if MACHINE_PATH.search(p.read_text("utf-8"))]
    assert found == []


def test_every_folder_of_a_room_is_a_package_that_the_wheel_will_hold() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = pyproject["tool"]["setuptools"]["packages"]["find"]["include"]
    rooms = [pattern.removesuffix("*") for pattern in patterns]
    assert set(rooms) == set(pyproject["tool"]["importlinter"]["root_packages"])
    folders = {path.parent for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_every_pinned_version_lies_in_the_range_that_pyproject_asks_for() -> None:
    requirements = pytest.importorskip("packaging.requirements")
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in ("workstation", "dev") for r in project["optional-dependencies"][extra]),
    ]
    for text in wanted:
        requirement = requirements.Requirement(text)
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pins[requirement.name.lower()]), text
