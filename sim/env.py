"""ArmEnv: a Gymnasium environment made of the parts that also drive the physical arm."""

from __future__ import annotations

from typing import ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from bridge.actions import ActionLayout
from bridge.encoding import ObservationLayout, Phase
from bridge.errors import BridgeError
from bridge.grasp import CONTROL_HZ, GraspAttempt
from bridge.loop import NO_ACTION, ControlLoop, LoopStatistics
from sim.curriculum import FULL_STAGE
from sim.sim_robot import SimRobot, TrueBlock
from sim.tasks.grasp import SUCCESS_REWARD, GraspJudge, draw_block, potential
from sim.world import ArmWorld, render
from urdf.description import load_arm
from urdf.kinematics import PinocchioKinematics
from urdf.pose import Pose

Observation = NDArray[np.float32]


class ArmEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Grasp with one arm in one rig. A step lasts `action_repeat` control periods of 50 ms.

    When the descent is over the scripted skill closes, lifts and holds, period by period through the control loop; the
    step that starts it ends the episode. `discount` belongs to the shaping and must be the learner's.
    Each joint's servo zero is off by up to `servo_zero_rad`, and the block is seen `sighting_error_m` (standard
    deviation along x and y) away from where it lies; both are drawn for every episode and shown to nobody. A policy
    that has met this aims at the middle of the block, because that is what forgives.
    """

    metadata: ClassVar[dict[str, object]] = {  # pyright: ignore[reportIncompatibleVariableOverride]
        "render_modes": ["rgb_array"],
        "render_fps": CONTROL_HZ,
    }

    def __init__(
        self,
        arm: str = "dofbot",
        rig: str = "table",
        action_repeat: int = 3,
        discount: float = 0.95,
        servo_zero_rad: float = 0.0,
        sighting_error_m: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        if action_repeat < 1:
            raise BridgeError(f"action_repeat must be at least 1, got {action_repeat}")
        self.description = load_arm(arm)
        self.rig = self.description.rig(rig)
        self.action_repeat = action_repeat
        self.discount = discount
        self.servo_zero_rad = servo_zero_rad
        self.sighting_error_m = sighting_error_m
        self.control_rate_hz = CONTROL_HZ
        self.render_mode = render_mode
        period_s = 1.0 / CONTROL_HZ
        self.world = ArmWorld(self.description, self.rig)
        self.robot = SimRobot(self.world, period_s)
        kinematics = PinocchioKinematics(self.description, self.rig)
        self.attempt = GraspAttempt(self.description, self.rig, kinematics, period_s)
        self._block = TrueBlock(self.robot)
        self.loop = ControlLoop(self.robot, self.robot, self._block, self.attempt)
        self.observation_layout: ObservationLayout = self.attempt.observation_layout
        self.action_layout: ActionLayout = self.attempt.action_layout
        size = self.observation_layout.size
        self.observation_space = gymnasium.spaces.Box(-10.0, 10.0, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (len(self.action_layout.names),), np.float32)
        self._judge = GraspJudge()
        #: How hard the episodes are, from the next reset on.
        self.stage = FULL_STAGE

    def reset(
        self, *, seed: int | None = None, options: dict[str, object] | None = None
    ) -> tuple[Observation, dict[str, object]]:
        """Start an episode; `options={"block": Pose}` puts the block (`desk_from_block`) there instead of at random."""
        super().reset(seed=seed)
        block = (options or {}).get("block")
        pose = block if isinstance(block, Pose) else draw_block(self.rig, self.np_random, self.stage)
        error = self.np_random.normal(size=2).clip(-2.5, 2.5) * self.sighting_error_m
        self._block.error_m = np.array([*error, 0.0])
        zero = self.np_random.uniform(-1.0, 1.0, len(self.description.joint_names)) * self.servo_zero_rad
        self.robot.reset(self.rig.home_rad, pose, zero)
        self._judge.begin(self.world)
        self.loop.statistics = LoopStatistics()
        self.loop.begin()
        observation = self.loop.observe()
        assert observation is not None
        self._potential = potential(self.attempt.lateral_distance_m())
        return observation, {"block": pose}

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, object]]:
        """Advance by `action_repeat` control periods, or to the end of the attempt when the descent is over."""
        if not np.isfinite(action).all():
            raise BridgeError(f"an action must be finite, got {action}")
        observation: Observation | None = None
        for _ in range(self.action_repeat):
            self.loop.apply(action)
            observation = self.loop.observe()
            if self.attempt.phase != Phase.DESCEND:
                break
        terminated = self.attempt.phase != Phase.DESCEND
        info: dict[str, object] = {}
        reward = 0.0
        if terminated:
            observation = self._finish_attempt()
            success = self._judge.success(self.world)
            info["is_success"] = success
            reward = SUCCESS_REWARD * success
        # The potential of a terminal state is zero, or the shaping would change what is best.
        following = 0.0 if terminated else potential(self.attempt.lateral_distance_m())
        reward += self.discount * following - self._potential
        self._potential = following
        assert observation is not None
        return observation, float(reward), terminated, False, info

    def _finish_attempt(self) -> Observation | None:
        observation: Observation | None = None
        while self.attempt.phase != Phase.DONE:
            before = self.attempt.phase
            self.loop.apply(NO_ACTION)
            observation = self.loop.observe()
            if before == Phase.LIFT and self.attempt.phase == Phase.HOLD:
                self._judge.after_lift(self.world)
        return observation

    def render(self) -> NDArray[np.uint8]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the scene (240, 320, 3) uint8 from in front of the arm."""
        return render(self.world.client, SCENE_VIEW, np.radians(38.0), 0.05, 3.0, 320, 240)[0]

    def close(self) -> None:
        """Free the world."""
        self.world.close()


def look_at(eye_m: list[float], target_m: list[float]) -> Pose:
    """Return the pose of a camera (z forward, y down) at `eye_m` that looks at `target_m`, upright."""
    forward = np.subtract(target_m, eye_m)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = right, np.cross(forward, right), forward, eye_m
    return Pose.from_matrix(matrix)


SCENE_VIEW = look_at([0.34, 0.56, 0.34], [0.0, 0.09, 0.07])
