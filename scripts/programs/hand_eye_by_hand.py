"""A hand-eye calibration whose arm somebody else moves: a sample is taken whenever a person says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bridge.clock import MonotonicClock
from bridge.ports import Camera, Clock, Frame, Robot
from calibration.errors import RoutineStopped, SampleRefused
from calibration.hand_eye import HandEyeResult
from calibration.hand_eye_routine import HandEyeRoutine
from scripts.programs.hand_eye_run import Pattern, sample_of
from urdf.pose import Array

_READINGS, _WATCH_S, _PAUSE_S = 4, 8.0, 0.15


class HandEyeByHand:
    """Reads the arm and commands nothing. `step_rad` (n,) is the step of each joint's reading."""

    def __init__(
        self,
        routine: HandEyeRoutine,
        robot: Robot,
        step_rad: Array,
        camera: Camera,
        pattern: Pattern,
        clock: Clock | None = None,
    ) -> None:
        self.skipped: list[str] = []
        self._routine, self._robot, self._step_rad = routine, robot, step_rad
        self._camera, self._pattern, self._clock = camera, pattern, clock or MonotonicClock()

    def run(self, wanted: int, agrees: Callable[[str], bool], advance: Callable[[str], None]) -> HandEyeResult:
        """Ask for poses until there are `wanted` samples, and solve; raises RoutineStopped, all samples kept."""
        while (count := len(self._routine.samples)) < wanted:
            ask = f"{wanted - count} to go: put the arm where the camera sees the board, turned otherwise than before"
            if not agrees(ask):
                raise RoutineStopped(f"stopped with {count} of {wanted} samples, which are kept for the next run")
            try:
                advance(self._sample())
            except SampleRefused as refused:
                self.skipped.append(str(refused))
                advance(f"skipped: {refused}")
        return self._routine.solve()

    def _sample(self) -> str:
        """Read the arm before, between and after the pictures."""
        readings: list[Array] = []
        frames: list[Frame] = []
        due_ns = self._clock.now_ns()
        end_ns = due_ns + round(_WATCH_S * 1e9)
        while len(frames) < _READINGS and self._clock.now_ns() < end_ns:
            readings.append(self._reading())
            frame = self._camera.read(1.0)
            if all(frame.seq != f.seq for f in frames):
                frames.append(frame)
            due_ns += round(_PAUSE_S * 1e9)
            self._clock.sleep_until(due_ns)
        readings.append(self._reading())
        return sample_of(self._routine, self._pattern, readings, self._step_rad, frames)

    def _reading(self) -> Array:
        state = self._robot.read_state()
        return np.array(state.reading_rad or state.position_rad)
