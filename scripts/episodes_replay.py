"""`tandem episodes replay`: play the commands of a recording again, on an arm or in simulation."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console

from bridge.clock import MonotonicClock
from bridge.episode_reader import Episode, read_episode
from bridge.errors import PolicyMismatch
from bridge.ports import Clock, Robot
from scripts.cli import data_root, emit_json, refuse, say
from scripts.counted_progress import CountedProgress
from scripts.episodes import EpisodeName
from scripts.exit_codes import DONE
from scripts.programs.episode_files import resolve_episode
from scripts.programs.episode_recording import RecordedRun, recording
from scripts.programs.episode_replay import JointDifference, Timeline, check_same_arm, replay
from scripts.programs.robot_link import RobotLink
from scripts.run import find_robot
from scripts.settled_memory import settled_memory
from sim.sim_robot import SimRobot
from sim.world import ArmWorld
from urdf.description import ArmDescription, Rig, load_arm
from urdf.kinematics import PinocchioKinematics

SIMULATED = "sim"


@dataclass(frozen=True)
class EpisodesReplayArgs:
    """Play the commands of a recording again, on an arm or in simulation, and compare the two motions.

    The arm goes slowly to the first pose. The safety filter has the last word, as in every run. Ctrl-C holds the arm.
    """

    episode: EpisodeName = "newest"
    """A recording: its name, its file, or `newest`."""
    robot: str = SIMULATED
    """`sim`, `lab` (started if none runs), or a robot under data/robots that `tandem serve` serves."""
    max_pause_s: float = 2.0
    """Pauses of the recording are shortened to so many seconds."""
    seed: int = 0
    """Seed of the lab's hidden truth, where this command starts the lab."""
    key: Path | None = None
    """Our key file, where the arm is served with keys (`tandem keys new`). Default: as robot.toml says."""
    take_over: bool = False
    """Take control from whoever has it."""
    json: bool = False
    """Print one JSON object as the last line of stdout: differences in rad."""


class ReplaySummary(msgspec.Struct, frozen=True):
    """The JSON line of `replay`."""

    file: str
    robot: str
    periods: int
    missed_deadlines: int
    loop_hz: float
    joints: tuple[JointDifference, ...]
    episode: str


def run(args: EpisodesReplayArgs) -> int:
    """Play it again; return the exit code."""
    console = Console(stderr=args.json)
    if not (math.isfinite(args.max_pause_s) and args.max_pause_s >= 0):
        return refuse(f"tandem episodes replay: --max-pause-s must be at least 0, got {args.max_pause_s}")
    episode = read_episode(resolve_episode(args.episode, data_root()))
    timeline = Timeline.of(episode, args.max_pause_s)
    header = episode.header
    description = load_arm(header.arm)
    rig = description.rig(header.rig)
    check_same_arm(episode, description, rig.name)
    kinematics = PinocchioKinematics(description, rig)
    with ExitStack() as stack:
        robot, clock = stack.enter_context(_robot(args, episode, description, rig, console))
        stack.enter_context(settled_memory())
        run = RecordedRun(args.robot, description, rig, header.period_s, f"replay of {episode.path.stem}")
        record = stack.enter_context(recording(data_root(), run, clock, lambda text: say(text, args.json)))
        progress = stack.enter_context(CountedProgress(console, "periods", len(timeline.source)))
        joints, statistics = replay(episode, timeline, robot, rig, clock, kinematics, record.writer, progress.advance)
        worst = max(joints, key=lambda j: j.rms_rad)
        record.outcome = f"{worst.joint} {math.degrees(worst.rms_rad):.2f} degrees rms off the recording"
    for joint in joints:
        rms, most = math.degrees(joint.rms_rad), math.degrees(joint.max_rad)
        say(f"  {joint.joint:<12} {rms:7.3f} degrees rms, {most:7.3f} at most", args.json)
    say(f"{len(timeline.source)} periods played on {args.robot}; {record.outcome}", args.json)
    emit_json(
        ReplaySummary(
            file=str(episode.path),
            robot=args.robot,
            periods=len(timeline.source),
            missed_deadlines=statistics.missed_deadlines,
            loop_hz=round(statistics.loop_hz, 3),
            joints=joints,
            episode=str(record.writer.path),
        ),
        args.json,
    )
    return DONE


@contextmanager
def _robot(
    args: EpisodesReplayArgs, episode: Episode, description: ArmDescription, rig: Rig, console: Console
) -> Generator[tuple[Robot, Clock]]:
    """Give the arm and its clock; it is given back, which makes a served one hold."""
    if args.robot == SIMULATED:
        with closing(SimRobot(ArmWorld(description, rig), episode.header.period_s)) as robot:
            yield robot, robot
        return
    with find_robot(args.robot, rig.name, args.seed, console, others=(SIMULATED,)) as address:
        link = RobotLink.of(address, args.key, args.take_over)
        check_same_arm(episode, link.description, address.rig)
        clock = MonotonicClock()
        with closing(link.connect(clock)) as robot:
            if robot.rig_name != rig.name:
                raise PolicyMismatch(f"the server's arm stands in rig {robot.rig_name!r}, recorded was {rig.name!r}")
            yield robot, clock
