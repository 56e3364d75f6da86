"""The part of `tandem teleop` that shows a task: what is recorded of it, and where the attempts are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np

from bridge.episode_decisions import DemonstrationHeader
from bridge.episode_witness import demonstration_header
from bridge.grasp import CONTROL_HZ
from bridge.observation import PRIVILEGED, ObservationSpec, Part
from scripts.cli import data_root
from scripts.programs.demonstration_score import SHAPING_DISCOUNT
from scripts.programs.lab_stage import StageHand
from scripts.programs.robot_eyes import EyesKind, open_eyes
from scripts.programs.robot_link import RobotLink
from scripts.programs.teleop_arm import TeleopArm
from scripts.programs.teleop_ground import ArmGround, Ground, SimGround
from scripts.simulation import environment_id, observation_spec
from sim.sim_camera import SimCamera
from sim.world import ArmWorld
from urdf.errors import ArmError

PERIOD_S = 1.0 / CONTROL_HZ


class ShownTask(StrEnum):
    """What a person can show."""

    GRASP = "grasp"
    PICK_PLACE = "pick-place"


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """Which task is shown, how often, and what of it is recorded. `seed`: of places and goals."""

    task: ShownTask
    attempts: int
    spec: ObservationSpec
    action_repeat: int
    seed: int

    @staticmethod
    def of(
        task: ShownTask, attempts: int, sees: tuple[str, ...], picture_px: int, repeat: int, seed: int
    ) -> TaskChoice:
        """Check what is asked for; raises ArmError or UnknownName."""
        for option, value, most in (("episodes", attempts, 10_000), ("action-repeat", repeat, 100)):
            if not 1 <= value <= most:
                raise ArmError(f"--{option} must be 1 to {most}, got {value}")
        if PRIVILEGED in sees:
            raise ArmError(f"--sees {PRIVILEGED}: no arm could show that; record what a policy can see")
        return TaskChoice(task, attempts, observation_spec(sees, picture_px, 1), repeat, seed)

    def header(self, ground: Ground, arm: TeleopArm) -> DemonstrationHeader:
        """Return what a recording says of the demonstrations in it."""
        attempt = ground.task.attempt
        layouts = attempt.observation_layout, attempt.action_layout
        header = demonstration_header(self.task, self.spec, *layouts, self.action_repeat, arm.description)
        header = msgspec.structs.replace(header, discount=SHAPING_DISCOUNT)
        if arm.world is None:
            return header
        name = environment_id(arm.description.name, self.task)
        return msgspec.structs.replace(header, environment=name, randomization="none", seed=self.seed)


class SimPictures:
    """The pictures of a simulated arm's cameras."""

    def __init__(self, world: ArmWorld, spec: ObservationSpec) -> None:
        """Raises UnknownName for a camera that the arm has not."""
        self._cameras = {view.key: SimCamera(world, view) for view in spec.views}

    def read(self) -> Mapping[str, Part]:
        """Take a picture with every camera."""
        return {key: camera.read() for key, camera in self._cameras.items()}


def open_ground(
    choice: TaskChoice, arm: TeleopArm, link: RobotLink | None, stack: ExitStack, tell: Callable[[str], None]
) -> Ground:
    """Return where the task is shown: in the arm's own simulated world, or before the cameras of a robot."""
    rng = np.random.default_rng(choice.seed)
    if arm.world is not None:
        taken = SimPictures(arm.world, choice.spec) if choice.spec.views else None
        return SimGround(arm.world, choice.task, arm.clock, taken, PERIOD_S, rng)
    assert link is not None
    eyes = open_eyes(link.address, arm.description, arm.rig, choice.spec, EyesKind.AUTO, stack, arm.name, data_root())
    stage = None
    if link.address.stage_endpoint:
        stage = StageHand(link.address.stage_endpoint)
        stack.callback(stage.close)
    on_state = eyes.on_state or (lambda state: None)
    return ArmGround(
        arm.description, arm.rig, choice.task, eyes.source, eyes.pictures, on_state, stage, arm.clock, PERIOD_S, rng,
        tell,
    )  # fmt: skip
