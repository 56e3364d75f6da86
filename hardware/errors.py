"""Errors of buses, servos and ports."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from bridge.errors import CommandRefused


class HardwareError(Exception):
    """The physical arm, or what leads to it, is not as it must be."""


class BusError(HardwareError):
    """One exchange on the servo bus failed."""


class NoReply(BusError):
    """A servo did not answer in time, all retries included."""


class BadChecksum(BusError):
    """Replies came, but their checksums were wrong, all retries included."""


class WrongServo(BusError):
    """The bus does not carry the servos that the calibration names."""

    def __init__(self, missing: Iterable[int], unexpected: Iterable[int], port: str) -> None:
        self.missing, self.unexpected = tuple(missing), tuple(unexpected)
        parts = [f"{_servos(self.missing)} not answer"] if self.missing else []
        parts += [f"servo {i} answers but is not in the calibration" for i in self.unexpected]
        advice = "check the servo ids" if self.unexpected else "check the 12 V supply, the servo cables and --bus"
        super().__init__(f"{port}: {'; '.join(parts)}: {advice}")


def _servos(ids: tuple[int, ...]) -> str:
    if len(ids) == 1:
        return f"servo {ids[0]} does"
    return f"servos {', '.join(map(str, ids[:-1]))} and {ids[-1]} do"


class BusLost(BusError):
    """The port is gone: unplugged, or the board has stopped answering altogether."""


class ServoAlarm(BusError):
    """A servo says of itself that something is wrong with it."""


class Overheated(ServoAlarm):
    """A servo is too hot; it cuts or has cut its torque."""


class Stalled(ServoAlarm):
    """A servo has pressed against something for too long; it cuts or has cut its torque."""


class Undervoltage(ServoAlarm):
    """A servo's supply is outside what it needs."""


class Astray(HardwareError):
    """A joint stands, or moves, where nobody sent it: a button, a hand, or a servo that has lost its torque."""


class NotMeasured(BusError):
    """This bus cannot know that: its servos do not tell."""


class BadCommand(HardwareError):
    """A count or a duration that no servo of this bus accepts; nothing was sent."""


class PortError(HardwareError):
    """A serial port cannot be used."""


class PortMissing(PortError):
    """There is no such serial port, or it may not be opened."""


class PortBusy(PortError):
    """Another process holds the serial port."""


class RobotFaulted(HardwareError, CommandRefused):
    """A fault has latched: no command is accepted until the robot is connected again."""


class RelaxBlocked(HardwareError):
    """The way to the rest pose is not clear, so the arm holds and keeps its torque: a raised arm falls."""


class CameraError(HardwareError):
    """A camera is not as it must be."""


class CameraMissing(CameraError):
    """There is no such camera, or it may not be opened, or another program has it."""


class SettingRefused(CameraError):
    """A camera did not take a setting: it was asked for, read back, and is another."""


class CameraLost(CameraError):
    """A camera that worked gives no more pictures: unplugged, or its server is gone."""


class RecordingOver(CameraError):
    """A recorded camera has shown its last picture."""


def port_error(port: str, error: OSError | None) -> PortError:
    """Return the named error of a port that could not be opened: missing, forbidden, or held by whom."""
    path = Path(port)
    if not path.exists():
        found = sorted(str(p) for pattern in ("ttyUSB*", "ttyACM*") for p in Path("/dev").glob(pattern))
        listing = ", ".join(found) or "none: is the cable plugged in?"
        return PortMissing(f"there is no serial port {port}; ports found: {listing}")
    if not os.access(path, os.R_OK | os.W_OK):
        return PortMissing(_permission_text(path))
    if not is_line(path):
        return PortMissing(f"{port} is no serial port: an arm on a USB cable is /dev/ttyUSB0 or /dev/ttyACM0")
    holders = port_holders(path)
    blocked = error is not None and error.errno in (errno.EBUSY, errno.EAGAIN, errno.EACCES)
    if holders or blocked:
        who = "; held by " + ", ".join(holders) if holders else "; who holds it cannot be seen from this account"
        return PortBusy(f"serial port {port} is busy{who}: end that program and try again")
    return PortError(f"cannot open serial port {port}: {error}")


def _permission_text(path: Path) -> str:
    info = path.stat()
    try:
        owner, group = pwd.getpwuid(info.st_uid).pw_name, grp.getgrgid(info.st_gid).gr_name
    except KeyError:
        owner, group = str(info.st_uid), str(info.st_gid)
    return (
        f"serial port {path} may not be opened by this user: it is {stat.filemode(info.st_mode)} {owner}:{group}; "
        f"join the group with `sudo usermod -aG {group} $USER` and log in again"
    )


def is_line(path: Path) -> bool:
    """Return whether a path is a serial line or an I2C bus, as far as the kernel tells of it; opens nothing."""
    info = path.stat()
    if not stat.S_ISCHR(info.st_mode):
        return False
    kind = Path(f"/sys/dev/char/{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}/subsystem")
    return not kind.exists() or kind.resolve().name in ("tty", "i2c-dev")  # of a pty the kernel tells nothing


def port_holders(path: Path) -> list[str]:
    """Return 'name (pid N)' of the other processes that have `path` open, as far as /proc shows them."""
    device = path.resolve()
    holders: list[str] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if any(Path(os.readlink(fd)) == device for fd in (process / "fd").iterdir()):
                holders.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:  # another user's process, or one that has just ended
            continue
    return holders
