"""Calibration routines without interaction: people are reached through callbacks only.

By-hand servo calibration: with the torque off, a person puts one joint after the other at marked poses; a line through
(angle, counts) gives each servo's zero, scale and direction, and the outermost poses its range. What has been measured
is kept on disk after every pose, so that a routine that was stopped goes on where it ended; the calibration in force
is replaced only by a complete new one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from calibration.artifacts import SCHEMA_VERSION, calibration_dir, utc_now, write_atomic
from calibration.errors import BadArtifact, CalibrationError, RoutineStopped
from calibration.servo import JointServo, ServoCalibration, is_servo_scale
from urdf.description import ArmDescription

READINGS_PER_POSE = 3
#: Readings of a joint held still differ by no more than this.
STEADY_TICKS = 8
#: A hand can place a joint on a mark within about 2 degrees: 25 of the 3904 counts of a Dofbot's servo.
MAX_RESIDUAL_OF_RANGE = 25.0 / 3904.0
#: The widths between the jaws that everybody has at hand: the block's 30 mm, besides open and closed.
_BLOCK_M = 0.030


@dataclass(frozen=True, slots=True)
class MarkedPose:
    """Where a person puts one joint: `angle_rad` of joint number `joint`, and how to say it."""

    joint: int
    name: str
    angle_rad: float
    text: str


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a servo read at a marked pose."""

    joint: str
    angle_rad: float
    ticks: int


class PartialSamples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has been measured so far, of which robot."""

    robot_serial: str
    arm_sha256: str
    samples: tuple[Sample, ...]


def marked_poses(description: ArmDescription) -> tuple[MarkedPose, ...]:
    """Return the poses to visit: for each arm joint its limits, and the right angles between them; three jaw widths."""
    poses: list[MarkedPose] = []
    for joint, name in enumerate(description.joint_names[:-1]):
        low, high = float(description.lower_rad[joint]), float(description.upper_rad[joint])
        count = round((high - low) / (math.pi / 2))
        angles = [low + (high - low) * i / count for i in range(count + 1)]
        poses += [MarkedPose(joint, name, angle, f"{name} at {math.degrees(angle):+.0f} deg") for angle in angles]
    law, last = description.gripper, len(description.joint_names) - 1
    widths = [("open as far as it goes", law.open_rad), ("closed on the 30 mm block", law.angle_rad(_BLOCK_M))]
    widths.append(("closed until the tips touch", law.closed_rad))
    poses += [MarkedPose(last, "gripper", angle, f"gripper {how}") for how, angle in widths]
    return tuple(poses)


class ServoRoutine:
    """By-hand servo calibration of one robot."""

    def __init__(
        self,
        description: ArmDescription,
        serial: str,
        data_root: Path,
        ticks_range: tuple[int, int],
        fresh: bool = False,
    ) -> None:
        """Go on from what an earlier, stopped run of the same robot measured, unless `fresh`.

        `ticks_range` is the lowest and the highest count that a servo of the robot's bus takes.
        """
        self._description, self._serial, self._ticks_range = description, serial, ticks_range
        self._partial_path = calibration_dir(data_root, serial) / "servo_partial.json"
        self._samples = () if fresh else self._load_partial()

    @property
    def remaining(self) -> tuple[MarkedPose, ...]:
        """The poses still to be measured."""
        done = {(s.joint, s.angle_rad) for s in self._samples}
        return tuple(p for p in marked_poses(self._description) if (p.name, p.angle_rad) not in done)

    def run(
        self,
        read_ticks: Callable[[int], int],
        place: Callable[[MarkedPose], bool],
        on_progress: Callable[[MarkedPose, int, int], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ServoCalibration:
        """Visit the remaining poses and return the calibration, not yet saved; the torque must be off.

        `place` returns once the joint stands at the mark, or False to stop. `on_progress` gets each pose measured, its
        counts and how many poses remain. Raises RoutineStopped, with everything so far kept, or CalibrationError.
        """
        for pose in self.remaining:
            ticks = self._measure(pose, read_ticks, place, should_stop)
            self._keep((*self._samples, Sample(pose.name, pose.angle_rad, ticks)))
            on_progress(pose, ticks, len(self.remaining))
        return self._fit()

    def _keep(self, samples: tuple[Sample, ...]) -> None:
        self._samples = samples
        partial = PartialSamples(self._serial, self._description.sha256, samples)
        write_atomic(self._partial_path, msgspec.json.encode(partial))

    def finish(self) -> None:
        """Forget the partial measurements: the calibration made of them has been saved."""
        self._partial_path.unlink(missing_ok=True)

    def _measure(
        self,
        pose: MarkedPose,
        read_ticks: Callable[[int], int],
        place: Callable[[MarkedPose], bool],
        should_stop: Callable[[], bool],
    ) -> int:
        """Return the median of steady readings; asks again for as long as the joint moves."""
        while True:
            if should_stop() or not place(pose):
                raise RoutineStopped(
                    f"stopped before {pose.text}; {len(self._samples)} poses are kept for the next run"
                )
            readings = [read_ticks(pose.joint + 1) for _ in range(READINGS_PER_POSE)]
            if max(readings) - min(readings) <= STEADY_TICKS:
                return round(statistics.median(readings))

    def _fit(self) -> ServoCalibration:
        names = self._description.joint_names
        fits = [self._fit_joint(index, name) for index, name in enumerate(names)]
        residual = max(r for _, r in fits)
        return ServoCalibration(
            schema_version=SCHEMA_VERSION,
            robot_serial=self._serial,
            arm=self._description.name,
            arm_sha256=self._description.sha256,
            created_utc=utc_now(),
            method="by hand at marked poses",
            residual=residual,
            residual_unit="ticks",
            joints=tuple(j for j, _ in fits),
        )

    def _fit_joint(self, index: int, name: str) -> tuple[JointServo, float]:
        """Return the least-squares line through one joint's samples and its largest residual in counts.

        A joint whose samples lie on no line is forgotten, so that the next run asks for that joint alone.
        """
        angles = np.array([s.angle_rad for s in self._samples if s.joint == name])
        ticks = np.array([float(s.ticks) for s in self._samples if s.joint == name])
        rows = np.stack([np.ones_like(angles), angles], axis=1)
        zero, per_rad = (float(v) for v in np.linalg.lstsq(rows, ticks, rcond=None)[0])
        residual = float(np.abs(rows @ [zero, per_rad] - ticks).max())
        allowed = MAX_RESIDUAL_OF_RANGE * (self._ticks_range[1] - self._ticks_range[0])
        if residual > allowed or not is_servo_scale(per_rad):
            self._keep(tuple(s for s in self._samples if s.joint != name))
            listing = ", ".join(f"{math.degrees(a):+.0f} deg: {t:.0f}" for a, t in zip(angles, ticks, strict=True))
            raise CalibrationError(
                f"{name}: {per_rad:.0f} ticks/rad (a servo has 100 to 5000 either way) with up to {residual:.0f} ticks "
                f"of error (at most {allowed:.0f}): {listing}. It was not at its marks. The other joints "
                f"are kept: run again to measure {name} alone"
            )
        ends = sorted((float(ticks.min()), float(ticks.max())))
        servo = JointServo(
            joint=name,
            servo_id=index + 1,
            zero_ticks=zero,
            ticks_per_rad=per_rad,
            lower_ticks=max(self._ticks_range[0], round(ends[0])),
            upper_ticks=min(self._ticks_range[1], round(ends[1])),
        )
        return servo, residual

    def _load_partial(self) -> tuple[Sample, ...]:
        try:
            data = self._partial_path.read_bytes()
        except FileNotFoundError:
            return ()
        try:
            partial = msgspec.json.decode(data, type=PartialSamples)
        except msgspec.MsgspecError as error:
            raise BadArtifact(f"{self._partial_path}: {error}. Start over with --fresh") from error
        if partial.robot_serial != self._serial or partial.arm_sha256 != self._description.sha256:
            raise BadArtifact(f"{self._partial_path} was measured for another arm. Start over with --fresh")
        return partial.samples
