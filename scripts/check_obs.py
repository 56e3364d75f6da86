"""`tandem check-obs`: is what a policy would see on an arm what it would see in the training world?"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from calibration.boards import BLOCK_SIZE_M
from calibration.camera_file import CameraCalibration
from calibration.servo import ServoCalibration
from perception.block_source import CameraBlockSource
from perception.marker_locator import MarkerLocator
from scripts.calibrate_all import CalibrateAllArgs, workplace_of
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.exit_codes import DONE, FAILED
from scripts.programs.calibrate_chain import Bench, Workplace
from scripts.programs.calibrated_camera import CalibratedCamera, printed_desk_board
from scripts.programs.lab import ROBOT_NAME
from scripts.programs.obs_channels import (
    Channel,
    DepthPictures,
    depth_channel,
    observe_arm,
    observe_simulator,
    state_channels,
)
from scripts.programs.obs_motion import JointMotion, MotionCheck, MotionChecker, ToolPlace
from scripts.programs.obs_plot import draw_check
from scripts.programs.picture_file import check_picture
from scripts.programs.posing import PosedArm
from scripts.settled_memory import settled_memory
from sim.lab_levels import gap_level
from urdf.description import ArmDescription
from urdf.pose import Pose


@dataclass(frozen=True)
class CheckObsArgs:
    """Compare the observation on an arm with that of the simulator posed alike; small motions are checked first.

    The arm moves joint by joint, by 9 degrees each: keep clear. The gripper's marker, the desk board and a block in its
    area are in the camera's view.
    """

    robot: str = ROBOT_NAME
    """`lab` (started if none runs), or a robot that `tandem serve` serves, its camera named in robot.toml."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab."""
    level: str = "mild"
    """How far off that lab is: 0, mild or hard."""
    depth: bool = False
    """Compare the wrist's depth camera as well; the lab is started with one."""
    block_at_mm: tuple[float, float, float] | None = None
    """Where the block really lies, X Y HEADING in the desk frame [mm mm degrees]; else its place is not measured.

    In the lab it is put there; otherwise you are asked to."""
    out: Path | None = None
    """The picture: .png, .pdf or .svg. Default: data/robots/NAME/check_obs.png."""
    key: Path | None = None
    """Our key file, where the arm is served with keys. Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class CheckObsSummary(msgspec.Struct, frozen=True):
    """The JSON line. `same` is the verdict; `troubles` is what is wrong, the motions first."""

    robot: str
    same: bool
    troubles: tuple[str, ...]
    motions: tuple[JointMotion, ...]
    place: ToolPlace
    channels: tuple[Channel, ...]
    picture: str


@dataclass(frozen=True, slots=True)
class ObservationCheck:
    """What was found."""

    motion: MotionCheck
    channels: list[Channel]
    depth: DepthPictures | None
    missing: str

    @property
    def troubles(self) -> list[str]:
        """What is wrong, in words."""
        found = [*self.motion.troubles, *(c.trouble for c in self.channels if c.trouble)]
        return [*found, self.missing] if self.missing else found


def run(args: CheckObsArgs) -> int:
    """Check, draw and say it; return the exit code: 1 where the observation is not the same."""
    console = Console(stderr=args.json)
    gap_level(args.level)
    if args.seed < 0:
        return refuse(f"tandem check-obs: --seed must be at least 0, got {args.seed}")
    picture = args.out or data_root() / "robots" / args.robot / "check_obs.png"
    check_picture(picture, "a check of the observation")
    place = workplace_of(
        CalibrateAllArgs(args.robot, args.seed, args.level, key=args.key, take_over=args.take_over), console, args.depth
    )
    joints = len(place.description.joint_names)
    with (
        settled_memory(),
        place.take_hold() as bench,
        CountedProgress(console, "checking", joints) as progress,
    ):
        check = check_observation(place, bench, progress.advance, _told(args.block_at_mm))
    draw_check(args.robot, check.motion, check.channels, check.depth, _verdict(check.troubles), picture)
    for trouble in check.troubles:
        _say(console, trouble)
    if args.block_at_mm is None:
        _say(console, "the block's place and heading are not measured: give --block-at-mm")
    same = not check.troubles
    words = "the observation is the same in both worlds" if same else f"{len(check.troubles)} things differ"
    _say(console, f"{args.robot}: {words}. Picture: {picture}")
    emit_json(
        CheckObsSummary(
            args.robot, same, tuple(check.troubles), check.motion.motions, check.motion.place, tuple(check.channels),
            str(picture),
        ),
        args.json,
    )  # fmt: skip
    return DONE if same else FAILED


def check_observation(
    place: Workplace, bench: Bench, advance: Callable[[str], None], told: Pose | None = None
) -> ObservationCheck:
    """Check the motions, then the channels, then depth where there is a camera for it.

    `told`: where the block really lies on the desk, as measured by somebody else than the arm.
    """
    description, rig = place.description, place.rig
    measured = CameraCalibration.find(place.camera_name, place.serial, description, place.data)
    camera, board = CalibratedCamera(bench.camera, measured), printed_desk_board(place.serial, place.data)
    arm = PosedArm(bench.robot, _steps_rad(place, description), clock=place.clock)
    if bench.place_block is not None:
        arm.move_to(np.array(rig.home_rad))
        bench.place_block(told)
    motion = MotionChecker(description, rig, arm, camera, board).run(advance)
    with closing(CameraBlockSource(camera, MarkerLocator(rig, board=board), clock=place.clock)) as tracker:
        place.settle()
        believed = arm.stand().reading_rad  # gears with play stand elsewhere each time they come back
        seen = observe_arm(bench.robot, tracker, arm, description, rig, place.clock)
        place.unsettle(tracker.close)
    if isinstance(seen, str):
        return ObservationCheck(motion, [], None, f"no observation: {seen}")
    block = told or seen.desk_from_block
    posed, everywhere = observe_simulator(description, rig, believed, block)
    shift_m = np.array(motion.place.shift_mm) / 1000
    channels = state_channels(seen, posed, everywhere, shift_m, told is not None)
    pictures = None
    if bench.wrist is not None:
        channel, pictures = depth_channel(bench.wrist, arm, description, rig, believed, block, place.clock)
        channels.append(channel)
    return ObservationCheck(motion, channels, pictures, "")


def _told(block_at_mm: tuple[float, float, float] | None) -> Pose | None:
    """Return the place on the desk that the user measured."""
    if block_at_mm is None:
        return None
    x_mm, y_mm, heading_deg = block_at_mm
    return Pose.from_rpy([x_mm / 1000, y_mm / 1000, BLOCK_SIZE_M / 2], [0.0, 0.0, math.radians(heading_deg)])


def _verdict(troubles: list[str]) -> str:
    """Return what is wrong, the first of it, in a line."""
    if not troubles:
        return ""
    more = f", and {len(troubles) - 1} more" if len(troubles) > 1 else ""
    return troubles[0] + more


def _steps_rad(place: Workplace, description: ArmDescription) -> np.ndarray:
    servos = ServoCalibration.load(place.serial, description, place.data)
    return np.array([1.0 / abs(joint.ticks_per_rad) for joint in servos.joints])


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
