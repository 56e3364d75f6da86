"""The process of the lab's depth camera at the wrist: mirrors the newest poses, publishes colours and metres."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from bridge.clock import MonotonicClock
from scripts.programs.lab_eye import SceneMirror
from scripts.programs.process_tree import deaf_children, die_with_parent
from sim.lab_truth import LabTruth
from urdf.description import load_arm

FRAMES_PER_S = 10.0


@dataclass(frozen=True, slots=True)
class WristEyeSetup:
    """What the process needs to know, the truth included."""

    arm: str
    rig: str
    truth: LabTruth
    endpoint: str


def start_wrist_eye(setup: WristEyeSetup, mirror: SceneMirror) -> BaseProcess:
    """Start the process; it ends with `terminate()` or with this process."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_watch, args=(setup, mirror, os.getpid()), name="lab wrist camera", daemon=True)
    with deaf_children():
        process.start()
    return process


def _watch(setup: WristEyeSetup, mirror: SceneMirror, parent_pid: int) -> None:
    from hardware.cameras.remote import FrameSender
    from sim.lab_depth import LabDepthEye

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL, parent_pid)
    os.nice(5)
    arm = load_arm(setup.arm)
    eye = LabDepthEye(arm, arm.rig(setup.rig), setup.truth)
    sender, clock = FrameSender(setup.endpoint), MonotonicClock()
    period_ns, seq, due_ns = round(1e9 / FRAMES_PER_S), 0, clock.now_ns()
    while True:
        scene = mirror.read()
        if scene is not None:
            angles, block, stamp_ns = scene
            sender.send(eye.draw(angles, block, seq, stamp_ns))
            seq += 1
        due_ns = max(due_ns + period_ns, clock.now_ns())
        clock.sleep_until(due_ns)
