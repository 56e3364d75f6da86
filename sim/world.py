"""One PyBullet world: desk, arm, block. Loaded once; reset and contact physics live here and nowhere else.

Contact is real: joints are driven by motors with the servos' torque, never by `resetJointState` while anything touches.
"""

from __future__ import annotations

import numpy as np
import pybullet as bullet

from sim.pinhole import PinholeCamera
from sim.rendering import Picture, Renderer, driver_name, start_renderer, take_picture
from urdf.description import ArmDescription, CameraMount, Rig, urdf_folder
from urdf.pose import Array, Pose

PHYSICS_HZ = 240
#: Thin fingers need many solver iterations: 50 let every block slip, 300 hold it (measured, docs/dofbot.md).
FREE_ITERATIONS = 50
GRIP_ITERATIONS = 300
#: Share of the creep of a sticking contact that is taken back each step. At Bullet's 0.2 a block that stands askew
#: between the pads turns by 6 degrees in 2 s; at 0.9 by 2 (measured, 15 lifts).
STICKING_ERP = 0.9
#: Share of the position error that a motor removes in one physics step; an arm servo is stiff.
ARM_GAIN = 0.35
GRIPPER_GAIN = 0.25
#: The fingers are held parallel by their linkage: metal, far stiffer than the servo.
LINKAGE_FORCE = 100.0
LINKAGE_ERP = 0.8
BLOCK_SIZE_M = 0.030
_FAR_AWAY_M = 5.0


class ArmWorld:
    """A desk with one arm in one rig and one block. Poses are in the desk frame."""

    def __init__(
        self, description: ArmDescription, rig: Rig, gui: bool = False, renderer: Renderer = Renderer.TINY
    ) -> None:
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
            numSolverIterations=FREE_ITERATIONS,
            frictionERP=STICKING_ERP,
            # Stopping early compares with a residual left over from the past: all iterations, always.
            solverResidualThreshold=0.0,
            deterministicOverlappingPairs=1,
            physicsClientId=c,
        )
        self.desk = _load_desk(c)
        base = rig.desk_from_base
        self.arm = bullet.loadURDF(
            str(description.urdf_path),
            basePosition=base.position_m.tolist(),
            baseOrientation=base.quat_xyzw.tolist(),
            useFixedBase=True,
            flags=bullet.URDF_USE_INERTIA_FROM_FILE,
            physicsClientId=c,
        )
        self.block = bullet.loadURDF(
            str(urdf_folder() / "objects" / "block.urdf"), [0, 0, _FAR_AWAY_M], physicsClientId=c
        )
        self._index_joints()
        self._gripping = False
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
        followers = self.description.gripper.followers
        linkage = self.description.gripper.linkage
        cranks = [self.joint_index[n] for n in followers if n not in linkage]
        self._tie_linkage()
        self._arm_joints = arm
        self._gripper_joints = [self.joint_index[n] for n in followers]
        self._signs = list(followers.values())
        self._motors = arm + cranks
        self._motor_signs = [followers[n] for n in followers if n not in linkage]
        # One servo drives all cranks: they share its torque.
        servo_torque = float(self.description.max_effort[-1])
        self._forces = [float(v) for v in self.description.max_effort[:-1]] + [servo_torque / len(cranks)] * len(cranks)
        self._gains = [ARM_GAIN] * len(arm) + [GRIPPER_GAIN] * len(cranks)
        self._pads = [i for i in self._gripper_joints if bullet.getCollisionShapeData(self.arm, i, physicsClientId=c)]
        self._read = [*arm, *self._gripper_joints]
        self.tool_link = self.link_index[self.description.tool_link]

    def _tie_linkage(self) -> None:
        """Tie what metal ties: the fingers to their cranks, the cranks to each other. PyBullet ignores mimic tags."""
        gripper = self.description.gripper
        cranks = [name for name in gripper.followers if name not in gripper.linkage]
        for name, leader in gripper.linkage.items():
            self._tie(leader, name)
            # The default velocity motor would brake the linkage.
            bullet.setJointMotorControl2(
                self.arm, self.joint_index[name], bullet.VELOCITY_CONTROL, force=0.0, physicsClientId=self.client
            )
        for name in cranks[1:]:
            self._tie(cranks[0], name)

    def _tie(self, leader: str, name: str) -> None:
        signs = self.description.gripper.followers
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
        ratio = -signs[name] * signs[leader]
        bullet.changeConstraint(
            gear, gearRatio=ratio, maxForce=LINKAGE_FORCE, erp=LINKAGE_ERP, physicsClientId=self.client
        )

    def _set_rest_dynamics(self) -> None:
        for link in range(-1, bullet.getNumJoints(self.arm, physicsClientId=self.client)):
            bullet.changeDynamics(
                self.arm, link, linearDamping=0.0, angularDamping=0.0, jointDamping=0.01, physicsClientId=self.client
            )
        bullet.changeDynamics(self.block, -1, linearDamping=0.01, angularDamping=0.01, physicsClientId=self.client)

    # Reset ---------------------------------------------------------------------------------------
    def reset(self, position_rad: Array, block: Pose | None) -> None:
        """Put arm and block where they are asked to be, at rest, with nothing left of what happened before.

        `restoreState` alone depends on the contacts of the past. So: everything is moved apart, one step flushes the
        contact cache, and only then are the poses set.
        """
        c = self.client
        self.set_gripping(False)
        bullet.resetBasePositionAndOrientation(
            self.block, [_FAR_AWAY_M, 0, _FAR_AWAY_M], [0, 0, 0, 1], physicsClientId=c
        )
        self._place_arm(position_rad)
        bullet.stepSimulation(physicsClientId=c)
        if hasattr(self, "_saved"):
            bullet.restoreState(stateId=self._saved, physicsClientId=c)
        self._place_arm(position_rad)
        if block is not None:
            bullet.resetBasePositionAndOrientation(
                self.block, block.position_m.tolist(), block.quat_xyzw.tolist(), physicsClientId=c
            )
            bullet.resetBaseVelocity(self.block, [0, 0, 0], [0, 0, 0], physicsClientId=c)

    def _place_arm(self, position_rad: Array) -> None:
        values = [float(v) for v in position_rad]
        angles = values[:-1] + [sign * values[-1] for sign in self._signs]
        for index, angle in zip(self._read, angles, strict=True):
            bullet.resetJointState(self.arm, index, angle, 0.0, physicsClientId=self.client)
        self.drive(position_rad)

    # Motion --------------------------------------------------------------------------------------
    def drive(self, position_rad: Array) -> None:
        """Set the motors' targets (n,): arm joints, then the gripper."""
        values = [float(v) for v in position_rad]
        bullet.setJointMotorControlArray(
            self.arm,
            self._motors,
            bullet.POSITION_CONTROL,
            targetPositions=values[:-1] + [sign * values[-1] for sign in self._motor_signs],
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
        if gripping != self._gripping:
            self._gripping = gripping
            bullet.setPhysicsEngineParameter(
                numSolverIterations=GRIP_ITERATIONS if gripping else FREE_ITERATIONS, physicsClientId=self.client
            )

    def step(self, count: int = 1) -> None:
        """Advance physics by `count` steps of 1/240 s."""
        for _ in range(count):
            bullet.stepSimulation(physicsClientId=self.client)

    # Reading -------------------------------------------------------------------------------------
    def joint_states(self) -> tuple[Array, Array]:
        """Return joint angles and speeds (n,), the gripper as the mean of its joints."""
        states = bullet.getJointStates(self.arm, self._read, physicsClientId=self.client)
        n = len(self._arm_joints)
        position = np.array([s[0] for s in states[:n]] + [0.0])
        velocity = np.array([s[1] for s in states[:n]] + [0.0])
        for sign, s in zip(self._signs, states[n:], strict=True):
            position[n] += sign * s[0]
            velocity[n] += sign * s[1]
        position[n] /= len(self._signs)
        velocity[n] /= len(self._signs)
        return position, velocity

    def block_pose(self) -> Pose:
        """Return `desk_from_block`."""
        position, quat = bullet.getBasePositionAndOrientation(self.block, physicsClientId=self.client)
        return Pose(np.array(position), np.array(quat))

    def link_pose(self, link: str) -> Pose:
        """Return `desk_from_link` of a URDF link (its joint frame, as in the URDF)."""
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
        return len({contact[3] for contact in contacts} & set(self._pads))

    def render(self, mount: CameraMount, width_px: int, height_px: int) -> Picture:
        """Return (rgb (H, W, 3) uint8, depth_m (H, W), body id (H, W)) of a camera on the arm."""
        desk_from_camera = self.link_pose(mount.link) @ mount.link_from_camera
        camera = PinholeCamera(mount.fov_y_rad, mount.near_m, mount.far_m, width_px, height_px)
        return take_picture(self.client, desk_from_camera, camera, self.renderer)


def _load_desk(client: int) -> int:
    half = [0.6, 0.6, 0.5]
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
