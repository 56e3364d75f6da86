"""How well a camera finds the zeros of hidden servos: the labs' own truths, counts and corners as an arm gives them.

A truth of level `hard` (zeros up to 4 degrees, scales 5 % off, play up to 1 degree, the camera 15 mm and 5 degrees from
where it is thought) moves a Dofbot through the poses that `tandem calibrate servos --camera` would choose. Counts are
rounded; corners lie 0.3 px off. The board lies 0.5 mm and 0.1 degrees, the marker's edge 0.15 degrees from where they
are said to be. Nothing is rendered, so ten arms take a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pybullet as bullet

from calibration.actuator import ServoErrors
from calibration.boards import GRIPPER, desk_from_board
from calibration.marker_chain import MarkerChain, Placing, square_m
from calibration.marker_problem import PlaceReference
from calibration.servo import ServoCalibration
from calibration.servo_poses import SightPlanner
from calibration.servo_vision import MarkerSample, ServoVisionFit, VisionKnowledge, fit_servos
from scripts.programs.figures import Row, at_most
from sim.lab_scene import LAB_INTRINSICS, nominal_camera
from sim.lab_truth import LabTruth
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig, load_arm
from urdf.pose import Array, Pose

SEEDS = 10
POSES = 36
CORNER_PX = 0.3
_ARM, _RIG = "dofbot", "table"
_GRAVITY_M_S2 = 9.81
_BOARD_M, _BOARD_RAD = 0.0005, math.radians(0.1)
_EDGE_RAD, _TILT_RAD = math.radians(0.15), math.radians(1.0)
#: What the command assumes of the references unless told otherwise.
_SAID_BOARD, _SAID_MOUNT = (0.001, math.radians(0.2)), (0.002, np.radians([3.0, 3.0, 0.3]))


@dataclass(frozen=True, slots=True)
class Unlike:
    """What besides zeros and scales is hidden: play that readings do not show, giving way to weight, wild corners."""

    unseen_play_rad: float = 0.0
    sags: bool = False
    wild_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one arm: errors of the zeros found (a,) [deg], and the same in standard deviations."""

    zero_deg: Array
    deviations: Array
    fit: ServoVisionFit


class ServoTrials:
    """One Dofbot's geometry, and the poses that are taken."""

    def __init__(self, poses: int = POSES) -> None:
        self.arm: ArmDescription = load_arm(_ARM)
        self.rig: Rig = self.arm.rig(_RIG)
        self.marker = GRIPPER.markers[0]
        self.chain = MarkerChain(self.arm, square_m(self.marker.size_m))
        from_desk = self.rig.desk_from_base.inverse()
        self.base_from_board = from_desk @ desk_from_board(self.rig)
        self.nominal = Placing(from_desk @ nominal_camera(self.rig), self.marker.target_from_marker)
        servos = ServoCalibration.nominal(self.arm, "bench").joints[:-1]
        self.step_rad: Array = np.array([1.0 / abs(j.ticks_per_rad) for j in servos])
        noise_rad = np.hypot(self.step_rad / math.sqrt(12), math.radians(0.2))
        planner = SightPlanner(self.arm, self.rig, self.chain, self.nominal, LAB_INTRINSICS)
        self.poses_rad = planner.plan(self.rig.home_rad, poses, np.random.default_rng(0), noise_rad).poses_rad

    def run(self, seed: int, unlike: Unlike, board: bool = True, mount: bool = True) -> Found:
        """Measure one hidden arm; without `board` or `mount` the references are not known."""
        truth, rng = LabTruth.draw(seed, 6, "hard"), np.random.default_rng([seed, 7])
        servos = truth.servos(self.arm.gripper.open_rad)
        errors = ServoErrors(servos.zero_rad[:-1], servos.scale[:-1])
        base_from_camera = self.rig.desk_from_base.inverse() @ truth.desk_from_camera(nominal_camera(self.rig))
        askew = _off(rng, 0.0, [_TILT_RAD, _TILT_RAD, _EDGE_RAD])  # about the tool's axes
        stuck_m = self.marker.target_from_marker.position_m + rng.normal(size=3) * 0.001
        tool_from_marker = Pose(stuck_m, (askew @ self.marker.target_from_marker).quat_xyzw)
        samples = self._samples(truth, errors, Placing(base_from_camera, tool_from_marker), unlike, rng)
        board_place = self.base_from_board @ _off(rng, _BOARD_M, [_BOARD_RAD] * 3)
        known = VisionKnowledge(
            marker_size_m=self.marker.size_m,
            corner_error=CORNER_PX / LAB_INTRINSICS.fx_px,
            joint_error_rad=self.step_rad / math.sqrt(12),
            camera_from_board=base_from_camera.inverse() @ board_place,
            board=PlaceReference(self.base_from_board, *_SAID_BOARD) if board else None,
            mount=PlaceReference(self.nominal.tool_from_marker, *_SAID_MOUNT) if mount else None,
        )
        fit = fit_servos(samples, self.arm, known)
        off_rad = fit.errors.zero_rad - errors.zero_rad
        return Found(np.degrees(off_rad), off_rad / fit.zero_std_rad, fit)

    def _samples(
        self, truth: LabTruth, errors: ServoErrors, placing: Placing, unlike: Unlike, rng: np.random.Generator
    ) -> list[MarkerSample]:
        """Return what is read and seen in every pose in which the marker is wholly in the picture."""
        samples: list[MarkerSample] = []
        before = self.rig.home_rad[:5]
        for pose_rad in self.poses_rad[:, :5]:
            approach, before = np.sign(pose_rad - before), pose_rad
            # The gears lag, and the servo reads that; what its own brackets have is read by nobody.
            standing_rad = pose_rad - 0.5 * approach * np.array(truth.backlash_rad[:5])
            servo_rad = np.round(standing_rad / self.step_rad) * self.step_rad
            joint_rad = errors.joint_rad(standing_rad)
            joint_rad = joint_rad + rng.uniform(-0.5, 0.5, 5) * unlike.unseen_play_rad
            if unlike.sags:
                joint_rad = joint_rad + np.array(truth.sag_rad_per_nm[:5]) * _weight_nm(joint_rad)
            image = self.chain.see(joint_rad[None], placing).image[0]
            focal = np.array([LAB_INTRINSICS.fx_px, LAB_INTRINSICS.fy_px])
            pixels = image * focal + [LAB_INTRINSICS.cx_px, LAB_INTRINSICS.cy_px]
            size = np.array([LAB_INTRINSICS.width_px, LAB_INTRINSICS.height_px])
            if ((pixels < 3) | (pixels > size - 4)).any():
                continue
            noise = rng.normal(size=(4, 2)) * CORNER_PX
            if rng.random() < unlike.wild_share:
                noise += rng.normal(size=(4, 2)) * 8.0
            samples.append(MarkerSample(servo_rad, image + noise / focal, approach))
        return samples


def _off(rng: np.random.Generator, position_m: float, rotation_rad: list[float]) -> Pose:
    return Pose.from_rotvec(rng.normal(size=3) * position_m, rng.normal(size=3) * rotation_rad)


@cache
def _world() -> ArmWorld:
    arm = load_arm(_ARM)
    return ArmWorld(arm, arm.rig(_RIG))


def _height_kgm(joint_rad: Array) -> float:
    """Return the arm's mass times the height of its middle."""
    world, height = _world(), 0.0
    for name, angle in zip(world.description.joint_names[:-1], joint_rad.tolist(), strict=True):
        bullet.resetJointState(world.arm, world.joint_index[name], angle, physicsClientId=world.client)
    links = range(bullet.getNumJoints(world.arm, physicsClientId=world.client))
    states = bullet.getLinkStates(world.arm, links, computeForwardKinematics=True, physicsClientId=world.client)
    for link, state in zip(links, states, strict=True):
        height += bullet.getDynamicsInfo(world.arm, link, physicsClientId=world.client)[0] * state[0][2]
    return height


def _weight_nm(joint_rad: Array) -> Array:
    """Return what the arm's weight puts on each joint (5,), the way it would turn it: down the slope of its height."""
    nudges = 1e-4 * np.eye(len(joint_rad))
    rises = [_height_kgm(joint_rad + n) - _height_kgm(joint_rad - n) for n in nudges]
    return -_GRAVITY_M_S2 * np.array(rises) / 2e-4


#: Figure, what is hidden, bar of J2 to J4, bar of J1 and J5.
CASES: tuple[tuple[str, Unlike, float, float], ...] = (
    ("servo zeros by camera, hard", Unlike(), 0.3, 0.5),
    ("servo zeros by camera, hard and 1 degree of play that no reading shows", Unlike(math.radians(1.0)), 0.3, 0.5),
    ("servo zeros by camera, hard and a tenth of the corners wild", Unlike(wild_share=0.1), 0.3, 0.5),
    ("servo zeros by camera, hard and joints that give way", Unlike(sags=True), 0.3, 0.5),
)


def measure(on_progress: Callable[[str, float], None], only: str) -> Iterable[Row]:
    """Yield two rows for each case: the worst of J2 to J4, and the worse of J1 and J5, as the median over the seeds."""
    trials: ServoTrials | None = None
    for figure, unlike, inner_deg, outer_deg in CASES:
        names = (f"{figure}: J2 to J4, the worst, median of {SEEDS}", f"{figure}: J1 and J5, median of {SEEDS}")
        if not any(only in name for name in names):
            continue
        trials = trials or ServoTrials()
        found: list[Found] = []
        for seed in range(SEEDS):
            found.append(trials.run(seed, unlike))
            on_progress(figure, (seed + 1) / SEEDS)
        yield from rows_of(names, found, inner_deg, outer_deg)


def rows_of(names: tuple[str, str], found: list[Found], inner_deg: float, outer_deg: float) -> Iterable[Row]:
    """Return the two rows of one case."""
    off = np.abs([f.zero_deg for f in found])
    spread = np.array([f.deviations for f in found])
    told = f"{POSES} poses, corners {CORNER_PX:g} px"
    for name, joints, bar in ((names[0], [1, 2, 3], inner_deg), (names[1], [0, 4], outer_deg)):
        worst = off[:, joints].max(axis=1)
        sure = float(np.sqrt(np.mean(spread[:, joints] ** 2)))
        yield at_most(
            name, float(np.median(worst)), "deg", bar,
            f"{told}; worst of {len(found)} arms {worst.max():.2f} deg; errors are {sure:.1f} standard deviations",
        )  # fmt: skip
