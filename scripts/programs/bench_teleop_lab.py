"""A scripted person grasps the block in the lab: landmarks as a model gives them, arm and camera over the bridge.

They know where the block is from the lab's camera, as somebody beside the arm sees it, and correct nothing on the way.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bridge.actions import jaw_heading
from bridge.loop import ControlLoop
from bridge.observation import ObservationSpec
from perception.body import Side
from perception.retarget_tool import natural_scale
from perception.teleop_policy import Deadman
from scripts.programs.figures import Row, at_least
from scripts.programs.grasp_track import grasp_waypoints
from scripts.programs.lab_process import LabProcess
from scripts.programs.lab_stage import StageHand
from scripts.programs.pose_track import pose_track
from scripts.programs.robot_eyes import EyesKind, open_eyes
from scripts.programs.robot_link import RobotLink
from scripts.programs.robot_run import await_new_sighting
from scripts.programs.teleop_arm import TeleopArm, served_arm
from scripts.programs.teleop_controls import TeleopControls
from scripts.programs.teleop_session import Mode, TeleopSession, TeleopSetup, free_attempt
from scripts.programs.teleop_source import RecordedSightings
from scripts.settled_memory import settled_memory
from sim.lab_truth import Outcome, TruthFile

LIFTED = "scripted person: block lifted in the lab over the bridge"
ATTEMPTS = 10
_SETUP = TeleopSetup(Mode.TOOL, Side.RIGHT, mirror=False, deadman=Deadman.HAND, turning=True)


def lab_row(on_progress: Callable[[str, float], None], attempts: int = ATTEMPTS, seed: int = 0) -> Row:
    """Return how many of the attempts lifted the block, as the lab's truth has it."""
    outcomes = lift_in_lab(attempts, seed, lambda share: on_progress(LIFTED, share))
    heights_mm = ", ".join(f"{1e3 * outcome.highest_m:.0f}" for outcome in outcomes)
    told = f"{attempts} attempts, lifted by {heights_mm} mm; lab seed {seed}, level mild; load {os.getloadavg()[0]:.1f}"
    return at_least(LIFTED, sum(outcome.success for outcome in outcomes) / attempts, "", 0.9, told)


def lift_in_lab(attempts: int, seed: int, on_share: Callable[[float], None]) -> list[Outcome]:
    """Start a lab, have the block grasped so many times, each time somewhere else, and return what really happened."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-")))
        lab = stack.enter_context(LabProcess(seed=seed, data=folder))
        stack.enter_context(settled_memory())
        link = RobotLink.of(lab.robot)
        arm = stack.enter_context(served_arm("lab", link))
        eyes = open_eyes(lab.robot, arm.description, arm.rig, ObservationSpec(), EyesKind.MARKERS, stack)
        hand = StageHand(lab.robot.stage_endpoint)
        stack.callback(hand.close)
        loop = ControlLoop(arm.robot, arm.clock, eyes.source, free_attempt(arm, Mode.TOOL))
        for number in range(attempts):
            loop.move_to(arm.rig.home_rad)
            hand.place_block()
            hand.begin_attempt()
            await_new_sighting(loop, arm.clock)
            _grasp(arm, loop, number)
            hand.end_attempt()
            on_share((number + 1) / attempts)
        return list(TruthFile.load(Path(lab.robot.truth_path)).outcomes)


def _grasp(arm: TeleopArm, loop: ControlLoop, seed: int) -> None:
    """Have a person grasp the block where the camera sees it, and lift it."""
    sighting = loop.source.read_block()
    if sighting is None:
        return
    block = arm.rig.desk_from_base @ sighting.base_from_block
    home_m, home_rad = loop.attempt.motion.locate(arm.rig.home_rad)
    turn_rad = math.remainder(jaw_heading(block.yaw_rad, block.position_m) - home_rad, math.pi)
    scale = natural_scale(arm.rig)
    way = grasp_waypoints(home_m, block.position_m[:2], arm.rig, scale, turn_rad=turn_rad)
    sightings = RecordedSightings(pose_track(way, Side.RIGHT, np.random.default_rng(seed)), arm.clock)
    controls = TeleopControls(arm.clock, (), "d")
    TeleopSession(arm, _SETUP, sightings, controls, None, lambda text: None).run()
