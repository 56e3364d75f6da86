"""How late a picture is where a policy can use it: `tandem camera serve` in a process of its own, with keys, over TCP.

A recorded camera plays a picture of the lab's desk, 640x480, 30 times a second; each is stamped when it is due. It goes
as JPEG through loopback and CURVE to a RemoteCamera here, and a MarkerLocator finds the block in it. Measured is from
that stamp until `read_block` gives a sighting that bears it: what an observation would be made of.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bridge.errors import StaleFrame
from bridge.keys import ClientKey, KeyRing
from bridge.ports import Frame
from hardware.cameras.recorded import FolderWriter
from hardware.cameras.remote import RemoteCamera
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from scripts.programs.figures import Row, at_most
from scripts.programs.lab import LabFailed
from scripts.programs.process_tree import before_exec
from sim.lab_camera import LabRenderer
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from urdf.description import load_arm
from urdf.pose import Pose

Progress = Callable[[str, float], None]

FIGURE = "camera -> observation latency, remote camera on loopback: p95"
BAR_MS = 40.0
_ARM, _RIG = "dofbot", "table"
_RATE_HZ, _SECONDS, _WARM_S = 30.0, 20.0, 1.0
_READY_S = 30.0


def rows_of(on_progress: Progress, seconds: float = _SECONDS) -> Iterator[Row]:
    """Measure for as long and yield the row; raises LabFailed where the camera is not served."""
    with tempfile.TemporaryDirectory(prefix="tandem-camera-") as folder, _served(Path(folder)) as (endpoint, key):
        frames_ms, sightings_ms = _latencies(endpoint, key, seconds, lambda share: on_progress(FIGURE, share))
    value = float(np.quantile(sightings_ms, 0.95)) if sightings_ms.size else None
    picture = f"{np.quantile(frames_ms, 0.5):.1f} / {np.quantile(frames_ms, 0.95):.1f}" if frames_ms.size else "none"
    median = f"{np.quantile(sightings_ms, 0.5):.1f}" if sightings_ms.size else "none"
    told = (
        f"median {median} ms; picture alone, median / p95: {picture} ms; {sightings_ms.size} pictures 640x480, JPEG, "
        f"CURVE, {sightings_ms.size / seconds:.1f} sighted a second of {_RATE_HZ:.0f}"
    )
    yield at_most(FIGURE, value, "ms", BAR_MS, told)


def record_desk(folder: Path) -> None:
    """Write a folder camera that shows the lab's desk with the block on it."""
    arm = load_arm(_ARM)
    rig = arm.rig(_RIG)
    cache = folder.with_name(f"{folder.name}-cache")
    renderer = LabRenderer(arm, rig, LAB_INTRINSICS, nominal_camera(rig), cache, np.random.default_rng(0))
    block = Pose.from_rpy([*rig.area_center_m, 0.015], [0.0, 0.0, 0.3])
    rgb = renderer.draw(arm.joint_angles(rig.home_rad), block)
    renderer.close()
    FolderWriter(folder, "desk", _RATE_HZ).write(Frame("desk", 0, 0, rgb, LAB_INTRINSICS))


@contextmanager
def _served(folder: Path) -> Generator[tuple[str, ClientKey]]:
    """Serve the recorded desk in another process; give where, and a key."""
    record_desk(folder / "desk")
    key = KeyRing(folder / "keys").new("bench")
    words = ["camera", "serve", "--camera", f"folder:{folder / 'desk'}", "--endpoint", "tcp://127.0.0.1:*", "--keys"]
    with ExitStack() as stack:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.main", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "TANDEM_DATA": str(folder), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
                preexec_fn=before_exec(signal.SIGTERM),
            )  # fmt: skip
        stack.callback(_end, process)
        end_s = time.monotonic() + _READY_S
        while True:
            said = (folder / "log").read_text(encoding="utf-8", errors="replace")
            ready = re.search(r"ready: serving \S+ on (\S+)", said)
            if ready is not None:
                break
            if process.poll() is not None or time.monotonic() > end_s:
                raise LabFailed(f"the camera is not served: {said[-1000:]}")
            time.sleep(0.05)
        yield ready[1], key


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=10.0)


def _latencies(
    endpoint: str, key: ClientKey, seconds: float, on_share: Callable[[float], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return how late each picture, and each sighting, was when it could be had (ms)."""
    rig = load_arm(_ARM).rig(_RIG)
    frames_ms: list[float] = []
    sightings_ms: list[float] = []
    with RemoteCamera(endpoint, key=key) as camera:
        tracker = CameraBlockSource(camera, MarkerLocator(rig))
        try:
            camera.wait(10.0)
            time.sleep(_WARM_S)
            began_s = time.monotonic()
            last_frame_ns = last_ns = time.monotonic_ns()
            while time.monotonic() - began_s < seconds:
                time.sleep(0.001)  # what a figure can be off by
                sighting = tracker.read_block()
                now_ns = time.monotonic_ns()
                if sighting is not None and sighting.stamp_ns > last_ns:
                    last_ns = sighting.stamp_ns
                    sightings_ms.append((now_ns - last_ns) * 1e-6)
                last_frame_ns = _note(camera, last_frame_ns, frames_ms)
                on_share((time.monotonic() - began_s) / seconds)
        finally:
            tracker.close()
    on_share(1.0)
    return np.array(frames_ms), np.array(sightings_ms)


def _note(camera: RemoteCamera, last_ns: int, late_ms: list[float]) -> int:
    try:
        frame = camera.read(1.0)
    except StaleFrame:
        return last_ns
    if frame.stamp_ns <= last_ns:
        return last_ns
    late_ms.append((time.monotonic_ns() - frame.stamp_ns) * 1e-6)
    return frame.stamp_ns
