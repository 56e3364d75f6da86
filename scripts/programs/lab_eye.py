"""The lab's camera process: mirrors the newest body poses and publishes pictures.

TinyRenderer holds its process for tens of milliseconds a picture, which physics at 240 Hz cannot spare; so it has a
process of its own, and poses reach it through shared memory that is never locked.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.ports import Frame
from scripts.programs.process_tree import deaf_children, die_with_parent
from sim.lab_truth import CameraTruth
from urdf.description import load_arm
from urdf.pose import Array, Pose

CAMERA_NAME = "lab"
FRAMES_PER_S = 10.0
_NOISE_RGB = 2.0


class SceneMirror:
    """The newest joint angles and block pose, written by one process and read by another, without a lock.

    Two slots take turns: the one that was published last is left alone until the next but one scene, so a writer
    that is suspended half way disturbs nobody, and a reader that was overtaken by two scenes reads again.
    """

    def __init__(self, joint_names: tuple[str, ...]) -> None:
        self.joint_names = joint_names
        self._width = len(joint_names) + 7
        self._numbers = RawArray(ctypes.c_double, 2 * self._width)
        self._marks = RawArray(ctypes.c_int64, 4)  # scenes published, stamps of the two slots [ns], pictures taken
        self._board = RawArray(ctypes.c_double, 8)  # whether a printed board is held up, and where

    def _views(self) -> tuple[Array, NDArray[np.int64]]:
        numbers, marks = memoryview(self._numbers).cast("B"), memoryview(self._marks).cast("B")
        return np.frombuffer(numbers, dtype=np.float64).reshape(2, -1), np.frombuffer(marks, dtype=np.int64)

    def write(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose, stamp_ns: int) -> None:
        """Replace what the mirror shows."""
        numbers, marks = self._views()
        version = int(marks[0]) + 1
        slot = numbers[version % 2]
        slot[:-7] = [joint_angles_rad[name] for name in self.joint_names]
        slot[-7:-4], slot[-4:] = desk_from_block.position_m, desk_from_block.quat_xyzw
        marks[1 + version % 2] = stamp_ns
        marks[0] = version

    def read(self) -> tuple[dict[str, float], Pose, int] | None:
        """Return (joint angles, desk_from_block, stamp) of one instant, None before the first."""
        numbers, marks = self._views()
        while (version := int(marks[0])) > 0:
            copy, stamp_ns = numbers[version % 2].copy(), int(marks[1 + version % 2])
            if version == int(marks[0]):
                angles = dict(zip(self.joint_names, (float(v) for v in copy[:-7]), strict=True))
                return angles, Pose(copy[-7:-4], copy[-4:]), stamp_ns
        return None

    def hold_up(self, camera_from_sheet: Pose | None) -> None:
        """Show a printed board before the camera, or (None) no more."""
        board = np.frombuffer(memoryview(self._board).cast("B"), dtype=np.float64)
        board[0] = 0.0
        if camera_from_sheet is not None:
            board[1:4], board[4:] = camera_from_sheet.position_m, camera_from_sheet.quat_xyzw
            board[0] = 1.0

    def held_up(self) -> Pose | None:
        """Return `camera_from_sheet` of the printed board, None where nobody holds one."""
        board = np.frombuffer(memoryview(self._board).cast("B"), dtype=np.float64).copy()
        return Pose(board[1:4], board[4:]) if board[0] else None

    @property
    def frames(self) -> int:
        """How many pictures have been published."""
        return int(self._views()[1][3])

    def count_frame(self) -> None:
        """Note that one more picture was published."""
        self._views()[1][3] += 1


@dataclass(frozen=True, slots=True)
class EyeSetup:
    """What the camera process needs to know, the camera's true place included."""

    arm: str
    rig: str
    desk_from_camera: Pose
    endpoint: str
    cache: Path
    seed: int
    truth: CameraTruth = field(default_factory=CameraTruth)
    tool_from_marker: Pose | None = None


def start_eye(setup: EyeSetup, mirror: SceneMirror) -> BaseProcess:
    """Start the camera process; it ends with `terminate()` or with this process."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_watch, args=(setup, mirror, os.getpid()), name="lab camera", daemon=True)
    with deaf_children():  # Ctrl-C reaches the whole terminal; the lab ends its own children
        process.start()
    return process


def _watch(setup: EyeSetup, mirror: SceneMirror, parent_pid: int) -> None:
    from hardware.cameras.remote import FrameSender
    from scripts.programs.board_show import BOARD, sheet_print
    from sim.lab_camera import HeldBoard, LabRenderer
    from sim.lab_scene import LAB_INTRINSICS

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL, parent_pid)
    os.nice(5)  # a late picture is better than a late servo
    rng = np.random.default_rng(setup.seed)
    arm = load_arm(setup.arm)
    renderer = LabRenderer(
        arm, arm.rig(setup.rig), LAB_INTRINSICS, setup.desk_from_camera, setup.cache, rng,
        setup.truth, setup.tool_from_marker,
    )  # fmt: skip
    sender, clock = FrameSender(setup.endpoint), MonotonicClock()
    noise = SensorNoise((LAB_INTRINSICS.height_px, LAB_INTRINSICS.width_px), rng, setup.truth.noise_rgb)
    period_ns, seq = round(1e9 / FRAMES_PER_S), 0
    sheet: tuple[NDArray[np.uint8], float] | None = None
    due_ns = clock.now_ns()
    while True:
        scene = mirror.read()
        if scene is not None:
            angles, block, stamp_ns = scene
            held = mirror.held_up()
            if held is not None and sheet is None:
                sheet = sheet_print(BOARD)
            renderer.hold_up(None if held is None or sheet is None else HeldBoard(*sheet, held))
            picture = noise.add_to(renderer.draw(angles, block))
            sender.send(Frame(CAMERA_NAME, seq, stamp_ns, picture, LAB_INTRINSICS))
            mirror.count_frame()
            seq += 1
        due_ns = max(due_ns + period_ns, clock.now_ns())
        clock.sleep_until(due_ns)


class SensorNoise:
    """Grain as a cheap sensor has: drawn once, shifted at random for every picture."""

    def __init__(self, shape: tuple[int, int], rng: np.random.Generator, noise_rgb: float = _NOISE_RGB) -> None:
        self._rng = rng
        self._grain = np.clip(np.rint(rng.normal(0.0, noise_rgb, (*shape, 3))), -127, 127).astype(np.int16)

    def add_to(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the picture with this moment's grain."""
        shift = tuple(int(v) for v in self._rng.integers(0, self._grain.shape[:2]))
        grain = np.roll(self._grain, shift, axis=(0, 1))
        return np.clip(picture + grain, 0, 255).astype(np.uint8)
