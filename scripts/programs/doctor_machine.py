"""The computer itself: Python and packages, time, disk, cameras. Nothing here touches an arm."""

from __future__ import annotations

import os
import platform
import re
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from bridge.messages import PROTOCOL_VERSION
from bridge.ports import Clock
from scripts.programs.camera_devices import video_devices
from scripts.programs.findings import Finding, fail, ok, warn
from scripts.programs.host import Host

_MACHINE, _TIME, _DISK, _CAMERA = "This computer", "Time", "Disk", "Cameras"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+).*?>=\s*([0-9.]+)")
_MEBIBYTE = 2**20
#: A recording grows by about 10 MiB a minute with its pictures: a day's work, and an hour's.
_ROOMY_BYTES, _TIGHT_BYTES = 2048 * _MEBIBYTE, 256 * _MEBIBYTE
#: How late a sleep may end: a command is due every 50 ms, and a loop that is 100 ms late has its arm held.
_LATE_MS, _TOO_LATE_MS = 3.0, 25.0
_SLEEPS, _SLEEP_S = 100, 0.005


def machine(host: Host) -> Iterator[Finding]:
    """Look at the computer, Python and the packages of the base install."""
    bits = struct.calcsize("P") * 8
    what = host.model() or platform.machine()
    yield ok(_MACHINE, what, f"{_system()}, {platform.machine()}, {bits} bit, {os.cpu_count()} cores")
    if bits == 32:
        yield warn(_MACHINE, "system", "is a 32 bit one: some packages have no wheels for it", "use the 64 bit image")
    yield from _packages(platform.python_version())
    if host.is_raspberry_pi():
        yield _supply(host)


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _packages(python: str) -> Iterator[Finding]:
    try:
        ours, needed = version("tandem-arm"), requires("tandem-arm") or []
    except PackageNotFoundError:
        yield warn(_MACHINE, "tandem", "runs from its source tree, not installed", "pip install -e . in that tree")
        return
    found: list[str] = []
    for line in needed:
        match = _REQUIREMENT.match(line)
        if match is None or "extra ==" in line:
            continue
        name, least = match.groups()
        try:
            have = version(name)
        except PackageNotFoundError:
            yield fail(_MACHINE, name, "is not installed", f"{sys.executable} -m pip install '{name}>={least}'")
            continue
        if _numbers(have) < _numbers(least):
            upgrade = f"{sys.executable} -m pip install --upgrade '{name}>={least}'"
            yield fail(_MACHINE, f"{name} {have}", f"is older than {least}", upgrade)
            continue
        found.append(f"{name} {have}")
    text = f"speaks protocol {PROTOCOL_VERSION} of the link; Python {python}, {', '.join(found)}"
    yield ok(_MACHINE, f"tandem {ours}", text)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _supply(host: Host) -> Finding:
    """Look at the Pi's own supply. Ref: raspberrypi/linux, drivers/hwmon/raspberrypi-hwmon.c."""
    for monitor in (host.sys / "class" / "hwmon").glob("hwmon*"):
        if host.text(monitor / "name") == "rpi_volt" and host.text(monitor / "in0_lcrit_alarm") == "1":
            text = "is below 4.63 V, or has been since it started: the processor slows down and USB drops out"
            return warn(_MACHINE, "supply of the Pi", text, "use its own 5 V supply, not the arm's board")
    return ok(_MACHINE, "supply of the Pi", "has not dropped")


def timing(host: Host, clock: Clock) -> Iterator[Finding]:
    """Look at what a control loop stands on: the monotonic clock, how punctual a sleep is, and the processor's pace."""
    resolution_ns = time.get_clock_info("monotonic").resolution * 1e9
    note = "the time of day is not used to control anything, so NTP may step it"
    if resolution_ns > 1e6:
        text = f"counts in steps of {resolution_ns * 1e-6:.1f} ms"
        yield fail(_TIME, "monotonic clock", text, "use a kernel with high-resolution timers (CONFIG_HIGH_RES_TIMERS)")
    else:
        yield ok(_TIME, "monotonic clock", f"counts in {max(resolution_ns, 1):.0f} ns; {note}")
    yield _punctuality(clock)
    policies = sorted((host.sys / "devices" / "system" / "cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    governors = sorted({host.text(path) for path in policies} - {""})
    if "powersave" in governors and host.is_raspberry_pi():
        hint = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        yield warn(_TIME, "CPU governor", "powersave keeps a Pi at its lowest clock", hint)
    elif governors:
        yield ok(_TIME, "CPU governor", ", ".join(governors))


def _punctuality(clock: Clock) -> Finding:
    late_ms: list[float] = []
    deadline_ns = clock.now_ns()
    for _ in range(_SLEEPS):
        deadline_ns += round(_SLEEP_S * 1e9)
        clock.sleep_until(deadline_ns)
        late_ms.append((clock.now_ns() - deadline_ns) * 1e-6)
    late_ms.sort()
    half, worst = late_ms[_SLEEPS // 2], late_ms[_SLEEPS - 2]
    text = f"{_SLEEPS} sleeps of {_SLEEP_S * 1e3:.0f} ms ended {half:.2f} ms late, 99 % of them within {worst:.2f} ms"
    advice = "end what loads this computer, or run the server with a real-time priority (docs/raspberry-pi.md)"
    if worst > _TOO_LATE_MS:
        return fail(_TIME, "punctuality", text, advice)
    return warn(_TIME, "punctuality", text, advice) if worst > _LATE_MS else ok(_TIME, "punctuality", text)


def disk(root: Path) -> Iterator[Finding]:
    """Look for room where runs and recordings go."""
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / 1024 / _MEBIBYTE:.1f} GiB free"
    if not os.access(there, os.W_OK):
        yield fail(_DISK, str(root), "may not be written to", f"sudo chown -R $USER {there}, or set TANDEM_DATA")
    elif free < _TIGHT_BYTES:
        yield fail(_DISK, str(root), f"{text}: a recording would stop", "make room: old ones are in data/episodes")
    elif free < _ROOMY_BYTES:
        yield warn(_DISK, str(root), f"{text}: enough for an hour of recordings", "make room before a long day")
    else:
        yield ok(_DISK, str(root), text)


def cameras(host: Host) -> Iterator[Finding]:
    """Look for cameras that can take pictures."""
    found = video_devices(host)
    for device in found:
        if not device.may_use:
            text = f"{device.name}, may not be opened by {host.user}"
            yield warn(_CAMERA, str(device.node), text, host.permission_fix(device.node))
        else:
            text = f"{device.name}, takes pictures; `tandem doctor --camera {device.choice}` looks through it"
            yield ok(_CAMERA, str(device.node), text)
    if not found:
        text = "none found; an arm that is told where its target is needs none"
        yield warn(_CAMERA, "cameras", text, "plug in a USB camera, here or at the workstation")
