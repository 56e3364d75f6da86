"""The Python of the pages in docs/ runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A snippet whose first line is this one is a file that the others import.
_FILE = re.compile(r"# (\w+\.py)\n")


def blocks(page: Path) -> list[str]:
    return _BLOCK.findall(page.read_text(encoding="utf-8"))


PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if blocks(page)]


def test_there_are_pages_with_python() -> None:
    assert {"randomization.md", "simulator.md", "vector.md"} <= {page.name for page in PAGES}


@pytest.mark.skipif(find_spec("pybullet") is None, reason="PyBullet is not part of the base install")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_of_a_page_runs_as_printed(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(blocks(page)):
        named = _FILE.match(text)
        path = tmp_path / (named[1] if named else f"snippet_{number}.py")
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60.0,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stderr}"
