"""Attempts of a policy in a QuickLab: RobotRun as on any arm; what an arm that faults costs is an attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bridge.encoding import Phase
from bridge.errors import BridgeError
from bridge.grasp import GraspAttempt
from hardware.errors import HardwareError
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from scripts.evaluate import PolicyChoice
from scripts.programs.quick_lab import QuickLab
from scripts.programs.robot_run import AttemptRecord, RobotRun
from scripts.run import make_policy
from sim.errors import SimError
from sim.lab_truth import TruthFile


@dataclass(frozen=True, slots=True)
class QuickAttempt:
    """One attempt: what the camera saw, and what really happened."""

    seen: AttemptRecord
    really: bool


class QuickRun:
    """Runs attempts one after the other; connects again after a fault, as a person would."""

    def __init__(self, lab: QuickLab, choice: PolicyChoice) -> None:
        self.lab, self._choice = lab, choice
        self._policy = make_policy(choice, lab.description, lab.rig)
        self._runner: RobotRun | None = None
        self._tracker: CameraBlockSource | None = None
        self._between = True
        self._fault = ""
        lab.camera.wanted = self._is_looked_at

    def attempts(
        self, count: int, advance: Callable[[QuickAttempt], None] = lambda attempt: None
    ) -> list[QuickAttempt]:
        """Run so many attempts."""
        done: list[QuickAttempt] = []
        for _ in range(count):
            done.append(self._attempt())
            advance(done[-1])
        return done

    def close(self) -> None:
        """Stop looking; the lab stays."""
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None

    def _attempt(self) -> QuickAttempt:
        before = self.lab.world.attempts
        try:
            record = self._ready().attempt(self)
        except (BridgeError, HardwareError, SimError) as error:
            # An arm that faults has failed; it is taken hold of again where it stands, its fault gone.
            if self.lab.world.attempts == before:
                self.lab.begin_attempt()
            self.lab.end_attempt()
            self._runner = None
            record = AttemptRecord(self.lab.world.attempts, False, str(error), None, 0.0, 0.0)
        outcome = TruthFile.load(self.lab.truth_path).outcomes[-1]
        return QuickAttempt(record, outcome.success)

    def _ready(self) -> RobotRun:
        if self._runner is None:
            robot = self.lab.connect()
            if self._tracker is None:
                self._tracker = CameraBlockSource(
                    self.lab.camera, MarkerLocator(self.lab.rig), clock=self.lab.clock, own_thread=False
                )
            runner = RobotRun(
                robot, self.lab.rig, self._tracker, self._policy, self._choice.spec, self._choice.action_repeat,
                self.lab.clock,
            )  # fmt: skip
            self._between = True
            self._runner = runner
            runner.go_home()
        return self._runner

    def _is_looked_at(self) -> bool:
        if self._between or self._runner is None:
            return False
        attempt = self._runner.loop.attempt
        if attempt.phase in (Phase.HOLD, Phase.DONE):
            return True
        return not isinstance(attempt, GraspAttempt) or attempt.looking

    # Stage ---------------------------------------------------------------------------------------
    def place_block(self) -> None:
        """Have the block put somewhere else, and look from now on."""
        self._between = False
        self.lab.place_block()

    def begin_attempt(self) -> int:
        """Have the block watched."""
        return self.lab.begin_attempt()

    def end_attempt(self) -> None:
        """Have it written down; nobody looks until the next block."""
        self.lab.end_attempt()
        self._between = True
