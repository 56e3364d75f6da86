"""Joint zeros and scales from a fixed camera that watches a marker on the gripper.

Estimated together, because none is known: how each servo misjudges its joint (`joint = scale * servo + zero`), its
play, where the camera stands and how the marker sits. A sample's error is the corners' and, through the arm, that of
its joints: `s^2 I + J S J'`. Unweighted, the joints' errors would be taken for the corners' and the result be ten times
worse. Ref: docs/calibration.md, "Servos".

What pictures alone do not determine, whatever the poses: the zero of the first joint (turning it turns the world about
its axis, as does turning the camera) and that of the last (as does turning the marker). The first needs a board at a
known place of the base, the last a marker of known mounting. What the data leave open is held at its prior, and told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from calibration.actuator import ServoErrors
from calibration.errors import CalibrationError
from calibration.marker_chain import MarkerChain, Placing, square_m
from calibration.marker_problem import MarkerProblem, PlaceReference, Unknowns
from calibration.marker_start import mean_pose, plane_pose, solve_placing
from urdf.description import ArmDescription
from urdf.pose import Array, Pose

#: Fewer samples than this leave no room to notice a bad one: 5 zeros, 5 scales and 12 numbers of two poses are sought.
MIN_SAMPLES = 12
#: Every joint whose servo is to be measured has to be seen over this much of its range.
MIN_SPAN_RAD = math.radians(15.0)
#: A marker whose picture moved less than this, in focal lengths, over all samples is not on the moving gripper.
MIN_MOVED = 0.02
#: The standard deviations up to which a number counts as determined; beyond, it is held at its prior.
ACCEPTED_ZERO_RAD, ACCEPTED_SCALE = math.radians(0.5), 0.012
#: What is known of a hobby servo before: one unit was 4 degrees and 6 % off (docs/bus.md; dofbot_sci_ws).
ZERO_PRIOR_RAD, SCALE_PRIOR, PLAY_PRIOR_RAD = math.radians(3.0), 0.05, math.radians(0.5)
#: From coarse to fine: the error that joints are taken to have while the start is still far off.
_COARSE_RAD = tuple(math.radians(v) for v in (4.0, 1.5, 0.5))
#: A sample whose weighted sum of 8 squares exceeds this is left out: chi squared, one in 10,000.
_CHI2_LIMIT = 31.8


@dataclass(frozen=True, slots=True)
class MarkerSample:
    """A standing arm, read and seen. `servo_rad` (a,) are the servos' angles under the calibration in force.

    `corners` (4, 2) of the gripper's marker in normalised coordinates, clockwise from its top left. `approach` (a,) is
    the side from which each joint came: +1 upwards, -1 downwards, 0 unknown.
    """

    servo_rad: Array
    corners: Array
    approach: Array = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, slots=True)
class VisionKnowledge:
    """What is known besides the samples.

    `corner_error` is the standard deviation of a corner's coordinate in focal lengths; `joint_error_rad` (a,) that of
    a reading's step. `camera_from_board` was seen once, while `board` says where it lies in the base frame; `mount` how
    the marker sits on the tool. Without one of them a zero stays open.
    """

    marker_size_m: float
    corner_error: float
    joint_error_rad: Array
    camera_from_board: Pose | None = None
    board: PlaceReference | None = None
    mount: PlaceReference | None = None


@dataclass(frozen=True, slots=True)
class ServoVisionFit:
    """What the samples say. Arrays (a,) follow the arm's joints; the gripper's servo is not seen.

    `errors` relates servo and joint; `covariance` (2a, 2a) is that of zeros and scales, the prior's where a number was
    `held` ("joint1 zero"). `play_rad` is the gap that the approaches show, `unexplained_rad` what joints
    err besides. `residual` (n,) is each sample's RMS corner error in focal lengths, `dropped` numbers those left out.
    """

    errors: ServoErrors
    covariance: Array
    held: tuple[str, ...]
    play_rad: Array
    unexplained_rad: float
    placing: Placing
    residual: Array
    dropped: tuple[int, ...]

    @property
    def zero_std_rad(self) -> Array:
        """The standard deviations of the zeros (a,)."""
        return np.sqrt(np.diag(self.covariance))[: len(self.play_rad)]

    @property
    def scale_std(self) -> Array:
        """The standard deviations of the scales (a,)."""
        return np.sqrt(np.diag(self.covariance))[len(self.play_rad) :]

    def offset_rad(self, servo_rad: Array) -> tuple[Array, Array]:
        """Return how far the joints stand from what their servos (a,) say, and the standard deviations of that."""
        zero, scale = np.eye(2 * len(servo_rad)).reshape(2, len(servo_rad), -1)
        at = zero + servo_rad[:, None] * scale
        std_rad = np.sqrt(np.sum(at @ self.covariance * at, axis=1))
        return self.errors.joint_rad(servo_rad) - servo_rad, std_rad

    @property
    def kept_residual(self) -> float:
        """The RMS corner error of the samples that count, in focal lengths."""
        kept = np.delete(self.residual, list(self.dropped))
        return math.sqrt(float(np.mean(kept**2)))


def fit_servos(samples: Sequence[MarkerSample], description: ArmDescription, known: VisionKnowledge) -> ServoVisionFit:
    """Return how the servos err; raises CalibrationError where the samples cannot tell anything."""
    names = description.joint_names[: description.arm_joint_count]
    _check(samples, names)
    problem = MarkerProblem(
        MarkerChain(description, square_m(known.marker_size_m)),
        np.array([s.servo_rad for s in samples]),
        np.array([s.corners for s in samples]),
        np.array([s.approach if len(s.approach) else np.zeros(len(names)) for s in samples]),
        known.corner_error,
        _board_reference(known),
        known.mount,
        np.array([ZERO_PRIOR_RAD, SCALE_PRIOR, PLAY_PRIOR_RAD]),
    )
    unknowns = Unknowns.start(len(names), _start(problem, known))
    for error_rad in _COARSE_RAD:
        unknowns = problem.solved(unknowns, np.full(len(names), error_rad))
    unknowns, extra_rad = _weighed(problem, unknowns, known.joint_error_rad)
    joint_rad = np.hypot(known.joint_error_rad, extra_rad)
    problem.keep = problem.mismatch(unknowns, joint_rad) <= _CHI2_LIMIT
    kept = int(problem.keep.sum())
    if 0.6 * len(samples) <= kept < MIN_SAMPLES:
        raise CalibrationError(
            f"{kept} of {len(samples)} samples fit one arm, and {MIN_SAMPLES} are needed: take more poses (36 is usual)"
        )
    if kept < 0.6 * len(samples):
        raise CalibrationError(
            f"{len(samples) - kept} of {len(samples)} samples do not fit any arm: check the marker's size and "
            f"id, that it is tight on the gripper, and that neither camera nor base moved"
        )
    unknowns, extra_rad = _weighed(problem, unknowns, known.joint_error_rad)
    joint_rad = np.hypot(known.joint_error_rad, extra_rad)
    held = problem.undetermined(unknowns, joint_rad, ACCEPTED_ZERO_RAD, ACCEPTED_SCALE)
    if held.all():
        raise CalibrationError("these samples determine no servo's zero or scale: take more, in poses further apart")
    problem.held = held
    unknowns = problem.solved(unknowns.without(held), joint_rad)
    labels = [f"{name} {what}" for what in ("zero", "scale") for name in names]
    return ServoVisionFit(
        errors=ServoErrors.of(unknowns.zero_rad, 1.0 + unknowns.stretch),
        covariance=problem.covariance(unknowns, joint_rad),
        held=tuple(label for label, is_held in zip(labels, held, strict=True) if is_held),
        play_rad=2.0 * np.abs(unknowns.half_play_rad),
        unexplained_rad=extra_rad,
        placing=unknowns.placing,
        residual=problem.corner_rms(unknowns),
        dropped=tuple(np.flatnonzero(~problem.keep).tolist()),
    )


def _weighed(problem: MarkerProblem, unknowns: Unknowns, joint_error_rad: Array) -> tuple[Unknowns, float]:
    """Return the solution and how much all joints err beyond their readings' steps, so that the weights are right."""
    extra_rad = _COARSE_RAD[-1]
    for _ in range(4):
        unknowns = problem.solved(unknowns, np.hypot(joint_error_rad, extra_rad))
        extra_rad = problem.extra_error_rad(unknowns, joint_error_rad)
    return unknowns, extra_rad


def _start(problem: MarkerProblem, known: VisionKnowledge) -> Placing:
    """Return where camera and marker are, from what is known or from the samples alone."""
    seen = [plane_pose(corners, problem.chain.corners_m) for corners in problem.corners]
    tools = [Pose.from_matrix(m) for m in problem.chain.base_from_tool(problem.servo_rad)[0]]
    camera = None if problem.board is None else problem.board.pose
    mount = None if known.mount is None else known.mount.pose
    if camera is None and mount is None:
        return solve_placing(tools, seen)
    if camera is None:
        assert mount is not None
        camera = mean_pose([t @ mount @ s.inverse() for t, s in zip(tools, seen, strict=True)])
    mounts = [t.inverse() @ camera @ s for t, s in zip(tools, seen, strict=True)]
    return Placing(camera, mount or mean_pose(mounts))


def _board_reference(known: VisionKnowledge) -> PlaceReference | None:
    """Return what the board says of `base_from_camera`."""
    if known.board is None or known.camera_from_board is None:
        return None
    camera = known.board.pose @ known.camera_from_board.inverse()
    return PlaceReference(camera, known.board.position_m, known.board.rotation_rad, known.board.pose.position_m)


def _check(samples: Sequence[MarkerSample], names: tuple[str, ...]) -> None:
    if len(samples) < MIN_SAMPLES:
        raise CalibrationError(f"{len(samples)} samples, at least {MIN_SAMPLES} are needed (25 or more are better)")
    for number, sample in enumerate(samples):
        if sample.servo_rad.shape != (len(names),) or sample.corners.shape != (4, 2):
            raise CalibrationError(
                f"sample {number}: expected {len(names)} servo angles and 4 corners, "
                f"got {sample.servo_rad.shape} and {sample.corners.shape}"
            )
        if not (np.isfinite(sample.servo_rad).all() and np.isfinite(sample.corners).all()):
            raise CalibrationError(f"sample {number}: every angle and corner must be finite")
    middles = np.array([sample.corners.mean(axis=0) for sample in samples])
    spans = np.ptp([sample.servo_rad for sample in samples], axis=0)
    if float(np.ptp(middles, axis=0).max()) < MIN_MOVED and spans.max() > MIN_SPAN_RAD:
        raise CalibrationError(
            "the marker stayed where it was while the arm moved: it is not on the gripper. Look at --marker"
        )
    if spans.max() < MIN_SPAN_RAD:
        raise CalibrationError(
            f"the arm hardly moved between the samples: no joint by more than {math.degrees(spans.max()):.1f} degrees"
        )
