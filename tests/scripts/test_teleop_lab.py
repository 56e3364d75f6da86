"""A scripted person before the lab: four processes, a bus that speaks bytes, the camera's own sight of the block."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge.actions import jaw_heading
from bridge.episode_attempts import read_demonstrations
from bridge.loop import ControlLoop, LoopStep
from bridge.messages import RobotState
from bridge.pick_place import PickPlaceAttempt
from bridge.ports import BlockSource
from bridge.sensing import PictureSource
from perception.body import PeopleSighting, Side
from perception.retarget_tool import natural_scale
from perception.teleop_policy import Deadman, TeleopMoment
from scripts.programs.bench_teleop_lab import lift_in_lab
from scripts.programs.episode_recording import RecordedRun, recording
from scripts.programs.grasp_track import leading_waypoints, placing_waypoints
from scripts.programs.lab_process import LabProcess
from scripts.programs.pose_track import Waypoint, pose_track
from scripts.programs.robot_link import RobotLink
from scripts.programs.teleop_arm import TeleopArm, served_arm
from scripts.programs.teleop_controls import TeleopControls
from scripts.programs.teleop_ground import Ground
from scripts.programs.teleop_session import Mode, TeleopNotes, TeleopSetup
from scripts.programs.teleop_source import RecordedSightings
from scripts.programs.teleop_task import TaskSession
from scripts.teleop_task import PERIOD_S, ShownTask, TaskChoice, open_ground
from sim.lab_truth import TruthFile
from sim.tasks.task import Task

SETUP = TeleopSetup(
    Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.HAND, turning=True, return_s=None, let_go_first=True
)


@pytest.mark.deep
def test_a_scripted_person_grasps_the_block_in_the_lab_over_the_bridge() -> None:
    outcomes = lift_in_lab(3, 0, lambda share: None)
    assert sum(outcome.highest_m > 0.03 for outcome in outcomes) >= 2


class Onlooker:
    """A person who looks where the block lies, holds still until the arm follows, and then moves."""

    def __init__(self, arm: TeleopArm, ground: Ground) -> None:
        self._arm, self._ground = arm, ground
        self._track: RecordedSightings | None = None
        self._moving: tuple[Waypoint, ...] = ()
        self._attempts = 0

    # Ground --------------------------------------------------------------------------------------
    @property
    def task(self) -> Task:
        return self._ground.task

    @property
    def source(self) -> BlockSource:
        return self._ground.source

    @property
    def pictures(self) -> PictureSource | None:
        return self._ground.pictures

    @property
    def on_state(self) -> Callable[[RobotState], None]:
        return self._ground.on_state

    def prepare(self, loop: ControlLoop) -> None:
        self._ground.prepare(loop)
        self._attempts += 1
        lowered, raised, *way = self._way(loop)
        self._play((lowered, raised, replace(raised, time_s=raised.time_s + 20.0)))
        self._moving = tuple(way)

    def show(self, moment: TeleopMoment, step: LoopStep, notes: TeleopNotes) -> None:
        if moment.state.moves and self._moving:
            self._play(self._moving)
            self._moving = ()

    def _play(self, way: Sequence[Waypoint]) -> None:
        self._track = RecordedSightings(
            pose_track(way, Side.RIGHT, np.random.default_rng(self._attempts)), self._arm.clock
        )

    def watch(self, step: LoopStep) -> bool:
        return self._ground.watch(step)

    def succeeded(self, loop: ControlLoop) -> bool:
        return self._ground.succeeded(loop)

    def clear(self, loop: ControlLoop) -> None:
        self._ground.clear(loop)

    def _way(self, loop: ControlLoop) -> tuple[Waypoint, ...]:
        sighting = loop.source.read_block()
        assert sighting is not None
        rig, attempt = self._arm.rig, loop.attempt
        block, scale = rig.desk_from_base @ sighting.base_from_block, natural_scale(rig)
        home_m, home_rad = attempt.motion.locate(rig.home_rad)
        if not isinstance(attempt, PickPlaceAttempt):
            return leading_waypoints(home_m, [block.position_m[:2]], scale)
        assert attempt.goal_m is not None
        turn_rad = math.remainder(jaw_heading(block.yaw_rad, block.position_m) - home_rad, math.pi)
        return placing_waypoints(home_m, block.position_m[:2], attempt.goal_m[:2], turn_rad, rig, scale)

    # Sightings -----------------------------------------------------------------------------------
    def newest(self) -> PeopleSighting | None:
        return None if self._track is None else self._track.newest()

    def missing(self) -> str:
        return "" if self._track is None else self._track.missing()

    def over(self) -> bool:
        return False


@pytest.mark.deep
@pytest.mark.parametrize("task", list(ShownTask))
def test_a_person_shows_a_task_in_the_lab_and_it_is_recorded_as_its_policies_see_it(
    task: ShownTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    choice = TaskChoice.of(task, 3, ("state", "proprioception"), 64, 3, 0)
    with ExitStack() as stack:
        lab = stack.enter_context(LabProcess(data=tmp_path))
        link = RobotLink.of(lab.robot)
        arm = stack.enter_context(served_arm("lab", link))
        ground = Onlooker(arm, open_ground(choice, arm, link, stack, print))
        run = RecordedRun("lab", arm.description, arm.rig, PERIOD_S, "teleop tool")
        record = stack.enter_context(recording(tmp_path, run, arm.clock, print, choice.header(ground, arm)))
        controls = TeleopControls(arm.clock, (), "d")
        session = TaskSession(
            arm, SETUP, ground, choice.spec, choice.action_repeat, choice.attempts, ground, controls, record.writer,
            print, ground.show,
        )  # fmt: skip
        assert session.run()
        truths = TruthFile.load(Path(lab.robot.truth_path)).outcomes
    seen = [bool(attempt.success) for attempt in session.shown]
    assert sum(seen) >= 2, session.shown
    if task is ShownTask.GRASP:
        assert seen == [truth.success for truth in truths]
    recorded = read_demonstrations(record.writer.path)
    assert [attempt.verdict == "success" for attempt in recorded.attempts] == seen
    assert all(attempt.observations["state"].shape[1] == 20 for attempt in recorded.attempts)
