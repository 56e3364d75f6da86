"""Host: what this computer shows of itself in /dev, /sys and /proc, and who we are on it."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hardware.errors import is_line


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True, slots=True)
class Host:
    """Where the kernel's files lie, and what this user may do. A test gives a tree of its own."""

    dev: Path = Path("/dev")
    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    may_use: Callable[[Path], bool] = _may_use
    is_line: Callable[[Path], bool] = is_line
    user: str = field(default_factory=getpass.getuser)
    #: Groups that are in force in this session, and groups that the user is listed in.
    session_groups: frozenset[str] = field(default_factory=lambda: _names(os.getgroups()))
    listed_groups: frozenset[str] = field(default_factory=lambda: _listed(getpass.getuser()))

    def text(self, path: Path) -> str:
        """Return a small file's text without its end, or nothing where it cannot be read."""
        try:
            return path.read_bytes().decode(errors="replace").strip("\0\n ")
        except OSError:
            return ""

    def model(self) -> str:
        """Return what computer this is, as the device tree or the firmware says; empty where neither does."""
        tree = self.text(self.proc / "device-tree" / "model")
        return tree or self.text(self.sys / "class" / "dmi" / "id" / "product_name")

    def is_raspberry_pi(self) -> bool:
        """Whether this is a Raspberry Pi."""
        return "Raspberry Pi" in self.model()

    def processes(self) -> frozenset[str]:
        """Return the names of what runs, as far as /proc shows it."""
        return frozenset(self.text(p / "comm") for p in self.proc.glob("[0-9]*"))

    def permission_fix(self, path: Path) -> str:
        """Return the command after which this user may open a device."""
        group = _group(path)
        if group in ("root", ""):
            return f"no group may open it: add a udev rule that gives {path.name} to the group dialout"
        if group in self.listed_groups and group not in self.session_groups:
            return f"{self.user} is in the group {group} already, but not in this session: log out and in again"
        return f"sudo usermod -aG {group} {self.user}   (then log out and in again)"


def _group(path: Path) -> str:
    with suppress(KeyError, OSError):
        return grp.getgrgid(path.stat().st_gid).gr_name
    return ""


def _names(ids: list[int]) -> frozenset[str]:
    names: set[str] = set()
    for number in (*ids, os.getgid()):
        with suppress(KeyError):
            names.add(grp.getgrgid(number).gr_name)
    return frozenset(names)


def _listed(user: str) -> frozenset[str]:
    return frozenset(group.gr_name for group in grp.getgrall() if user in group.gr_mem)
