"""A servo arm simulated the slow way, half a millisecond at a time: what the exact model is held against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from urdf.pose import Array

TICK_S = 5e-4
Command = tuple[float, Array, float]


@dataclass(frozen=True)
class BruteArm:
    """Arrays (n,). Commands are (time_s, target (n,), duration_s)."""

    dead_time_s: float
    skew_s: float
    speed_rad_s: Array
    backlash_rad: Array
    dead_band_rad: Array

    def motion(self, commands: Iterable[Command], duration_s: float) -> Array:
        """Return where the joints stand (ticks, n), at 0, TICK_S, 2 TICK_S ...; at first as the first command says."""
        commands = list(commands)
        n = len(self.speed_rad_s)
        delay = self.dead_time_s + self.skew_s * np.arange(n) / (n - 1)
        servo = commands[0][1].copy()
        joint, target, pace = servo.copy(), servo.copy(), np.zeros(n)
        starts: dict[int, list[tuple[int, int]]] = {}
        for k, command in enumerate(commands):
            for j in range(n):
                starts.setdefault(round((command[0] + delay[j]) / TICK_S), []).append((k, j))
        rows = np.empty((round(duration_s / TICK_S), n))
        half = self.backlash_rad / 2
        for tick in range(len(rows)):
            for k, j in starts.get(tick, ()):
                way = commands[k][1][j] - servo[j]
                goes = abs(way) > self.dead_band_rad[j]
                target[j] = commands[k][1][j] if goes else servo[j]
                pace[j] = min(abs(way) / max(commands[k][2], 0.02), self.speed_rad_s[j])
            rows[tick] = joint
            way = target - servo
            servo = servo + np.sign(way) * np.minimum(np.abs(way), pace * TICK_S)
            joint = np.minimum(np.maximum(joint, servo - half), servo + half)
        return rows
