"""Pictures of a PyBullet client: TinyRenderer on the processor, or the EGL plugin on the graphics card."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import lru_cache

import numpy as np
import pybullet as bullet
from numpy.typing import NDArray

from sim.errors import SimError
from sim.pinhole import PinholeCamera, view_matrix
from sim.ranges import Vector3
from urdf.pose import Array, Pose

#: Where the light comes from unless somebody asks for another direction.
LIGHT_DIRECTION: Vector3 = (0.4, 0.6, 1.2)
_PROBE_S = 60.0

#: rgb (H, W, 3), depth in metres (H, W) and body id (H, W) of a camera.
Picture = tuple[NDArray[np.uint8], Array, NDArray[np.int32]]


class Renderer(StrEnum):
    """Who draws. EGL needs a driver: a graphics card's, or Mesa's for the processor."""

    TINY = "tiny"
    EGL = "egl"


def driver_name(renderer: Renderer) -> str:
    """Return who will draw, for the record of a run; raises SimError where EGL has no driver. Ask before connecting."""
    return "TinyRenderer" if renderer is Renderer.TINY else probe_egl()


def start_renderer(client: int, renderer: Renderer) -> None:
    """Make `renderer` draw all that `client` loads from now on: EGL draws nothing that was loaded before."""
    if renderer is Renderer.TINY:
        return
    with _quiet():
        plugin = bullet.loadPlugin(_egl_plugin(), "_eglRendererPlugin", physicsClientId=client)
    if plugin < 0:
        raise SimError("renderer 'egl': PyBullet did not load its plugin; valid here: tiny")


@lru_cache(maxsize=1)
def probe_egl() -> str:
    """Return the name of the driver that EGL would draw with; raises SimError where there is none.

    It is asked in a process of its own: PyBullet's plugin ends the process when it finds no driver.
    """
    code = (
        "import pybullet as b, sys; c = b.connect(b.DIRECT); "
        "sys.exit(0 if b.loadPlugin(sys.argv[1], '_eglRendererPlugin', physicsClientId=c) >= 0 else 1)"
    )
    try:
        found = subprocess.run(
            [sys.executable, "-c", code, _egl_plugin()], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SimError(f"renderer 'egl' did not answer within {_PROBE_S:.0f} s; valid here: tiny") from error
    if found.returncode != 0:
        said = (found.stdout + found.stderr).strip().splitlines()
        raise SimError(f"renderer 'egl' has no driver here ({said[-1] if said else 'no reason given'}); valid: tiny")
    names = [line.partition("=")[2] for line in found.stdout.splitlines() if line.startswith("GL_RENDERER=")]
    return f"EGL: {names[0] if names else 'unnamed driver'}"


def _egl_plugin() -> str:
    spec = importlib.util.find_spec("eglRenderer")
    if spec is None or spec.origin is None:
        raise SimError("renderer 'egl': this PyBullet was built without its EGL plugin; valid: tiny")
    return spec.origin


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what C code prints out of our output."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        yield
        flush(None)
    finally:
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


def take_picture(
    client: int,
    desk_from_camera: Pose,
    camera: PinholeCamera,
    renderer: Renderer = Renderer.TINY,
    light_direction: Sequence[float] = LIGHT_DIRECTION,
    shadow: bool = True,
) -> Picture:
    """Return (rgb (H, W, 3) uint8, depth_m (H, W) float64, body id (H, W)) as `camera` sees them from where it is."""
    _, _, rgba, buffer, bodies = bullet.getCameraImage(
        camera.width_px,
        camera.height_px,
        view_matrix(desk_from_camera),
        camera.projection_matrix(corner_sampling=renderer is Renderer.TINY),
        lightDirection=list(light_direction),
        shadow=shadow,
        renderer=bullet.ER_TINY_RENDERER if renderer is Renderer.TINY else bullet.ER_BULLET_HARDWARE_OPENGL,
        physicsClientId=client,
    )
    shape = (camera.height_px, camera.width_px)
    rgb = np.asarray(rgba, dtype=np.uint8).reshape(*shape, 4)[:, :, :3]
    return rgb, camera.metres(buffer), np.asarray(bodies, dtype=np.int32).reshape(shape)
