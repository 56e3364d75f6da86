"""The tables of arm.toml files, with what a variant inherits from the arm that it extends."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from urdf.errors import UnknownName
from urdf.pose import Array, Pose

ARMS = Path(__file__).parent


class MissingKey(KeyError):
    """A table lacks a key that it must have."""

    def __init__(self, key: str, where: str, table: bool = False) -> None:
        self.key = key
        what = f"the table [{key}]" if table else repr(key)
        super().__init__(f"{what} is missing from {where}")

    def __str__(self) -> str:
        return str(self.args[0])


class OutOfRange(ValueError):
    """A number that no arm can have; the message names the field and what is valid."""


def _needed(table: Mapping[str, object], key: str) -> object:
    if key not in table:
        raise MissingKey(key, "a table of this file")
    return table[key]


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


# Values ---------------------------------------------------------------------------------------------


def number(table: Mapping[str, object], key: str) -> float:
    """Return the finite number `table[key]`; raises KeyError or ValueError."""
    value = _needed(table, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a finite number, got {value!r}")
    return float(value)


def numbers(table: Mapping[str, object], key: str, count: int, default: Sequence[float] | None = None) -> Array:
    """Return the `count` finite numbers of `table[key]`, read-only; raises KeyError or ValueError."""
    value = _needed(table, key) if default is None else table.get(key, default)
    array = np.array([float(v) for v in cast(list[float], value)])
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ValueError(f"{key}: expected {count} finite numbers, got {value!r}")
    array.setflags(write=False)
    return array


def table_in(table: Mapping[str, object], key: str, optional: bool = False) -> dict[str, object]:
    """Return the table `table[key]` (empty where it is optional and missing); raises KeyError or TypeError."""
    if key not in table and not optional:
        raise MissingKey(key, "this file", table=True)
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise TypeError(f"{key} must be a table, got {value!r}")
    return cast(dict[str, object], value)


def tables_in(table: Mapping[str, object], key: str) -> list[dict[str, object]]:
    """Return the list of tables `table[key]` (`[[key]]` in TOML), empty where there is none."""
    value = table.get(key, [])
    if not isinstance(value, list):
        raise TypeError(f"{key} must be a list of tables, got {value!r}")
    return cast(list[dict[str, object]], value)


def names_in(table: Mapping[str, object], key: str, optional: bool = False) -> list[str]:
    """Return the list of names `table[key]` (empty where it is optional and missing)."""
    value = table.get(key, []) if optional else _needed(table, key)
    if not isinstance(value, list) or not all(isinstance(v, str) for v in cast(list[object], value)):
        raise TypeError(f"{key} must be a list of names, got {value!r}")
    return cast(list[str], value)


def pose_in(table: Mapping[str, object]) -> Pose:
    """Return the pose of `xyz_m` and `rpy_deg` (fixed-axis roll, pitch, yaw; none if left out)."""
    rpy_deg = numbers(table, "rpy_deg", 3, default=(0.0, 0.0, 0.0))
    return Pose.from_rpy(numbers(table, "xyz_m", 3), np.radians(rpy_deg))


def within(name: str, value: float, least: float, most: float, unit: str) -> None:
    """Raise OutOfRange unless a number lies between `least` and `most`, both included."""
    if not least <= value <= most:
        raise OutOfRange(f"{name} must be {least:g} to {most:g} {unit}, got {value:g}")


def only(table: Mapping[str, object], kind: str, valid: Sequence[str]) -> None:
    """Raise UnknownName where a table has a key that means nothing: a typing error would be a silent default."""
    for key in table:
        if key not in valid:
            raise UnknownName(kind, key, valid)
