"""One PyBullet world: desk, arm, block. Loaded once; reset and contact physics live here and nowhere else.

Contact is real: joints are driven by motors with the servos' torque, never by `resetJointState` while anything touches.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pybullet as bullet

from sim.display import has_display
from sim.errors import SimError
from sim.objects import ObjectPool, Placement, PoolSpec
from sim.pinhole import PinholeCamera
from sim.rendering import Picture, Renderer, driver_name, start_renderer, take_picture
from urdf.description import DESK, ArmDescription, CameraMount, Rig
from urdf.pose import Array, Pose

PHYSICS_HZ = 240
ONE_BLOCK = PoolSpec()


class ArmWorld:
    """A desk with one arm in one rig and a pool of objects, by default one block. Poses are in the desk frame."""

    def __init__(
        self,
        description: ArmDescription,
        rig: Rig,
        pool: PoolSpec = ONE_BLOCK,
        gui: bool = False,
        renderer: Renderer = Renderer.TINY,
    ) -> None:
        if gui and not has_display():
            raise SimError("a window needs a display: $DISPLAY names no X server that answers")
        self.description = description
        self.rig = rig
        self.renderer = renderer
        #: Who draws the pictures, for the record of a run.
        self.renderer_name = driver_name(renderer)
        self.client = bullet.connect(bullet.GUI if gui else bullet.DIRECT)
        c = self.client
        start_renderer(c, renderer)
        bullet.setGravity(0, 0, -9.81, physicsClientId=c)
        bullet.setPhysicsEngineParameter(
            fixedTimeStep=1.0 / PHYSICS_HZ,
            numSolverIterations=description.physics.free_iterations,
            frictionERP=description.physics.sticking_erp,
            # Stopping early compares with a residual left over from the past: all iterations, always.
            solverResidualThreshold=0.0,
            deterministicOverlappingPairs=1,
            physicsClientId=c,
        )
        self.desk = _load_desk(c, rig.desk_size_m)
        base = rig.desk_from_base
        self.arm = bullet.loadURDF(
            str(description.urdf_path),
            basePosition=base.position_m.tolist(),
            baseOrientation=base.quat_xyzw.tolist(),
            useFixedBase=True,
            flags=bullet.URDF_USE_INERTIA_FROM_FILE,
            physicsClientId=c,
        )
        self.objects = ObjectPool(c, pool)
        self._index_joints()
        self.gripping = False
        self._set_rest_dynamics()
        self.reset(rig.home_rad, None)
        self._saved = bullet.saveState(physicsClientId=c)

    def close(self) -> None:
        """Free the world; calling it twice is harmless."""
        if self.client >= 0:
            bullet.disconnect(physicsClientId=self.client)
            self.client = -1

    # Set-up --------------------------------------------------------------------------------------
    def _index_joints(self) -> None:
        c, count = self.client, bullet.getNumJoints(self.arm, physicsClientId=self.client)
        infos = [bullet.getJointInfo(self.arm, i, physicsClientId=c) for i in range(count)]
        self.joint_index = {info[1].decode(): i for i, info in enumerate(infos)}
        self.link_index = {info[12].decode(): i for i, info in enumerate(infos)}
        self.link_index[self.description.chain.root] = -1
        arm = [self.joint_index[n] for n in self.description.joint_names[:-1]]
        gripper, physics = self.description.gripper, self.description.physics
        self._tie_linkage()
        self._arm_joints = arm
        self._gripper_joints = [self.joint_index[n] for n in gripper.followers]
        self._factors = list(gripper.followers.values())
        self._motors = arm + [self.joint_index[n] for n in gripper.driven]
        self._motor_factors = [gripper.followers[n] for n in gripper.driven]
        # One motor drives all jaws: they share its torque. A joint that turns less than the motor is pushed harder.
        share = float(self.description.max_effort[-1]) / len(gripper.driven)
        self._forces = [float(v) for v in self.description.max_effort[:-1]]
        self._forces += [share / abs(factor) for factor in self._motor_factors]
        self._gains = [physics.arm_gain] * len(arm) + [physics.gripper_gain] * len(gripper.driven)
        self._jaw_of_link = self._jaws()
        self._read = [*arm, *self._gripper_joints]
        self.tool_link = self.link_index[self.description.tool_link]

    def _jaws(self) -> dict[int, str]:
        """Return which jaw each link of the gripper's moving part belongs to, by the joint that drives it."""
        gripper = self.description.gripper
        jaws: dict[str, str] = {}
        for joint in self.description.chain.joints:  # parents come first
            if joint.name in gripper.followers:
                jaws[joint.child] = gripper.jaw_of(joint.name)
            elif joint.parent in jaws:
                jaws[joint.child] = jaws[joint.parent]
        return {self.link_index[link]: jaw for link, jaw in jaws.items()}

    def _tie_linkage(self) -> None:
        """Tie what metal ties: the fingers to their cranks, the cranks to each other. PyBullet ignores mimic tags."""
        gripper = self.description.gripper
        for name, leader in gripper.linkage.items():
            self._tie(leader, name)
            # The default velocity motor would brake the linkage.
            bullet.setJointMotorControl2(
                self.arm, self.joint_index[name], bullet.VELOCITY_CONTROL, force=0.0, physicsClientId=self.client
            )
        for name in gripper.driven[1:]:
            self._tie(gripper.driven[0], name)

    def _tie(self, leader: str, name: str) -> None:
        factors, physics = self.description.gripper.followers, self.description.physics
        gear = bullet.createConstraint(
            self.arm,
            self.joint_index[leader],
            self.arm,
            self.joint_index[name],
            bullet.JOINT_GEAR,
            [0, 0, 1],
            [0, 0, 0],
            [0, 0, 0],
            physicsClientId=self.client,
        )
        ratio = -factors[leader] / factors[name]
        bullet.changeConstraint(
            gear,
            gearRatio=ratio,
            maxForce=physics.linkage_force,
            erp=physics.linkage_erp,
            physicsClientId=self.client,
        )

    def _set_rest_dynamics(self) -> None:
        physics = self.description.physics
        armatures = dict.fromkeys(self._arm_joints, physics.arm_armature)
        armatures |= dict.fromkeys(self._gripper_joints, physics.gripper_armature)
        for link in range(-1, bullet.getNumJoints(self.arm, physicsClientId=self.client)):
            bullet.changeDynamics(
                self.arm,
                link,
                linearDamping=0.0,
                angularDamping=0.0,
                jointDamping=physics.joint_damping,
                physicsClientId=self.client,
            )

        for link, armature in armatures.items():
            # Bullet knows no armature: it becomes the link's own, about its joint's axis.
            inertia = np.array(bullet.getDynamicsInfo(self.arm, link, physicsClientId=self.client)[2])
            axis = np.array(bullet.getJointInfo(self.arm, link, physicsClientId=self.client)[13])
            bullet.changeDynamics(
                self.arm,
                link,
                localInertiaDiagonal=(inertia + armature * axis**2).tolist(),
                physicsClientId=self.client,
            )

    # Reset ---------------------------------------------------------------------------------------
    def reset(self, position_rad: Array, block: Pose | None) -> None:
        """Put arm and block where they are asked to be, at rest, with nothing left of what happened before.

        Without a block nothing lies on the desk; `objects.place` puts other things there.

        `restoreState` alone depends on the contacts of the past. So: everything is moved apart, one step flushes the
        contact cache, and only then are the poses set.
        """
        c = self.client
        self.set_gripping(False)
        self.objects.park_all()
        self._place_arm(position_rad)
        bullet.stepSimulation(physicsClientId=c)
        if hasattr(self, "_saved"):
            bullet.restoreState(stateId=self._saved, physicsClientId=c)
        self._place_arm(position_rad)
        if block is not None:
            self.objects.place([Placement(0, block)])

    def _place_arm(self, position_rad: Array) -> None:
        values = [float(v) for v in position_rad]
        angles = values[:-1] + [factor * values[-1] for factor in self._factors]
        for index, angle in zip(self._read, angles, strict=True):
            bullet.resetJointState(self.arm, index, angle, 0.0, physicsClientId=self.client)
        self.drive(position_rad)

    def pose(self, angles: Mapping[str, float]) -> None:
        """Put joints of the URDF at angles [rad], for a picture or a ray: motors and contacts are not asked."""
        for name, angle in angles.items():
            bullet.resetJointState(self.arm, self.joint_index[name], angle, physicsClientId=self.client)

    # Motion --------------------------------------------------------------------------------------
    def drive(self, position_rad: Array) -> None:
        """Set the motors' targets (n,): arm joints, then the gripper."""
        values = [float(v) for v in position_rad]
        bullet.setJointMotorControlArray(
            self.arm,
            self._motors,
            bullet.POSITION_CONTROL,
            targetPositions=values[:-1] + [factor * values[-1] for factor in self._motor_factors],
            forces=self._forces,
            positionGains=self._gains,
            physicsClientId=self.client,
        )

    def release(self, joint: int, friction: float) -> None:
        """Take the torque off one joint (the last: all cranks of the gripper); its gears resist with `friction`."""
        count = len(self._arm_joints)
        for motor in self._motors[joint : joint + 1] if joint < count else self._motors[count:]:
            bullet.setJointMotorControl2(
                self.arm,
                motor,
                bullet.VELOCITY_CONTROL,
                targetVelocity=0.0,
                force=friction,
                physicsClientId=self.client,
            )

    def set_gripping(self, gripping: bool) -> None:
        """Choose the solver's effort: high while something is between the jaws."""
        if gripping != self.gripping:
            self.gripping = gripping
            physics = self.description.physics
            bullet.setPhysicsEngineParameter(
                numSolverIterations=physics.grip_iterations if gripping else physics.free_iterations,
                physicsClientId=self.client,
            )

    def step(self, count: int = 1) -> None:
        """Advance physics by `count` steps of 1/240 s."""
        for _ in range(count):
            bullet.stepSimulation(physicsClientId=self.client)

    # Reading -------------------------------------------------------------------------------------
    @property
    def block(self) -> int:
        """The body of the object that the task is about."""
        return self.objects.target.body

    def joint_states(self) -> tuple[Array, Array]:
        """Return joint angles and speeds (n,), the gripper as the mean of its joints."""
        states = bullet.getJointStates(self.arm, self._read, physicsClientId=self.client)
        n = len(self._arm_joints)
        position = np.array([s[0] for s in states[:n]] + [0.0])
        velocity = np.array([s[1] for s in states[:n]] + [0.0])
        for factor, s in zip(self._factors, states[n:], strict=True):
            position[n] += s[0] / factor
            velocity[n] += s[1] / factor
        position[n] /= len(self._factors)
        velocity[n] /= len(self._factors)
        return position, velocity

    def block_pose(self) -> Pose:
        """Return `desk_from_block`."""
        position, quat = bullet.getBasePositionAndOrientation(self.block, physicsClientId=self.client)
        return Pose(np.array(position), np.array(quat))

    def block_speed_m_s(self) -> float:
        """Return how fast the block moves."""
        linear, _ = bullet.getBaseVelocity(self.block, physicsClientId=self.client)
        return float(np.linalg.norm(linear))

    def link_pose(self, link: str) -> Pose:
        """Return `desk_from_link` of a URDF link (its joint frame, as in the URDF), or of the desk itself."""
        if link == DESK:
            return Pose.identity()
        index = self.link_index[link]
        if index < 0:
            return self.rig.desk_from_base
        state = bullet.getLinkState(self.arm, index, computeForwardKinematics=True, physicsClientId=self.client)
        return Pose(np.array(state[4]), np.array(state[5]))

    def tool_pose(self) -> Pose:
        """Return `desk_from_tool`, from physics."""
        return self.link_pose(self.description.tool_link) @ self.description.link_from_tool

    def jaws_touching(self) -> int:
        """Return how many jaws touch the block."""
        contacts = bullet.getContactPoints(self.arm, self.block, physicsClientId=self.client)
        return len({self._jaw_of_link[contact[3]] for contact in contacts if contact[3] in self._jaw_of_link})

    def render(self, mount: CameraMount, width_px: int, height_px: int) -> Picture:
        """Return (rgb (H, W, 3) uint8, depth_m (H, W), body id (H, W)) of a camera on the arm or at the desk."""
        desk_from_camera = self.link_pose(mount.link) @ mount.link_from_camera
        camera = PinholeCamera(mount.fov_y_rad, mount.near_m, mount.far_m, width_px, height_px)
        return take_picture(self.client, desk_from_camera, camera, self.renderer)


def _load_desk(client: int, size_m: Array) -> int:
    half = [float(size_m[0]) / 2, float(size_m[1]) / 2, 0.5]
    shape = bullet.createCollisionShape(bullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
    look = bullet.createVisualShape(
        bullet.GEOM_BOX,
        halfExtents=half,
        rgbaColor=[0.93, 0.92, 0.89, 1],
        specularColor=[0, 0, 0],
        physicsClientId=client,
    )
    desk = bullet.createMultiBody(0, shape, look, [0, 0, -half[2]], physicsClientId=client)
    bullet.changeDynamics(desk, -1, lateralFriction=0.7, physicsClientId=client)
    return desk


def render(
    client: int, desk_from_camera: Pose, fov_y_rad: float, near_m: float, far_m: float, width_px: int, height_px: int
) -> Picture:
    """Return TinyRenderer's (rgb (H, W, 3) uint8, depth_m (H, W) float64, body id (H, W)) of a pinhole camera."""
    return take_picture(client, desk_from_camera, PinholeCamera(fov_y_rad, near_m, far_m, width_px, height_px))
