"""A picture's file: whether it can be written, told before the work that fills it, and how it is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.artifacts import write_atomic
from urdf.errors import ArmError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a picture can be written as.
SUFFIXES = (".png", ".pdf", ".svg")


def check_picture(path: Path, what: str) -> None:
    """Raise ArmError unless `what`, such as `a reach map`, can be written to this file."""
    if path.is_dir():
        raise ArmError(f"--out {path} is a folder: name the file, such as {path / 'picture.png'}")
    if path.suffix.lower() not in SUFFIXES:
        raise ArmError(f"--out {path}: {what} ends in one of {', '.join(SUFFIXES)}")
    for folder in path.parents:
        if folder.exists():
            if not folder.is_dir():
                raise ArmError(f"--out {path}: {folder} is a file, not a folder")
            return


def write_picture(figure: Figure, path: Path) -> None:
    """Write the picture as what its name ends in, whole or not at all."""
    data = io.BytesIO()
    figure.savefig(data, format=path.suffix.lower()[1:], facecolor="white")
    write_atomic(path, data.getvalue())
