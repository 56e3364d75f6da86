"""QuickCamera: a camera of the lab on a simulated clock. It takes a picture where somebody is going to look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bridge.errors import StaleFrame
from bridge.ports import Frame, Intrinsics
from scripts.programs.lab_eye import CAMERA_NAME, FRAMES_PER_S, SensorNoise
from scripts.programs.turn_clock import TurnClock
from sim.lab import LabWorld
from sim.lab_camera import LabRenderer
from urdf.pose import Pose

#: From the scene to the picture at whoever reads it: what rendering and sending take in the lab of several processes.
LATENCY_NS = 60_000_000


class LabPainter(Protocol):
    """Whoever draws what a camera of the lab sees: `DeskPainter`, or `sim.lab_depth.LabDepthEye` at the wrist."""

    def draw(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose, seq: int, stamp_ns: int) -> Frame:
        """Return the frame of a scene."""
        ...

    def close(self) -> None:
        """Give back what it draws with."""
        ...


class DeskPainter:
    """Draws what the camera before the arm sees, with its sensor's grain; frames carry the lens that it `says`."""

    def __init__(self, renderer: LabRenderer, says: Intrinsics, noise_rgb: float, seed: int) -> None:
        self.says, self._renderer = says, renderer
        self._noise = SensorNoise((says.height_px, says.width_px), np.random.default_rng([seed, 4]), noise_rgb)

    def draw(self, joint_angles_rad: Mapping[str, float], desk_from_block: Pose, seq: int, stamp_ns: int) -> Frame:
        """Return the frame of a scene."""
        picture = self._noise.add_to(self._renderer.draw(joint_angles_rad, desk_from_block))
        return Frame(CAMERA_NAME, seq, stamp_ns, picture, self.says)

    def close(self) -> None:
        """Give the renderer back."""
        self._renderer.close()


@dataclass(slots=True)
class _Shot:
    seq: int
    stamp_ns: int
    angles_rad: dict[str, float]
    desk_from_block: Pose


class QuickCamera:
    """A Camera. `tick` is called once a step; pictures are drawn when they are read, of the scene at their stamp.

    `wanted` says whether pictures are looked at now: drawing them is nearly all that this lab costs.
    """

    def __init__(self, painter: LabPainter, world: LabWorld, clock: TurnClock) -> None:
        self.wanted: Callable[[], bool] = lambda: True
        self._painter, self._world, self._clock = painter, world, clock
        self._period_ns = round(1e9 / FRAMES_PER_S)
        self._due_ns = self._seq = 0
        self._shots: list[_Shot] = []
        self._newest: Frame | None = None

    def tick(self, now_ns: int) -> None:
        """Note the scene when a picture is due."""
        if now_ns < self._due_ns or not self.wanted():
            return
        self._due_ns = now_ns + self._period_ns
        angles, block = self._world.scene()
        self._seq += 1
        self._shots = [*self._shots[-1:], _Shot(self._seq, now_ns, angles, block)]

    def read(self, max_age_s: float) -> Frame:
        """Return the newest picture that has had time to arrive; raises StaleFrame where it is older than asked for."""
        now_ns = self._clock.now_ns()
        if self._clock.closed:
            raise StaleFrame("the lab is closed")
        ready = [shot for shot in self._shots if shot.stamp_ns + LATENCY_NS <= now_ns]
        if ready and (self._newest is None or ready[-1].seq != self._newest.seq):
            shot = ready[-1]
            self._newest = self._painter.draw(shot.angles_rad, shot.desk_from_block, shot.seq, shot.stamp_ns)
        if self._newest is None or (now_ns - self._newest.stamp_ns) * 1e-9 > max_age_s:
            raise StaleFrame("the lab's camera has taken no picture of late")
        return self._newest

    def close(self) -> None:
        """Give the painter back."""
        self._painter.close()
