"""Cameras that are plugged into this computer: what the kernel and the RealSense SDK know of them."""

from __future__ import annotations

import fcntl
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from scripts.programs.host import Host

# linux/videodev2.h: VIDIOC_QUERYCAP, and what device_caps may say.
_QUERYCAP, _QUERYCAP_BYTES, _DEVICE_CAPS_AT = 0x80685600, 104, 88
_CAN_CAPTURE = 0x1


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """A /dev/videoN that takes pictures, or that may not be asked whether it does."""

    node: Path
    name: str
    may_use: bool
    lasting: str
    """A path that stays the same when the camera is plugged in elsewhere; empty where there is none."""

    @property
    def choice(self) -> str:
        """What `--camera` calls it."""
        return f"uvc:{self.node.name.removeprefix('video')}"


def video_devices(host: Host) -> list[VideoDevice]:
    """Return the cameras among the video devices; opening one for its name starts nothing."""
    lasting = {path.resolve(): str(path) for path in sorted((host.dev / "v4l" / "by-id").glob("*"))}
    found: list[VideoDevice] = []
    for node in sorted(host.dev.glob("video[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path.name))):
        may_use = host.may_use(node)
        if not may_use or _captures(node):
            name = host.text(host.sys / "class" / "video4linux" / node.name / "name") or "camera"
            found.append(VideoDevice(node, name, may_use, lasting.get(node.resolve(), "")))
    return found


def _captures(node: Path) -> bool:
    """Return whether a device takes pictures: cameras have nodes for metadata too, and a Pi's codecs are no cameras."""
    answer = bytearray(_QUERYCAP_BYTES)
    try:
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.ioctl(fd, _QUERYCAP, answer)
    except OSError:
        return False
    finally:
        os.close(fd)
    return bool(struct.unpack_from("<I", answer, _DEVICE_CAPS_AT)[0] & _CAN_CAPTURE)
