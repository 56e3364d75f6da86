"""CommandPath: what a command becomes on its way to the servos: start gate, start budget, then the safety filter."""

from __future__ import annotations

import numpy as np

from bridge.safety import MAX_DURATION_S, MIN_DURATION_S, SafetyFilter, SafetyOutput
from hardware.start_budget import StartBudget
from hardware.start_gate import Gate, through_gate
from urdf.description import ArmDescription, Rig
from urdf.pose import Array


class CommandPath:
    """Remembers the last output, the gate and the budget. No input, no output, no clock of its own."""

    def __init__(
        self, description: ArmDescription, rig: Rig, period_s: float, standing_rad: Array, now_ns: int
    ) -> None:
        """Begin where the arm stands (n,)."""
        self._lower, self._upper = description.lower_rad, description.upper_rad
        self._filter = SafetyFilter(description, rig, period_s)
        self._budget = StartBudget(description.max_speed_rad_s)
        self._safety = self._filter.initial(standing_rad)
        self._gate = Gate.CLOSED
        self._starts = self._budget.at_rest(now_ns)

    @property
    def position_rad(self) -> Array:
        """The last output (n,)."""
        return self._safety.position_rad

    @property
    def gate(self) -> Gate:
        """How the next command will be met."""
        return self._gate

    def stand(self, position_rad: Array, now_ns: int) -> None:
        """Begin anew: the arm has been stopped, or found, at `position_rad` (n,)."""
        self._safety = self._filter.initial(position_rad)
        self._gate = Gate.CLOSED
        self._starts = self._budget.at_rest(now_ns, self._starts)

    def step(self, target_rad: Array, measured_rad: Array, duration_s: float, now_ns: int) -> SafetyOutput:
        """Return what may be sent now towards `target_rad` (n,), which is wanted after `duration_s`."""
        duration_s = min(max(duration_s, MIN_DURATION_S), MAX_DURATION_S)
        gate = self._gate
        if target_rad.shape == self._lower.shape and np.isfinite(target_rad).all():  # the filter refuses anything else
            gate, target_rad = self._shaped(target_rad, measured_rad, duration_s, now_ns)
        self._safety, output = self._filter.step(self._safety, target_rad, measured_rad, duration_s)
        self._gate = gate
        velocity = self._safety.velocity_rad_s.tolist()
        self._starts = self._budget.spend(self._starts, velocity, now_ns, output.duration_s)
        return output

    def _shaped(self, target_rad: Array, measured_rad: Array, duration_s: float, now_ns: int) -> tuple[Gate, Array]:
        """Return the gate after this command, and how far towards its target (n,) it may go for gate and budget."""
        at, gate = self._safety.position_rad, self._gate
        reachable = np.minimum(np.maximum(target_rad, np.minimum(self._lower, at)), np.maximum(self._upper, at))
        if gate is not Gate.OPEN:
            gate, let_through = through_gate(gate, reachable, at, measured_rad, duration_s)
            if let_through is not reachable:
                target_rad = reachable = let_through
        away = reachable - at
        part = self._budget.scale(self._starts, (away / duration_s).tolist(), now_ns)
        return gate, target_rad if part >= 1.0 else at + part * away
