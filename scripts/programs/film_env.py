"""Film env: watches an environment while somebody acts in it, and makes a film, or paces it where it has a window."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pybullet as bullet

from bridge.clock import MonotonicClock
from bridge.encoding import Phase
from bridge.loop import LoopStep
from scripts.programs.env_sheet import SCENE_PX, Progress, compose
from scripts.programs.reel import Reel
from scripts.programs.scene_eye import SceneEye, goal_lines
from scripts.programs.view_tiles import ViewPainter
from sim.env import ArmEnv
from sim.scene_view import orbit

FRAMES_PER_S = 10
#: How long the end of an episode stays on the film.
_TAIL_S = 1.2
_PACE_S = 0.05
_GOAL_COLOR, _GOAL_WIDTH_PX = (0.11, 0.37, 0.66), 3.0
#: Lines in a window are slow: of a circle only every so many point.
_SPARSE = 4


class Audience(Protocol):
    """Whoever watches the episodes of an environment. It is the recorder of the environment's control loop, too."""

    def record(self, step: LoopStep) -> None:
        """Take in one control period."""
        ...

    def begin(self, env: ArmEnv, number: int) -> None:
        """An episode begins: the world is as it starts."""
        ...

    def end(self, success: bool, verdict: str) -> None:
        """The episode is over."""
        ...


class EnvFilm:
    """Films the scene and the camera views of every episode into one reel. Implements `Audience`."""

    def __init__(self, title: str, remark: str, episodes: int) -> None:
        self.reel = Reel(FRAMES_PER_S)
        self._title, self._remark, self._episodes = title, remark, episodes
        self._env: ArmEnv | None = None
        self._outcomes: tuple[bool, ...] = ()
        self._number = self._periods = 0

    def begin(self, env: ArmEnv, number: int) -> None:
        """Look at the start of an episode."""
        if env is not self._env:
            self._env = env
            self._eye = SceneEye(env, SCENE_PX)
            self._painters = [ViewPainter(view, env.description, env.rig) for view in env.observer.spec.views]
        self._number, self._periods = number, 0
        self._phase = env.attempt.phase

    def record(self, step: LoopStep) -> None:
        """Take a picture every other control period, before the arm moves."""
        if self._periods % round(20 / FRAMES_PER_S) == 0:
            self._shoot(step.phase)
        self._periods += 1
        self._phase = step.phase

    def end(self, success: bool, verdict: str) -> None:
        """Hold the last picture with the verdict for a moment."""
        self._outcomes += (success,)
        for _ in range(round(_TAIL_S * FRAMES_PER_S)):
            self._shoot(self._phase, verdict, success)

    def write(self, path: Path, on_try: Callable[[str], None]) -> None:
        """Write the film."""
        self.reel.write(path, on_try)

    def _shoot(self, phase: Phase, verdict: str = "", success: bool = False) -> None:
        env = self._env
        assert env is not None
        tiles = [painter.paint(env.observer.cameras[painter.view.key].read()) for painter in self._painters]
        progress = Progress(
            self._number, self._episodes, env.robot.now_ns() * 1e-9, phase, self._outcomes, verdict, success
        )
        scene = self._eye.picture(success)
        self.reel.add(compose(scene, tiles, self._title, self._remark, progress))


class WindowPace:
    """Keeps a world with a window from running faster than the clock on the wall. Implements `Audience`."""

    def __init__(self) -> None:
        self._clock = MonotonicClock()
        self._deadline_ns = self._clock.now_ns()

    def begin(self, env: ArmEnv, number: int) -> None:
        """Look at arm and goal, and start the clock of an episode."""
        client = env.world.client
        distance_m, yaw_deg, pitch_deg, target_m = orbit(env.rig)
        bullet.configureDebugVisualizer(bullet.COV_ENABLE_GUI, 0, physicsClientId=client)
        bullet.resetDebugVisualizerCamera(distance_m, yaw_deg, pitch_deg, target_m.tolist(), physicsClientId=client)
        bullet.removeAllUserDebugItems(physicsClientId=client)
        for line_m in goal_lines(env):
            for a, b in pairwise(line_m[::_SPARSE] if len(line_m) > _SPARSE else line_m):
                bullet.addUserDebugLine(a.tolist(), b.tolist(), _GOAL_COLOR, _GOAL_WIDTH_PX, physicsClientId=client)
        self._deadline_ns = self._clock.now_ns()

    def record(self, step: LoopStep) -> None:
        """Wait until this period would be over on a real arm."""
        self._deadline_ns = max(self._deadline_ns + round(_PACE_S * 1e9), self._clock.now_ns())
        self._clock.sleep_until(self._deadline_ns)

    def end(self, success: bool, verdict: str) -> None:
        """Leave a moment to look at how it ended."""
        self._clock.sleep_until(self._clock.now_ns() + round(_TAIL_S * 1e9))
