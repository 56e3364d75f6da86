"""Measures an arm's servos with a camera: drives it through informative poses, looks, and fits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.errors import StaleFrame
from bridge.ports import Camera, Frame, Intrinsics
from calibration.boards import DESK_BOARD, Marker, Target, detect_markers
from calibration.errors import CalibrationError
from calibration.lens import undistort
from calibration.marker_chain import MarkerChain, Placing, square_m
from calibration.marker_problem import PlaceReference
from calibration.servo import ServoCalibration
from calibration.servo_poses import SightPlanner
from calibration.servo_vision import MarkerSample, ServoVisionFit, VisionKnowledge, fit_servos
from perception.markers import CORNER_SIGMA_PX, Corners, solve
from scripts.programs.posing import PosedArm, Standing
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

_FRAMES = 4
_MAX_AGE_S = 1.0
#: A standing marker's corners stay within this of their middle, and a fixed camera's board within that.
_STEADY_PX, _CAMERA_MOVED_PX = 0.8, 2.5
#: After so many poses in which the marker was not seen at all, something is wrong with more than the poses.
_BLIND_POSES = 5
#: Counts that come back as fractions were read under another calibration.
_WHOLE_TICKS = 0.02
_MOVED_RAD = math.radians(1.5)


@dataclass(frozen=True, slots=True)
class SightSetup:
    """What is looked at, and what is known of it.

    `marker.target_from_marker` is about where the marker sits in the tool's frame; `mount_known` whether its turn is
    measured well enough to be the reference of the last joint, `board` where the desk board lies in the base frame.
    """

    description: ArmDescription
    rig: Rig
    before: ServoCalibration
    marker: Marker
    mount: PlaceReference | None
    board: PlaceReference | None
    #: The desk board as it was printed.
    desk_board: Target = DESK_BOARD


@dataclass(slots=True)
class Sights:
    """What was seen so far: samples, the pictures' corners in pixels, and the desk board's corners by id."""

    samples: list[MarkerSample] = field(default_factory=list[MarkerSample])
    corners_px: list[Array] = field(default_factory=list[Array])
    board_px: dict[int, list[Array]] = field(default_factory=dict[int, list[Array]])
    other_ids: set[int] = field(default_factory=set[int])
    skipped: list[str] = field(default_factory=list[str])
    intrinsics: Intrinsics | None = None
    picture: NDArray[np.uint8] | None = None


class ServoSight:
    """One measurement of one arm under one camera, which nobody may move meanwhile."""

    def __init__(self, setup: SightSetup, arm: PosedArm, camera: Camera, intrinsics: Intrinsics | None = None) -> None:
        """`intrinsics` are the camera's as calibrated; those that its frames carry where None."""
        self.setup, self.seen = setup, Sights(intrinsics=intrinsics)
        self._arm, self._camera = arm, camera
        self._count = setup.description.arm_joint_count
        self._step_rad: Array = np.array([1.0 / abs(j.ticks_per_rad) for j in setup.before.joints])
        self._given = intrinsics is not None
        self._last_rad: Array | None = None
        self._approach: Array = np.zeros(self._count)

    # The run -------------------------------------------------------------------------------------
    def plan(self, poses: int, seed: int) -> Array:
        """Look once from where the arm stands, and return the poses (m, n) to visit; raises CalibrationError."""
        standing, frames = self._stand()
        self._check_counts(standing)
        found = [detect_markers(frame.rgb) for frame in frames]
        intrinsics = self._intrinsics(frames[0])
        placing = self._first_placing(standing, found, intrinsics)
        planner = SightPlanner(self.setup.description, self.setup.rig, self._chain(), placing, intrinsics)
        error_rad = np.hypot(self._step_rad[: self._count] / math.sqrt(12), math.radians(0.2))
        return planner.plan(self._arm.target_rad, poses, np.random.default_rng(seed), error_rad).poses_rad

    def look_again(self) -> None:
        """Look once before going on with what was `seen` before; raises CalibrationError where the camera was moved."""
        standing, frames = self._stand()
        self._check_counts(standing)
        self._intrinsics(frames[0])
        self._note_board([detect_markers(frame.rgb) for frame in frames])
        self.seen.picture = frames[-1].rgb

    def visit(self, pose_rad: Array) -> str:
        """Go to one pose and look; return in words what came of it. Raises CalibrationError where nothing can."""
        start_rad = self._arm.target_rad
        self._arm.move_to(pose_rad)
        moved = (pose_rad - start_rad)[: self._count]
        self._approach = np.where(np.abs(moved) > _MOVED_RAD, np.sign(moved), self._approach)
        try:
            standing, frames = self._stand()
            self._sample(standing, frames)
        except _Skipped as skipped:
            self.seen.skipped.append(str(skipped))
            if len(self.seen.skipped) >= _BLIND_POSES and not self.seen.samples:
                raise CalibrationError(
                    f"marker {self.setup.marker.id} was not sampled in any of {_BLIND_POSES} poses ({skipped}); the "
                    f"camera saw the ids {sorted(self.seen.other_ids) or 'of none'}: look at --marker and its light"
                ) from skipped
            return f"skipped: {skipped}"
        return f"{len(self.seen.samples)} samples"

    def fit(self) -> ServoVisionFit:
        """Return what the samples say; raises CalibrationError."""
        intrinsics = self.seen.intrinsics
        assert intrinsics is not None
        knowledge = VisionKnowledge(
            marker_size_m=self.setup.marker.size_m,
            corner_error=CORNER_SIGMA_PX / intrinsics.fx_px,
            joint_error_rad=self._step_rad[: self._count] / math.sqrt(12),
            camera_from_board=self._camera_from_board(self._mean_board(), intrinsics),
            board=self.setup.board,
            mount=self.setup.mount,
        )
        return fit_servos(self.seen.samples, self.setup.description, knowledge)

    # One pose ------------------------------------------------------------------------------------
    def _stand(self) -> tuple[Standing, list[Frame]]:
        """Wait until the arm stands, and look meanwhile."""
        frames: list[Frame] = []

        def look(since_ns: int) -> bool:
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame:  # a slow camera is waited for, as long as the arm's readings are
                return False
            if frame.stamp_ns > since_ns and all(frame.seq != f.seq for f in frames):
                frames.append(frame)
            return len(frames) >= _FRAMES

        try:
            standing = self._arm.stand(look)
        except CalibrationError as error:
            if not self.seen.samples and not self.seen.skipped and self._last_rad is None:
                raise
            raise _Skipped(str(error)) from error
        self._last_rad = standing.reading_rad
        return standing, frames

    def _sample(self, standing: Standing, frames: list[Frame]) -> None:
        """Take in what was seen of the standing arm."""
        found = [detect_markers(frame.rgb) for frame in frames]
        for markers in found:
            self.seen.other_ids.update(markers)
        self._note_board(found)
        corners = [markers[self.setup.marker.id] for markers in found if self.setup.marker.id in markers]
        if len(corners) < 2:
            raise _Skipped(f"marker {self.setup.marker.id} seen in {len(corners)} of {len(found)} pictures")
        middle = np.median(corners, axis=0)
        alike = [c for c in corners if float(np.abs(c - middle).max()) <= _STEADY_PX]
        if len(alike) < 2:
            raise _Skipped(f"the marker moved by {np.ptp(corners, axis=0).max():.1f} px while the arm should stand")
        pixels = np.mean(alike, axis=0)
        intrinsics = self._intrinsics(frames[-1])
        self.seen.picture = frames[-1].rgb
        self.seen.corners_px.append(pixels)
        servo_rad = standing.reading_rad[: self._count]
        self.seen.samples.append(MarkerSample(servo_rad, undistort(pixels, intrinsics), self._approach.copy()))

    def _intrinsics(self, frame: Frame) -> Intrinsics:
        if not self._given:
            self.seen.intrinsics = frame.intrinsics
        assert self.seen.intrinsics is not None
        lens, (height, width) = self.seen.intrinsics, frame.rgb.shape[:2]
        if (lens.width_px, lens.height_px) != (width, height):
            raise CalibrationError(
                f"the camera was calibrated at {lens.width_px} x {lens.height_px} pixels, its pictures are "
                f"{width} x {height}: calibrate it at this size"
            )
        return lens

    def _check_counts(self, standing: Standing) -> None:
        """Refuse readings that are no whole counts: whoever serves the arm goes by another calibration."""
        zero, per_rad = (np.array([getattr(j, key) for j in self.setup.before.joints]) for key in _LINE)
        ticks = zero + per_rad * standing.reading_rad
        off = float(np.abs(ticks - np.round(ticks)).max())
        if off > _WHOLE_TICKS:
            raise CalibrationError(
                "the arm is served under another servo calibration than the one on this disk (its readings are no "
                "whole counts of ours): end `tandem serve` and start it again, or copy its servo.json here"
            )

    # The board and the camera --------------------------------------------------------------------
    def _note_board(self, found: list[dict[int, Array]]) -> None:
        """Take in where the board's markers are; raises CalibrationError where most of them are elsewhere than before.

        A single one that is elsewhere was misread: a shadow or the gripper's edge passes for a marker now and then.
        """
        for markers in found:
            seen = {number: markers[number] for number in self.setup.desk_board.ids if number in markers}
            first = {number: self.seen.board_px[number][0] for number in seen if number in self.seen.board_px}
            shifts_px = {n: float(np.linalg.norm(np.mean(seen[n] - first[n], axis=0))) for n in first}
            middle_px = float(np.median(list(shifts_px.values()))) if shifts_px else 0.0
            if len(shifts_px) > 1 and middle_px > _CAMERA_MOVED_PX:
                raise CalibrationError(
                    f"the camera or the board was moved during the run: {len(shifts_px)} markers of the board went "
                    f"{middle_px:.1f} px. Fix both, and start again with --fresh"
                )
            for number, corners in seen.items():
                if shifts_px.get(number, 0.0) <= _CAMERA_MOVED_PX:
                    self.seen.board_px.setdefault(number, []).append(corners)

    def _mean_board(self) -> dict[int, Array]:
        """Return the median corners of every marker of the board that was seen often enough, by id."""
        return {number: np.median(seen, axis=0) for number, seen in self.seen.board_px.items() if len(seen) >= 3}

    def _camera_from_board(self, seen_px: dict[int, Array], intrinsics: Intrinsics) -> Pose | None:
        """Return where the board is, None where too little of it is seen."""
        ids, object_m, image_px = self.setup.desk_board.matches(seen_px)
        if len(ids) < 4:
            return None
        flat = undistort(image_px, intrinsics)
        fits = solve(Corners(ids, object_m, flat), _UNIT_LENS)
        return fits[0].camera_from_target if fits else None

    def _first_placing(self, standing: Standing, found: list[dict[int, Array]], intrinsics: Intrinsics) -> Placing:
        """Return about where the camera stands: from the board where its place is known, or from the marker."""
        self._note_board(found)
        mount = self.setup.marker.target_from_marker
        if self.setup.board is not None:
            seen = self._camera_from_board(self._mean_board(), intrinsics)
            if seen is None:
                raise CalibrationError(
                    "the camera does not see the desk board (at least 4 of its markers), which is to be the reference "
                    "of the first joint: have it in view, or say --board none"
                )
            return Placing(self.setup.board.pose @ seen.inverse(), mount)
        number = self.setup.marker.id
        corners = [markers[number] for markers in found if number in markers]
        if not corners:
            ids = sorted({n for markers in found for n in markers})
            raise CalibrationError(
                f"the camera does not see marker {number} on the gripper (it sees {ids or 'none'}): turn the arm so "
                f"that it does, and look at --marker"
            )
        flat = undistort(np.mean(corners, axis=0), intrinsics)
        fits = solve(Corners((number,), square_m(self.setup.marker.size_m), flat), _UNIT_LENS)
        tool = self.setup.description.base_from_tool(standing.reading_rad)
        return Placing(tool @ mount @ fits[0].camera_from_target.inverse(), mount)

    def _chain(self) -> MarkerChain:
        return MarkerChain(self.setup.description, square_m(self.setup.marker.size_m))


class _Skipped(Exception):
    """This pose gave no sample; the next one may."""


_LINE = ("zero_ticks", "ticks_per_rad")
_UNIT_LENS = Intrinsics(1, 1, 1.0, 1.0, 0.0, 0.0)
