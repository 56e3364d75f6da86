"""The tables of arm.toml files, with what a variant inherits from the arm that it extends."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import cast

from urdf.errors import UnknownName

ARMS = Path(__file__).parent


def arm_names(root: Path = ARMS) -> list[str]:
    """Return the names of the arms that can be loaded."""
    return sorted(p.parent.name for p in root.glob("*/arm.toml"))


def read_table(path: Path, root: Path) -> dict[str, object]:
    """Return an arm's table; where it says `extends = "NAME"`, what it does not say itself is that arm's."""
    table: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    base = table.pop("extends", None)
    if base is None:
        return table
    base_path = root / str(base) / "arm.toml"
    if not base_path.is_file() or base_path == path:
        raise UnknownName(f"arm that {path} extends", str(base), arm_names(root))
    base_table: dict[str, object] = tomllib.loads(base_path.read_text(encoding="utf-8"))
    if "extends" in base_table:
        raise ValueError(f"{base!r} extends another arm itself: extend that one")
    return _merged(base_table, table)


def _merged(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """Return `base` with the values of `over` in place of its own, table by table."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            result[key] = _merged(cast(dict[str, object], below), cast(dict[str, object], value))
        else:
            result[key] = value
    return result
