"""ArmEnv: a Gymnasium environment made of the parts that also drive the physical arm."""

from __future__ import annotations

from typing import ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.grasp import CONTROL_HZ
from bridge.loop import ControlLoop, LoopStatistics, Recorder
from bridge.observation import ObservationSpec
from sim.curriculum import FULL_STAGE, Stage
from sim.dressing import Dresser, pool_sizes_m
from sim.errors import SimError
from sim.objects import BLOCK_SIZE_M, ObjectKind, Placement, PoolSpec
from sim.observer import Observation, Observer
from sim.randomization import NONE, Randomization
from sim.rendering import Renderer
from sim.scene_view import scene_picture
from sim.sim_camera import DepthEngine
from sim.sim_robot import SimRobot, TrueBlock
from sim.tasks import make_task
from sim.tasks.task import Outcome, Scene
from sim.world import PHYSICS_HZ, ArmWorld
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

STATE_ONLY = ObservationSpec()
BLOCKS = (ObjectKind.BLOCK,)
_SLOWEST_HZ, _FASTEST_HZ = 4, 120


class ArmEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """One arm in one rig at one task. A step lasts `action_repeat` control periods, 50 ms each at 20 Hz.

    Where a task hands over to a skill, the step that starts the skill runs it to its end, period by period through the
    control loop. `discount` belongs to the shaping and must be the learner's.
    `spec` says what is observed, `randomization` how far one episode's world differs from the next one's, `objects`
    what may have to be handled, with up to `distractors` beside it. `stage` may be set at any time: from the next reset
    on, episodes are as hard as it says.
    The object is seen `sighting_error_m` (standard deviation along x and y) away from where it lies, drawn for every
    episode and shown to nobody: a policy that has met this aims at the middle of the object, because that forgives.
    `control_hz` divides the 240 Hz of physics, 4 to 120. What an action moves, it moves a period.
    Raises SimError, BridgeError or UnknownName for what cannot be: the message names the field and what is valid.
    """

    metadata: ClassVar[dict[str, object]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        # The window is no render mode: checkers open one for every mode, and PyBullet's needs a display and the clock.
        "render_modes": ["rgb_array"],
        "render_fps": CONTROL_HZ,
    }

    def __init__(
        self,
        arm: str = "dofbot",
        task: str = "grasp",
        rig: str = "table",
        spec: ObservationSpec = STATE_ONLY,
        randomization: Randomization = NONE,
        objects: tuple[ObjectKind, ...] = BLOCKS,
        distractors: int = 0,
        action_repeat: int = 3,
        control_hz: int = CONTROL_HZ,
        discount: float = 0.95,
        sighting_error_m: float = 0.0,
        renderer: Renderer = Renderer.TINY,
        depth_engine: DepthEngine = DepthEngine.RAYCAST,
        render_mode: str | None = None,
        window: bool = False,
        recorder: Recorder | None = None,
    ) -> None:
        if action_repeat < 1:
            raise BridgeError(f"action_repeat must be at least 1, got {action_repeat}")
        self.description = load_arm(arm)
        self.rig = self.description.rig(rig)
        for view in spec.views:
            self.description.camera(view.camera)
        self.action_repeat = action_repeat
        self.discount = discount
        self.randomization = randomization
        self.distractors = distractors
        self.sighting_error_m = sighting_error_m
        self.control_rate_hz = control_hz
        self.metadata = {**ArmEnv.metadata, "render_fps": control_hz}  # pyright: ignore
        self.render_mode = render_mode
        #: How hard the episodes are, from the next reset on.
        self.stage: Stage = FULL_STAGE
        period_s = _period_s(control_hz)
        pool = PoolSpec(objects, pool_sizes_m(randomization.object_size_factor), distractors)
        kinematics = PinocchioKinematics(self.description, self.rig)
        # What may be refused comes before the world, which somebody would have to close.
        self.task = make_task(task, self.description, self.rig, kinematics, period_s)
        self.world = ArmWorld(self.description, self.rig, pool, gui=window, renderer=renderer)
        self.robot = SimRobot(self.world, period_s)
        self.attempt = self.task.attempt
        self._block = TrueBlock(self.robot)
        self.loop = ControlLoop(self.robot, self.robot, self._block, self.attempt, recorder)
        self.observation_layout = self.attempt.observation_layout
        self.action_layout = self.attempt.action_layout
        self.observer = Observer(spec, self.attempt, self.robot, self.world, depth_engine)
        self.observation_space = self.observer.space()  # pyright: ignore[reportAttributeAccessIssue]
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(self.action_layout.names),), np.float32)
        self._dresser = Dresser(self.world, self.robot, tuple(self.observer.cameras.values()))

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Observation, dict[str, object]]:
        """Start an episode; `options={"block": Pose}` puts the object there, not at random.

        The pose is that of the 30 mm block (`desk_from_block`); an object of another size stands as high as it is.

        `info` holds the object's pose, the stage's name and every number that was drawn.
        """
        super().reset(seed=seed)
        rng = self.np_random
        ranges = self.randomization.scaled(self.stage.randomization)
        draw = ranges.sample(rng, len(self.description.joint_names))
        distractors = min(self.stage.distractors, self.distractors)
        size_m = BLOCK_SIZE_M * draw.scene.object_size_factor
        scene = self.task.draw(rng, self.stage, self.world.objects, size_m, distractors)
        block = (options or {}).get("block")
        if isinstance(block, Pose):
            index = scene.placements[0].index
            higher = np.array([0.0, 0.0, (self.world.objects.objects[index].size_m - BLOCK_SIZE_M) / 2])
            placed = Placement(index, Pose(block.position_m + higher, block.quat_xyzw))
            scene = Scene((placed, *scene.placements[1:]), scene.goal_m)
        error = rng.normal(size=2).clip(-2.5, 2.5) * self.sighting_error_m
        self._block.error_m = np.array([*error, 0.0])
        #: What was drawn for this episode, and where things began.
        self.draw, self.scene = draw, self._dresser.begin(draw, scene, self.rig.home_rad)
        self.loop.robot = self._dresser.robot
        self.task.begin(self.world, self.scene)
        self.observer.begin(self.loop.robot)
        self._periods = 0
        self.loop.statistics = LoopStatistics()
        self.loop.begin()
        self._state = self.loop.observe()
        self._potential = self.task.potential()
        info: dict[str, object] = {"stage": self.stage.name, "draw": draw.as_info()}
        if self.scene.placements:
            info["block"] = self.scene.placements[0].pose
        return self._observation(), info

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, object]]:
        """Advance by `action_repeat` control periods, or to the end of the attempt when a skill takes over."""
        if not np.isfinite(action).all():
            raise BridgeError(f"an action must be finite, got {action}")
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

    def _period(self, action: NDArray[np.float32]) -> Outcome | None:
        self.loop.apply(action)
        self._state = self.loop.observe()
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
