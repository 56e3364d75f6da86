"""Cameras need OpenCV, which the Raspberry Pi's base install leaves out: there these files are not even looked at."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("cv2") else ["*.py"]
