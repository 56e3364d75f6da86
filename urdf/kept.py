"""Files that we make from other people's models: kept in a folder of this user alone, named by their content's hash."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from urdf.errors import ArmError


def keep(name: str, suffix: str, content: bytes) -> Path:
    """Write a file once, whole or not at all; return where it lies. Raises ArmError where the folder is not ours."""
    path = _private_folder() / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    if path.is_file() and path.read_bytes() == content:
        return path
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _private_folder() -> Path:
    """Return the folder of such files, which no other user may write: a model decides where an arm goes."""
    folder = Path(tempfile.gettempdir()) / f"tandem-{os.getuid()}-urdf"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        raise ArmError(f"{folder} must be a folder that only you may write; remove it and try again")
    return folder
