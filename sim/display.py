"""Whether a window can be opened. PyBullet ends the whole process where it cannot, so this is asked before."""

from __future__ import annotations

import ctypes
import os


def has_display() -> bool:
    """Return whether $DISPLAY names an X server that answers."""
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return False
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XOpenDisplay.argtypes = [ctypes.c_char_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    if display is None:
        return False
    x11.XCloseDisplay(display)
    return True
