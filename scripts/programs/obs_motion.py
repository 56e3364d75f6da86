"""Small motions of one joint after another, read back and seen by the camera: order, direction, scale and zero.

These four are why policies work in simulation and fail on the arm: each looks like a bad policy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.errors import StaleFrame
from bridge.ports import Camera, Frame, Intrinsics
from calibration.boards import DESK_BOARD, GRIPPER, Target, desk_from_board, detect_markers
from calibration.errors import CalibrationError
from calibration.lens import project
from perception.errors import PerceptionError
from perception.locate import locate_camera
from perception.markers import Corners, solve
from scripts.programs.posing import PosedArm
from urdf.description import ArmDescription, Rig
from urdf.pose import Array, Pose

#: How far each joint is moved: a centimetre or two at the tool.
STEP_RAD = 0.15
_INWARD_RAD = 0.12
#: Both poses are reached from the same side, from so far: more than the play of a hobby servo's gears.
_RUN_UP_RAD = 0.06
_MAX_AGE_S, _FRAMES = 1.0, 3
#: What is told apart: a joint's own motion from the play of the others, a scale of 1 from one of 1.1.
_OTHERS_RAD, _SCALE_OFF, _COSINE = 0.05, 0.12, 0.95
#: Corners that should move by less tell nothing of a joint; by less than the second, its direction alone: the play of
#: the other joints moves them by a few pixels too.
_LEAST_PX, _LEAST_SCALE_PX = 2.0, 12.0
ZERO_GOOD_M, ZERO_GOOD_RAD = 0.006, math.radians(3.0)


class JointMotion(msgspec.Struct, frozen=True):
    """One joint's small motion. Ratios are measured over commanded; the camera's are None where it tells nothing.

    `moved` is the joint whose reading moved most. `not_judged` is what the camera could not tell, and why.
    """

    joint: str
    moved: str
    read_ratio: float
    seen_ratio: float | None
    seen_cosine: float | None
    expected_px: float
    trouble: str
    not_judged: str = ""


class ToolPlace(msgspec.Struct, frozen=True):
    """How far the gripper's marker is from where the readings have it, in the desk frame."""

    shift_mm: tuple[float, float, float]
    turn_deg: float
    trouble: str

    @property
    def distance_mm(self) -> float:
        """The distance."""
        return math.hypot(*self.shift_mm)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a standing arm: its readings (n,), the marker's corners (4, 2), the camera, and the picture."""

    reading_rad: Array
    corners_px: Array
    desk_from_camera: Pose
    intrinsics: Intrinsics
    picture: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MotionCheck:
    """All small motions, where the tool is, and what the picture of it needs: corners as expected and as seen (px)."""

    motions: tuple[JointMotion, ...]
    place: ToolPlace
    home: Sight
    arrows_px: tuple[tuple[Array, Array, Array], ...]

    @property
    def troubles(self) -> list[str]:
        """What is wrong, in words."""
        return [t for t in (*(m.trouble for m in self.motions), self.place.trouble) if t]


class MotionChecker:
    """Moves an arm a little and looks."""

    def __init__(
        self, description: ArmDescription, rig: Rig, arm: PosedArm, camera: Camera, board: Target = DESK_BOARD
    ) -> None:
        """`board`: the desk board as it was printed."""
        self._board = board
        self._description, self._rig = description, rig
        self._arm, self._camera = arm, camera
        self._marker = GRIPPER.markers[0]

    def run(self, advance: Callable[[str], None]) -> MotionCheck:
        """Go to where the marker is seen, then joint by joint; raises CalibrationError where nothing is seen."""
        start = self._looking_pose()
        self._arm.move_to(start)
        place = self._look()
        motions: list[JointMotion] = []
        arrows: list[tuple[Array, Array, Array]] = []
        for joint, name in enumerate(self._description.joint_names):
            goal = start.copy()
            middle = (self._description.lower_rad[joint] + self._description.upper_rad[joint]) / 2
            step = math.copysign(STEP_RAD, float(middle - start[joint]))
            goal[joint] += step
            home = self._from_one_side(joint, step, start)
            self._arm.move_to(goal)
            seen = self._look()
            motion, expected = self._judge(joint, step, home, seen)
            motions.append(motion)
            arrows.append((home.corners_px.mean(axis=0), expected, seen.corners_px.mean(axis=0)))
            advance(f"{name}: {motion.trouble or motion.not_judged or 'moves as it should'}")
            self._arm.move_to(start)
            self._arm.stand()
        return MotionCheck(tuple(motions), self._place(place), place, tuple(arrows))

    def _from_one_side(self, joint: int, step_rad: float, start: Array) -> Sight:
        """Come to `start` in the direction of the step, so that the joint's play is taken up before it; look."""
        before = start.copy()
        before[joint] -= math.copysign(_RUN_UP_RAD, step_rad)
        self._arm.move_to(np.clip(before, self._description.lower_rad, self._description.upper_rad))
        self._arm.stand()
        self._arm.move_to(start)
        return self._look()

    def _looking_pose(self) -> Array:
        """Return the home pose, its joints a little inside their limits."""
        pose = np.array(self._rig.home_rad)
        margin = self._description.margin_rad + _INWARD_RAD
        lower, upper = self._description.lower_rad + margin, self._description.upper_rad - margin
        pose[:-1] = np.clip(pose, lower, upper)[:-1]
        return pose

    def _look(self) -> Sight:
        frames: list[Frame] = []

        def look(since_ns: int) -> bool:
            try:
                frame = self._camera.read(_MAX_AGE_S)
            except StaleFrame:
                return False
            if frame.stamp_ns > since_ns and all(frame.seq != f.seq for f in frames):
                frames.append(frame)
            return len(frames) >= _FRAMES

        standing = self._arm.stand(look)
        found = [detect_markers(frame.rgb) for frame in frames]
        corners = [markers[self._marker.id] for markers in found if self._marker.id in markers]
        if not corners:
            seen = sorted({number for markers in found for number in markers})
            raise CalibrationError(
                f"the camera does not see marker {self._marker.id} on the gripper (it sees {seen or 'no marker'}): "
                "stick it on the front of the gripper, and have the camera look at it from before the arm"
            )
        lens = frames[-1].intrinsics
        try:
            camera = locate_camera(found[-1], lens, desk_from_board(self._rig), self._board)
        except PerceptionError as error:
            raise CalibrationError(f"the desk board tells where the camera stands, but {error}") from error
        return Sight(standing.reading_rad, np.mean(corners, axis=0), camera, lens, frames[-1].rgb)

    def _corners_at(self, reading_rad: Array, sight: Sight) -> Array:
        """Return where the marker's corners (4, 2) should be seen at these readings."""
        h = self._marker.size_m / 2
        square = np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]])
        return project(square, sight.desk_from_camera.inverse() @ self._desk_from_marker(reading_rad), sight.intrinsics)

    def _desk_from_marker(self, reading_rad: Array) -> Pose:
        tool = self._rig.desk_from_base @ self._description.base_from_tool(reading_rad)
        return tool @ self._marker.target_from_marker

    def _judge(self, joint: int, step_rad: float, home: Sight, seen: Sight) -> tuple[JointMotion, Array]:
        """Return what a motion says, and where the marker's middle was expected (2,)."""
        names = self._description.joint_names
        change = seen.reading_rad - home.reading_rad
        moved = int(np.argmax(np.abs(change)))
        read_ratio = float(change[joint]) / step_rad
        commanded = home.reading_rad.copy()
        commanded[joint] += step_rad
        expected = self._corners_at(commanded, home) - self._corners_at(home.reading_rad, home)
        really = seen.corners_px - home.corners_px
        length = float(np.linalg.norm(expected.mean(axis=0)))
        ratio = cosine = None
        if float(np.abs(expected).max()) >= _LEAST_PX:
            ratio = float((really * expected).sum() / (expected**2).sum())
            cosine = float((really * expected).sum() / (np.linalg.norm(really) * np.linalg.norm(expected) + 1e-12))
        others = np.delete(np.abs(change), joint)
        largest_px = float(np.linalg.norm(expected, axis=1).max())
        judged = largest_px >= _LEAST_SCALE_PX
        trouble = _trouble(
            names[joint], names[moved], joint == moved, read_ratio, ratio, cosine, float(others.max()), judged
        )
        left = "" if judged else f"the camera does not judge its scale: it moves the marker by {largest_px:.0f} px only"
        motion = JointMotion(names[joint], names[moved], read_ratio, ratio, cosine, length, trouble, left)
        return motion, home.corners_px.mean(axis=0) + expected.mean(axis=0)

    def _place(self, home: Sight) -> ToolPlace:
        """Return how far the marker is from where the readings put it."""
        h = self._marker.size_m / 2
        square = np.array([[-h, h, 0.0], [h, h, 0.0], [h, -h, 0.0], [-h, -h, 0.0]])
        fits = solve(Corners((self._marker.id,), square, home.corners_px), home.intrinsics)
        expected = self._desk_from_marker(home.reading_rad)
        if not fits:
            return ToolPlace((math.nan, math.nan, math.nan), math.nan, "no pose explains the marker on the gripper")
        poses = [home.desk_from_camera @ fit.camera_from_target for fit in fits]
        seen = min(poses, key=lambda pose: expected.distance_to(pose)[1])
        x, y, z = (1000 * (seen.position_m - expected.position_m)).tolist()
        away_m, turn_rad = expected.distance_to(seen)
        trouble = ""
        if away_m > ZERO_GOOD_M or turn_rad > ZERO_GOOD_RAD:
            trouble = (
                f"the gripper is {1000 * away_m:.1f} mm and {math.degrees(turn_rad):.1f}° from where the servos have "
                "it: their zeros are off (`tandem calibrate all`)"
            )
        return ToolPlace((x, y, z), math.degrees(turn_rad), trouble)


def _trouble(
    name: str,
    moved: str,
    own: bool,
    read_ratio: float,
    ratio: float | None,
    cosine: float | None,
    others_rad: float,
    judged: bool,
) -> str:
    """Return what is wrong with a joint's motion, the worst first; empty where nothing is.

    Where not `judged`, what the camera saw tells the direction alone.
    """
    if not own:
        return f"{name} was commanded and {moved} moved: the order of the joints is not that of the servos"
    if read_ratio < 0:
        return f"{name} reads backwards: its direction in servo.json is wrong"
    if abs(read_ratio - 1.0) > _SCALE_OFF:
        return f"{name} reads {read_ratio:.2f} of what it was sent: it is held back, or its scale is wrong"
    if others_rad > _OTHERS_RAD:
        return f"when {name} moves, another joint moves by {math.degrees(others_rad):.1f}°"
    if ratio is None or cosine is None:
        return ""
    if ratio < 0:
        return f"{name} moves backwards before the camera: its direction is wrong"
    if not judged:
        return ""
    if cosine < _COSINE:
        return f"{name} moves another way than the model says (cosine {cosine:.2f}): look at the joints' order"
    if abs(ratio - 1.0) > _SCALE_OFF:
        return f"{name} moves {ratio:.2f} of what it was sent, as the camera sees it: its scale is wrong"
    return ""
