"""Rehearsal: the training world plays the same policy on a block that lies where a camera saw it lie."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bridge.loop import ControlLoop, LoopStep, run_episode
from bridge.ports import Policy
from scripts.programs.footage import Footage, Image, PhaseMarks
from sim.env import ArmEnv
from sim.lab_scene import nominal_camera
from sim.objects import BLOCK_SIZE_M
from sim.sim_robot import TrueBlock
from sim.world import render
from urdf.pose import Pose

#: TinyRenderer draws jagged edges: the picture is drawn this much finer, then averaged.
_OVERSAMPLE = 2
_FOV_Y_RAD = math.radians(50.4)
_NEAR_M, _FAR_M = 0.05, 3.0
_SKY_RGB = np.array([236, 241, 246], dtype=np.uint8)
#: Ten pictures a second of the 20 Hz loop.
_PERIODS_PER_PICTURE = 2


class Rehearsal:
    """Runs attempts in a training world and films them from where the lab's camera is drawn to stand."""

    def __init__(self, env: ArmEnv, policy: Policy, size_px: tuple[int, int]) -> None:
        self._env, self._policy, self._size_px = env, policy, size_px
        self._view = nominal_camera(env.rig)

    def film(self, desk_from_block: Pose) -> Footage:
        """Return the film of one attempt on a block that lies flat at that place and heading."""
        x, y, _ = desk_from_block.position_m
        block = Pose.from_rotvec([x, y, BLOCK_SIZE_M / 2], [0.0, 0.0, desk_from_block.yaw_rad])
        env = self._env
        env.reset(options={"block": block})
        camera = _Recorder(self)
        loop = ControlLoop(env.robot, env.robot, TrueBlock(env.robot), env.attempt, camera)
        run_episode(loop, self._policy, env.action_repeat)
        return Footage(camera.marks, tuple(camera.times_s), tuple(camera.pictures))

    def picture(self) -> Image:
        """Return the training world as it is now."""
        width, height = self._size_px
        rgb, _, bodies = render(
            self._env.world.client, self._view, _FOV_Y_RAD, _NEAR_M, _FAR_M, width * _OVERSAMPLE, height * _OVERSAMPLE
        )
        rgb = np.where((bodies < 0)[:, :, None], _SKY_RGB, rgb)
        return np.asarray(cv2.resize(rgb, self._size_px, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def now_s(self) -> float:
        """Return the training world's own time."""
        return self._env.robot.now_ns() * 1e-9


class _Recorder:
    """The control loop's recorder: notes the phases and takes a picture now and then."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self.marks = PhaseMarks()
        self.times_s: list[float] = []
        self.pictures: list[Image] = []
        self._rehearsal = rehearsal
        self._periods = 0

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        time_s = self._rehearsal.now_s()
        self.marks.note(step, time_s)
        if self._periods % _PERIODS_PER_PICTURE == 0:
            self.times_s.append(time_s)
            self.pictures.append(self._rehearsal.picture())
        self._periods += 1
