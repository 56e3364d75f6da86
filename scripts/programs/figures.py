"""What a bench leaves behind: one row for each figure that was promised, and whether it holds."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One figure. `value` None = not measured, which never holds. `baseline` says what it is compared with."""

    figure: str
    value: float | None
    unit: str
    bar: float
    direction: Literal[">=", "<="]
    holds: bool
    baseline: str


class Bench(Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of one bench and the machine that they were measured on."""

    machine: str
    rows: tuple[Row, ...]


def at_least(figure: str, value: float | None, unit: str, bar: float, baseline: str = "") -> Row:
    """Return the row of a figure that must reach `bar`."""
    return Row(figure, value, unit, bar, ">=", value is not None and value >= bar, baseline)


def at_most(figure: str, value: float | None, unit: str, bar: float, baseline: str = "") -> Row:
    """Return the row of a figure that must not exceed `bar`."""
    return Row(figure, value, unit, bar, "<=", value is not None and value <= bar, baseline)


def machine() -> str:
    """Return processor, cores, system and Python in a line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}"


def save(bench: Bench, path: Path) -> None:
    """Write `bench` as JSON; a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(bench), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
