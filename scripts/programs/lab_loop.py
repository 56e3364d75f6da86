"""Lab: the world, the servo board and the stage hand of a lab, advanced together in real time."""

from __future__ import annotations

import numpy as np

from bridge.clock import MonotonicClock
from bridge.errors import BadMessage
from hardware.virtual.dofbot_board import DofbotBoard
from scripts.programs.lab_eye import SceneMirror
from scripts.programs.lab_stage import (
    AskStatus,
    BeginAttempt,
    EndAttempt,
    HoldBoard,
    PlaceBlock,
    StageRequest,
    StageServer,
    StageStatus,
)
from sim.errors import SimError
from sim.lab import LabWorld
from sim.world import PHYSICS_HZ
from urdf.pose import Pose

_STEP_NS = round(1e9 / PHYSICS_HZ)
_SCENE_STEPS = 4  # poses for the camera, and a look for the stage hand, at 60 Hz
_LATE_NS = 50_000_000


class Lab:
    """The running parts. `turn` advances everything by one physics step at its time."""

    def __init__(self, world: LabWorld, board: DofbotBoard, mirror: SceneMirror, stage: StageServer, seed: int) -> None:
        self.world, self.board = world, board
        self.lost_ns = 0
        self._mirror, self._stage = mirror, stage
        self._clock = MonotonicClock()
        self._hand = np.random.default_rng([seed, 1])  # where a person puts the block
        self._turns = 0
        self._due_ns = self._clock.now_ns()

    def turn(self) -> None:
        """Wait for the next step's time and take it; what physics cannot catch up on is lost, and counted."""
        self._clock.sleep_until(self._due_ns)
        now_ns = self._clock.now_ns()
        if now_ns - self._due_ns > _LATE_NS:
            self.lost_ns += now_ns - self._due_ns
            self._due_ns = now_ns
        self.board.step(now_ns)
        self.world.step(1 / PHYSICS_HZ)
        self._due_ns += _STEP_NS
        if self._turns % _SCENE_STEPS == 0:
            self._mirror.write(*self.world.scene(), stamp_ns=self._clock.now_ns())
            self._serve_stage()
        self._turns += 1

    def status(self, error: str = "") -> StageStatus:
        """Return how the lab does."""
        return StageStatus(
            attempts=self.world.attempts,
            physics_s=self.world.physics_steps / PHYSICS_HZ,
            lost_s=self.lost_ns * 1e-9,
            frames=self._mirror.frames,
            error=error,
        )

    def _serve_stage(self) -> None:
        error = ""
        try:
            request = self._stage.receive()
            if request is None:
                return
            self._do(request)
        except (SimError, BadMessage) as problem:
            error = str(problem)
        self._stage.reply(self.status(error))

    def _do(self, request: StageRequest) -> None:
        match request:
            case PlaceBlock(place):
                if place is None:
                    self.world.place_block(self._hand)
                else:
                    self.world.place_block_at(*place)
            case BeginAttempt():
                self.world.begin_attempt()
            case EndAttempt():
                self.world.end_attempt()
            case HoldBoard(place):
                pose = None if place is None else Pose(np.array(place[:3]), np.array(place[3:]))
                self._mirror.hold_up(pose)
            case AskStatus():
                pass
