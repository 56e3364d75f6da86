"""Drives an arm through a hand-eye calibration: first small turns, then wherever most is still to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bridge.errors import StaleFrame
from bridge.ports import Camera, Frame
from calibration.board_detection import explain_nothing, sharpness_px
from calibration.board_spec import Board
from calibration.boards import Target, detect_markers
from calibration.errors import CalibrationError, SampleRefused
from calibration.hand_eye import HandEyeResult
from calibration.hand_eye_model import HandEyeGuess
from calibration.hand_eye_poses import HandEyePlanner
from calibration.hand_eye_routine import HandEyeRoutine
from calibration.hand_eye_sample import MIN_CORNERS
from scripts.programs.posing import PosedArm, Standing
from urdf.pose import Array

Image = NDArray[np.uint8]

SPEED_RAD_S = 0.5
_FRAMES, _MAX_AGE_S = 4, 3.0
#: After so many poses in a row without a sample something is wrong with more than the poses.
_MOST_MISSES = 6
#: No joint goes farther from where the board was seen: a little more after every sample, half as far after a miss.
_FIRST_REACH_RAD, _WIDER, _NARROWER = 0.5, 1.25, 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Points of a pattern in one picture: their numbers (k,), places on it (k, 3) [m], and pixels (k, 2)."""

    ids: NDArray[np.int64]
    object_m: Array
    image_px: Array


class Pattern(Protocol):
    """Whatever is looked at."""

    @property
    def object_m(self) -> Array:
        """All of its points (k, 3)."""
        ...

    def find(self, rgb: Image) -> Corners:
        """Return what a picture shows of it."""
        ...

    def blur_px(self, rgb: Image, corners: Corners) -> float:
        """Return how blurred its edges are; 0 where that cannot be told."""
        ...

    def explain_nothing(self, rgb: Image) -> None:
        """Raise where a picture shows why none of it was found."""
        ...


class BoardPattern:
    """A printed board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.object_m: Array = np.array(list(board.points_m.values()))

    def find(self, rgb: Image) -> Corners:
        """Return what a picture shows of it; raises BoardError where it shows another board."""
        found = self._board.detect(rgb)
        return Corners(found.ids, found.object_m, found.image_px)

    def blur_px(self, rgb: Image, corners: Corners) -> float:
        """Return how blurred its edges are."""
        blur = sharpness_px(self._board, rgb, self._board.detect(rgb))
        return blur if np.isfinite(blur) else 0.0

    def explain_nothing(self, rgb: Image) -> None:
        """Raise where the board is mirrored or of another dictionary."""
        explain_nothing(self._board, rgb)


class TargetPattern:
    """A target of the desk's dictionary, such as the marker on the gripper."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.object_m: Array = np.concatenate([m.corners_m() for m in target.markers])

    def find(self, rgb: Image) -> Corners:
        """Return what a picture shows of it."""
        ids, object_m, image_px = self._target.matches(detect_markers(rgb))
        return Corners(np.array([4 * i + k for i in ids for k in range(4)], dtype=np.int64), object_m, image_px)

    def blur_px(self, rgb: Image, corners: Corners) -> float:
        """Return 0: how blurred a single marker is, nobody says."""
        return 0.0

    def explain_nothing(self, rgb: Image) -> None:
        """There is nothing more to say."""


class HandEyeRun:
    """One calibration of one arm. `advance` hears in words what came of every pose."""

    def __init__(
        self,
        routine: HandEyeRoutine,
        arm: PosedArm,
        step_rad: Array,
        camera: Camera,
        pattern: Pattern,
        planner: HandEyePlanner,
    ) -> None:
        """`step_rad` (n,) is the step of each joint's reading."""
        self.routine = routine
        self.skipped: list[str] = []
        self.picture: Image | None = None
        self._arm, self._camera, self._pattern, self._planner = arm, camera, pattern, planner
        self._step_rad = step_rad

    def run(self, wanted: int, rng: np.random.Generator, advance: Callable[[str], None]) -> HandEyeResult:
        """Sample until there are `wanted` samples, and solve; raises CalibrationError where nothing can be seen."""
        start_rad = np.array(self._arm.target_rad)
        if not self.routine.samples:
            advance(self._first_look())
        self._small_turns(start_rad, wanted, advance)
        misses, found, reach_rad = 0, self.routine.solve(), _FIRST_REACH_RAD
        while len(self.routine.samples) < wanted and misses < _MOST_MISSES:
            found = self.routine.solution() or found
            guess = HandEyeGuess(found.pose, found.board, found.offset_rad)
            goal = self._planner.next_pose(list(self.routine.samples), guess, self._arm.target_rad, rng, reach_rad)
            if goal is None:
                if np.abs(self._arm.target_rad - start_rad).max() < 1e-6:
                    break
                self._arm.move_to(start_rad, SPEED_RAD_S)
                continue
            taken, words = self._visit(goal.joints_rad)
            misses = 0 if taken else misses + 1
            reach_rad *= _WIDER if taken else _NARROWER
            advance(words)
        self._arm.move_to(start_rad, SPEED_RAD_S)
        return self.routine.solve()

    def go_to(self, joints_rad: Array) -> None:
        """Go to the arm joints (n - 1,) from which to begin, by home where the straight way is not safe.

        Raises CalibrationError where that is no safe pose.
        """
        arm = self.routine.setup.description
        if joints_rad.shape != (arm.arm_joint_count,):
            raise CalibrationError(f"a start of {joints_rad.size} angles: {arm.name} has {arm.arm_joint_count} joints")
        goal_rad = np.append(joints_rad, self._arm.target_rad[-1])
        if (goal_rad < arm.lower_rad).any() or (goal_rad > arm.upper_rad).any():
            raise CalibrationError(f"the start lies outside the joint limits of {arm.name}")
        if not self._planner.is_safe_way(self._arm.target_rad, goal_rad):
            # Where it was switched off it may lie lower than any pose that is planned; home is above all of them.
            by_rad = np.append(self._planner.home_rad[:-1], goal_rad[-1])
            if not self._planner.is_safe_way(by_rad, goal_rad):
                raise CalibrationError("the start, or the way there from home, comes too near to desk or arm")
            self._arm.move_to(by_rad, SPEED_RAD_S)
        self._arm.move_to(goal_rad, SPEED_RAD_S)

    def _first_look(self) -> str:
        """Take a sample where the arm stands; whoever put it there was to see to it that the board is in view."""
        try:
            return self._sample()
        except SampleRefused as refused:
            if self.picture is not None:
                self._pattern.explain_nothing(self.picture)
            raise CalibrationError(
                f"nothing can be begun from here: {refused}. Move the arm so that the camera sees the whole board, at "
                f"0.15 to 0.4 m and not from the side"
            ) from refused

    def _small_turns(self, start_rad: Array, wanted: int, advance: Callable[[str], None]) -> None:
        """Turn about the start until there is a first solution: nothing need be known of the camera for that."""
        for share in (1.0, 0.6, 1.5):
            for pose_rad in self._planner.first_poses(start_rad, share):
                if self.routine.solution() is not None or len(self.routine.samples) >= wanted:
                    return
                self._back_to(start_rad, pose_rad)
                advance(self._visit(pose_rad)[1])

    def _back_to(self, start_rad: Array, pose_rad: Array) -> None:
        """Go by the start where the straight way is not safe."""
        if not self._planner.is_safe_way(self._arm.target_rad, pose_rad):
            self._arm.move_to(start_rad, SPEED_RAD_S)

    def _visit(self, pose_rad: Array) -> tuple[bool, str]:
        """Go to a pose and look; return whether that gave a sample, and in words what came of it."""
        self._arm.move_to(pose_rad, SPEED_RAD_S)
        try:
            return True, self._sample()
        except (SampleRefused, _NotStill) as refused:
            self.skipped.append(str(refused))
            return False, f"skipped: {refused}"

    def _sample(self) -> str:
        standing, frames = self._stand()
        self.picture = frames[-1].rgb
        return sample_of(self.routine, self._pattern, [standing.reading_rad], self._step_rad, frames)

    def _stand(self) -> tuple[Standing, list[Frame]]:
        """Wait until the arm stands, and look meanwhile."""
        frames: list[Frame] = []

        def look(since_ns: int) -> bool:
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame as stale:
                if frames:
                    return False
                raise CalibrationError(f"the camera shows nothing new: {stale}") from stale
            if frame.stamp_ns > since_ns and all(frame.seq != f.seq for f in frames):
                frames.append(frame)
            return len(frames) >= _FRAMES

        try:
            return self._arm.stand(look), frames
        except CalibrationError as error:
            if not frames:
                raise
            raise _NotStill(str(error)) from error


class _NotStill(Exception):
    """The arm did not come to rest; the next pose may be better."""


def sample_of(
    routine: HandEyeRoutine, pattern: Pattern, readings_rad: list[Array], step_rad: Array, frames: list[Frame]
) -> str:
    """Have a routine take in what was read (n,) and seen of a standing arm; raises SampleRefused."""
    count = routine.setup.description.arm_joint_count
    views = [pattern.find(f.rgb) for f in frames]
    ids = views[0].ids
    for view in views[1:]:
        ids = np.intersect1d(ids, view.ids)
    if len(ids) < MIN_CORNERS:
        raise SampleRefused("here", f"{len(ids)} points of the board are seen", "have the board in view, in good light")
    rows = [[int(np.flatnonzero(v.ids == i)[0]) for i in ids] for v in views]
    sample = routine.add(
        [r[:count] for r in readings_rad],
        step_rad[:count],
        views[0].object_m[rows[0]],
        [v.image_px[r] for v, r in zip(views, rows, strict=True)],
        pattern.blur_px(frames[-1].rgb, views[-1]),
    )
    return f"sample {sample.name}, {len(ids)} points"
