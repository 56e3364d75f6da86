"""Two arms side by side that copy a person's: the reference experiment's twin Kukas.

Ref: fixed bases at y -0.3 m (left) and +0.3 m (right) on a plane; seen from 1.1 m away, yaw 90, pitch -25 degrees,
about a point at z 0.7 m.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pybullet as bullet

from bridge.safety import SafetyFilter, SafetyOutput, SafetyState
from sim.pinhole import PinholeCamera
from sim.rendering import Picture, take_picture
from sim.world import PHYSICS_HZ
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

#: Of either arm's base, left and right as the camera sees them.
BASES_Y_M = (-0.3, 0.3)
#: What the reference's model of the arm allows every joint. The maker's 1.3 to 2.4 rad/s are far less than a person
#: waves with: the twins would be seconds late.
#: Ref: pybullet_data kuka_iiwa/model.urdf
REFERENCE_SPEED_RAD_S, REFERENCE_EFFORT_N_M = 10.0, 300.0
#: An arm that may be as quick as that stops within a quarter of a second.
_ACCELERATION_RAD_S2 = 40.0
_FLOOR_HALF_M = 6.0


@dataclass(frozen=True, slots=True)
class OrbitView:
    """A camera that looks at a point, the way PyBullet's window is described: yaw 90 looks along -x.

    That window sees 90 degrees from top to bottom. Ref: bullet3 OpenGLWindow/SimpleCamera.cpp, its frustum
    """

    target_m: tuple[float, float, float] = (0.0, 0.0, 0.7)
    distance_m: float = 1.1
    yaw_deg: float = 90.0
    pitch_deg: float = -25.0
    fov_y_deg: float = 90.0

    def desk_from_camera(self) -> Pose:
        """Return the camera's pose, z forward and y down."""
        yaw, pitch = math.radians(self.yaw_deg), math.radians(self.pitch_deg)
        forward = np.array([-math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)])
        right = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack((right, np.cross(forward, right), forward), axis=1)
        matrix[:3, 3] = np.array(self.target_m) - self.distance_m * forward
        return Pose.from_matrix(matrix)


REFERENCE_VIEW = OrbitView()


def reference_limits(description: ArmDescription) -> ArmDescription:
    """Return the arm with the speeds and efforts of the reference's model on its arm joints."""
    speed, effort = description.max_speed_rad_s.copy(), description.max_effort.copy()
    speed[:-1], effort[:-1] = REFERENCE_SPEED_RAD_S, REFERENCE_EFFORT_N_M
    return replace(description, max_speed_rad_s=speed, max_effort=effort)


class TwinWorld:
    """A floor and two arms of one kind. Commands pass the safety filter: limits, speed, floor, self-collision.

    The arms do not see each other: bases 0.6 m apart, each copies one arm of one person.
    """

    def __init__(self, description: ArmDescription, period_s: float = 1 / 30) -> None:
        self.description = description
        self.client = bullet.connect(bullet.DIRECT)
        bullet.setGravity(0, 0, -9.81, physicsClientId=self.client)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=1 / PHYSICS_HZ,
            numSolverIterations=description.physics.free_iterations,
            physicsClientId=self.client,
        )
        self.floor = _load_floor(self.client)
        self._period_s = period_s
        self._upright_rad = np.clip(0.0, description.lower_rad, description.upper_rad)
        self._upright_rad[-1] = description.gripper.open_rad
        self._count, self._factors = description.arm_joint_count, list(description.gripper.followers.values())
        efforts = description.max_effort.tolist()
        self._forces = efforts[:-1] + [efforts[-1] / abs(factor) for factor in self._factors]
        physics = description.physics
        self._gains = [physics.arm_gain] * self._count + [physics.gripper_gain] * len(self._factors)
        self._joints: list[int] = []
        self.arms = tuple(self._load(y_m) for y_m in BASES_Y_M)
        rig = next(iter(description.rigs.values()))
        self._filter = SafetyFilter(
            description, replace(rig, desk_from_base=Pose.identity()), period_s, _ACCELERATION_RAD_S2
        )
        self._states: list[SafetyState] = [self._filter.initial(self._upright_rad) for _ in self.arms]

    def close(self) -> None:
        """Free the world; calling it twice is harmless."""
        if self.client >= 0:
            bullet.disconnect(physicsClientId=self.client)
            self.client = -1

    def command(self, arm: int, position_rad: Array) -> SafetyOutput:
        """Send arm 0 (left) or 1 (right) towards joints (n,), for one period; return what was really sent."""
        state, output = self._filter.step(self._states[arm], position_rad, self.position_rad(arm), self._period_s)
        self._states[arm] = state
        self._drive(self.arms[arm], output.position_rad)
        return output

    def commanded_rad(self, arm: int) -> Array:
        """Return the joints (n,) that an arm was sent to last."""
        return self._states[arm].position_rad

    def step(self) -> None:
        """Let one period pass."""
        for _ in range(round(self._period_s * PHYSICS_HZ)):
            bullet.stepSimulation(physicsClientId=self.client)

    def position_rad(self, arm: int) -> Array:
        """Return the joints (n,) of an arm as physics has them."""
        states = bullet.getJointStates(self.arms[arm], self._joints, physicsClientId=self.client)
        angles = [state[0] for state in states]
        jaws = [angle / factor for angle, factor in zip(angles[self._count :], self._factors, strict=True)]
        return np.array([*angles[: self._count], sum(jaws) / len(jaws)])

    def paint(self, arm: int, colours: Sequence[Sequence[float]]) -> None:
        """Give an arm's links colours (red, green, blue, opacity), in turn from its base on."""
        for link in range(-1, bullet.getNumJoints(self.arms[arm], physicsClientId=self.client)):
            colour = list(colours[(link + 1) % len(colours)])
            bullet.changeVisualShape(self.arms[arm], link, rgbaColor=colour, physicsClientId=self.client)

    def picture(self, width_px: int, height_px: int, view: OrbitView = REFERENCE_VIEW) -> Picture:
        """Return (rgb (H, W, 3) uint8, depth_m (H, W), body id (H, W)) of the twins."""
        camera = PinholeCamera(math.radians(view.fov_y_deg), 0.05, 20.0, width_px, height_px)
        return take_picture(self.client, view.desk_from_camera(), camera, light_direction=(1.2, -0.5, 1.6))

    def _load(self, y_m: float) -> int:
        description = self.description
        arm = bullet.loadURDF(
            str(description.urdf_path),
            basePosition=[0.0, y_m, 0.0],
            useFixedBase=True,
            flags=bullet.URDF_USE_INERTIA_FROM_FILE,
            physicsClientId=self.client,
        )
        count = bullet.getNumJoints(arm, physicsClientId=self.client)
        index = {bullet.getJointInfo(arm, k, physicsClientId=self.client)[1].decode(): k for k in range(count)}
        self._joints = [index[name] for name in (*description.joint_names[:-1], *description.gripper.followers)]
        for joint, angle in zip(self._joints, self._angles(self._upright_rad), strict=True):
            bullet.resetJointState(arm, joint, angle, physicsClientId=self.client)
        self._drive(arm, self._upright_rad)
        return arm

    def _angles(self, position_rad: Array) -> list[float]:
        return [*position_rad[:-1].tolist(), *(factor * float(position_rad[-1]) for factor in self._factors)]

    def _drive(self, arm: int, position_rad: Array) -> None:
        bullet.setJointMotorControlArray(
            arm,
            self._joints,
            bullet.POSITION_CONTROL,
            targetPositions=self._angles(position_rad),
            forces=self._forces,
            positionGains=self._gains,
            physicsClientId=self.client,
        )


def _load_floor(client: int) -> int:
    half = [_FLOOR_HALF_M, _FLOOR_HALF_M, 0.05]
    shape = bullet.createCollisionShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
    look = bullet.createVisualShape(
        bullet.GEOM_BOX,
        halfExtents=half,
        rgbaColor=[0.16, 0.18, 0.22, 1.0],
        specularColor=[0, 0, 0],
        physicsClientId=client,
    )
    return bullet.createMultiBody(0, shape, look, [0, 0, -half[2]], physicsClientId=client)
