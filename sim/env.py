"""ArmEnv: a Gymnasium environment made of the parts that also drive the physical arm."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.delayed import DelayedSource
from bridge.errors import BridgeError
from bridge.grasp import CONTROL_HZ, MAX_SIGHTING_AGE_S
from bridge.loop import ControlLoop, LoopStatistics, Recorder
from bridge.observation import ObservationSpec
from calibration.actuator import ActuatorModel
from sim.curriculum import FULL_STAGE, Stage
from sim.dressing import Dresser, pool_sizes_m
from sim.errors import SimError
from sim.objects import BLOCK_SIZE_M, ObjectKind, Placement, PoolSpec
from sim.observer import Observation, Observer
from sim.randomization import NONE, Randomization
from sim.randomization import randomization as preset
from sim.rendering import Renderer
from sim.scene_view import scene_picture
from sim.sim_camera import DepthEngine
from sim.sim_robot import SimRobot, TrueBlock
from sim.tasks import make_task
from sim.tasks.task import Outcome, Scene
from sim.world import PHYSICS_HZ, ArmWorld
from urdf.checks import check_number, check_whole, member_of
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

STATE_ONLY = ObservationSpec()
BLOCKS = (ObjectKind.BLOCK,)
_SLOWEST_HZ, _FASTEST_HZ = 4, 120
RENDER_MODES = ("rgb_array",)
MAX_ACTION_REPEAT = 100
MAX_SIGHTING_ERROR_M = 0.1


class ArmEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """One arm in one rig at one task. A step lasts `action_repeat` control periods, 50 ms each at 20 Hz.

    Where a task hands over to a skill, the step that starts the skill runs it to its end, period by period through the
    control loop. `discount` belongs to the shaping and must be the learner's.
    `spec` says what is observed, `randomization` (or the name of a preset) how far one episode's world differs from the
    next one's, `actuator` how the servos follow if not as the arm's nominal ones, `objects` what may have to be
    handled, with up to `distractors` beside it. `stage` may be set at any time: from the next reset on, episodes are as
    hard as it says.
    The object is seen `sighting_error_m` (standard deviation along x and y) away from where it lies, drawn for every
    episode and shown to nobody: a policy that has met this aims at the middle of the object, because that forgives.
    `control_hz` divides the 240 Hz of physics, 4 to 120. What an action moves, it moves a period.
    Raises SimError, BridgeError or UnknownName for what cannot be: the message names the field and what is valid.
    """

    metadata: ClassVar[dict[str, object]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        # The window is no render mode: checkers open one for every mode, and PyBullet's needs a display and the clock.
        "render_modes": list(RENDER_MODES),
        "render_fps": CONTROL_HZ,  # of one period a step; every environment has its own
    }

    def __init__(
        self,
        arm: str = "dofbot",
        task: str = "grasp",
        rig: str = "table",
        spec: ObservationSpec = STATE_ONLY,
        randomization: Randomization | str = NONE,
        objects: Sequence[ObjectKind | str] = BLOCKS,
        distractors: int = 0,
        action_repeat: int = 3,
        control_hz: int = CONTROL_HZ,
        discount: float = 0.95,
        sighting_error_m: float = 0.0,
        actuator: ActuatorModel | None = None,
        renderer: Renderer | str = Renderer.TINY,
        depth_engine: DepthEngine | str = DepthEngine.RAYCAST,
        render_mode: str | None = None,
        window: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        check_whole("action_repeat", action_repeat, 1, MAX_ACTION_REPEAT, BridgeError)
        check_number("discount", discount, 0.0, 1.0, SimError)
        check_number("sighting_error_m", sighting_error_m, 0.0, MAX_SIGHTING_ERROR_M, SimError)
        if render_mode not in (None, *RENDER_MODES):
            raise SimError(f"render_mode must be None or one of {RENDER_MODES}, got {render_mode!r}")
        if not isinstance(spec, ObservationSpec):
            raise SimError(f"spec must be an ObservationSpec (bridge/observation.py), got {spec!r}")
        if not isinstance(randomization, Randomization):
            randomization = preset(randomization)
        self.description = load_arm(arm)
        self.rig = self.description.rig(rig)
        for view in spec.views:
            self.description.camera(view.camera, self.rig)
        self.action_repeat = action_repeat
        self.discount = discount
        #: The ranges of this arm: what differs from unit to unit is scaled by its `unit_spread`.
        self.randomization = randomization.for_units(self.description.actuator.unit_spread)
        self.distractors = distractors
        self.sighting_error_m = sighting_error_m
        self.control_rate_hz = control_hz
        self.metadata = {**ArmEnv.metadata, "render_fps": control_hz / action_repeat}  # pyright: ignore
        self.render_mode = render_mode
        #: How hard the episodes are, from the next reset on.
        self.stage: Stage = FULL_STAGE
        period_s = _period_s(control_hz)
        _refuse_stale(randomization, period_s)
        kinds = tuple(member_of(ObjectKind, kind, "object") for kind in objects)
        pool = PoolSpec(kinds, pool_sizes_m(randomization.object_size_factor), distractors)
        kinematics = PinocchioKinematics(self.description, self.rig)
        # What may be refused comes before the world, which somebody would have to close.
        self.task = make_task(task, self.description, self.rig, kinematics, period_s)
        renderer = member_of(Renderer, renderer, "renderer")
        depth_engine = member_of(DepthEngine, depth_engine, "depth engine")
        self.world = ArmWorld(self.description, self.rig, pool, gui=window, renderer=renderer)
        self.robot = SimRobot(self.world, period_s, actuator)
        self.attempt = self.task.attempt
        self._block = TrueBlock(self.robot)
        self.loop = ControlLoop(self.robot, self.robot, self._block, self.attempt, recorder)
        self.observation_layout = self.attempt.observation_layout
        self.action_layout = self.attempt.action_layout
        #: What is observed; Gymnasium's `spec` is another thing.
        self.observation_spec = spec
        self.observer = Observer(spec, self.attempt, self.robot, self.world, depth_engine)
        self.observation_space = self.observer.space()  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(self.action_layout.names),), np.float32)
        self._state: NDArray[np.float32] | None = None
        self._dresser = Dresser(self.world, self.robot, tuple(self.observer.cameras.values()))

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Observation, dict[str, object]]:
        """Start an episode; `options={"block": Pose}` puts the object there, not at random.

        The pose is that of the 30 mm block (`desk_from_block`); an object of another size stands as high as it is.

        `info` holds `stage` (its name) and `draw` (every number that was drawn, by name); where a task has an object,
        `block` (its Pose) and `object` (its `kind`, `size_m` and `mass_kg`: the drawn size is rounded to the pool's).
        """
        super().reset(seed=seed)
        rng = self.np_random
        ranges = self.randomization.scaled(self.stage.randomization)
        draw = ranges.sample(rng, len(self.description.joint_names))
        distractors = min(self.stage.distractors, self.distractors)
        size_m = BLOCK_SIZE_M * draw.scene.object_size_factor
        scene = self.task.draw(rng, self.stage, self.world.objects, size_m, distractors)
        block = self._given_block(options or {})
        if block is not None:
            index = scene.placements[0].index
            higher = np.array([0.0, 0.0, (self.world.objects.objects[index].size_m - BLOCK_SIZE_M) / 2])
            placed = Placement(index, Pose(block.position_m + higher, block.quat_xyzw))
            scene = Scene((placed, *scene.placements[1:]), scene.goal_m)
        error = rng.normal(size=2).clip(-2.5, 2.5) * self.sighting_error_m
        self._block.error_m = np.array([*error, 0.0])
        #: What was drawn for this episode, and where things began.
        self.draw, self.scene = draw, self._dresser.begin(draw, scene, self.rig.home_rad)
        self.loop.robot = self._dresser.robot
        late = draw.observation_delay_periods
        self.loop.source = DelayedSource(self._block, late) if late else self._block
        self.task.begin(self.world, self.scene)
        self.observer.begin(self.loop.robot, late)
        self._periods = 0
        self.loop.statistics = LoopStatistics()
        self.loop.begin()
        self._state = self.loop.observe()
        self.observer.look()
        self._potential = self.task.potential()
        info: dict[str, object] = {"stage": self.stage.name, "draw": draw.as_info()}
        if self.scene.placements:
            info["block"] = self.scene.placements[0].pose
            info["object"] = dataclasses.asdict(self.world.objects.target_facts)
        return self._observation(), info

    def _given_block(self, options: dict[str, object]) -> Pose | None:
        """Return where the caller wants the object; raises SimError on other options and places off the desk."""
        unknown = [name for name in options if name != "block"]
        block = options.get("block")
        if unknown or not (block is None or isinstance(block, Pose)):
            raise SimError(f"reset knows the option 'block', a Pose in the desk frame; got {options!r}")
        if block is not None and (np.abs(block.position_m[:2]) > self.rig.desk_size_m / 2).any():
            raise SimError(
                f"options block lies at {block.position_m.tolist()} m, off the desk: {self.rig.desk_size_m} m"
            )
        return block

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, object]]:
        """Advance by `action_repeat` control periods, or to the end of the attempt when a skill takes over."""
        if self._state is None:
            raise SimError("reset the environment before the first step")
        action = self._checked(action)
        outcome: Outcome | None = None
        for _ in range(self.action_repeat):
            outcome = self._period(action)
            if outcome is not None or not self.attempt.deciding:
                break
        while outcome is None and not self.attempt.deciding:
            outcome = self._period(self.loop.no_action)
        terminated = outcome is not None
        truncated = not terminated and self._periods >= self.task.max_periods
        # The potential of a terminal state is zero, or the shaping would change what is best.
        following = 0.0 if terminated else self.task.potential()
        reward = self.discount * following - self._potential + (outcome.reward if outcome is not None else 0.0)
        self._potential = following
        info: dict[str, object] = {}
        if terminated or truncated:
            info = {"is_success": outcome is not None and outcome.success, "stage": self.stage.name}
        return self._observation(), float(reward), terminated, truncated, info

    def _checked(self, action: object) -> NDArray[np.float32]:
        """Return an action as an array; raises BridgeError where it has the wrong shape or a number is not finite."""
        names = self.action_layout.names
        try:
            numbers = np.asarray(action, dtype=np.float32)
        except (TypeError, ValueError):
            numbers = np.empty(0, np.float32)
        if numbers.shape != (len(names),):
            raise BridgeError(f"an action is {len(names)} numbers, {', '.join(names)}, from -1 to 1; got {action!r}")
        bad = [name for name, number in zip(names, numbers.tolist(), strict=True) if not math.isfinite(number)]
        if bad:
            raise BridgeError(f"action {', '.join(bad)} must be a finite number from -1 to 1; got {action!r}")
        return numbers

    def _period(self, action: NDArray[np.float32]) -> Outcome | None:
        self.loop.apply(action)
        self._state = self.loop.observe()
        self.observer.look()
        self._periods += 1
        return self.task.watch(self.world)

    def _observation(self) -> Observation:
        assert self._state is not None
        return self.observer.observe(self._state)

    def render(self) -> NDArray[np.uint8]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the scene (240, 320, 3) uint8 from in front of the arm."""
        return scene_picture(self.world, 320, 240)

    def close(self) -> None:
        """Free the world."""
        self.world.close()


def _period_s(control_hz: int) -> float:
    """Return the control period; raises SimError unless it is a whole number of physics steps."""
    valid = [rate for rate in range(_SLOWEST_HZ, _FASTEST_HZ + 1) if PHYSICS_HZ % rate == 0]
    if control_hz not in valid:
        raise SimError(
            f"control_hz must make a period of whole physics steps of 1/{PHYSICS_HZ} s: "
            f"{', '.join(map(str, valid))}; got {control_hz}"
        )
    return 1.0 / control_hz


def _refuse_stale(randomization: Randomization, period_s: float) -> None:
    """Raise SimError where a sighting may come later than an attempt believes it."""
    periods = round(randomization.observation_delay_periods.high)
    if periods * period_s > MAX_SIGHTING_AGE_S:
        raise SimError(
            f"observation_delay_periods: up to {periods} of {period_s:g} s make {periods * period_s:g} s; a sighting "
            f"may be {MAX_SIGHTING_AGE_S:g} s old: at most {int(MAX_SIGHTING_AGE_S / period_s)} at this control_hz"
        )
