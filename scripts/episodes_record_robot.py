"""The part of `tandem episodes record` that needs an arm: `tandem run` with a recording of what the policy saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from scripts.counted_progress import CountedProgress
from scripts.evaluate import choose_policy
from scripts.exit_codes import DONE
from scripts.programs.robot_eyes import EyesKind, needs_wrist
from scripts.programs.robot_link import RobotLink
from scripts.run import Tally, closing, find_robot, run_on
from urdf.errors import ArmError

if TYPE_CHECKING:
    from scripts.episodes_record import EpisodesRecordArgs, RecordSummary

_TASK = "grasp"


def record_on_robot(args: EpisodesRecordArgs, console: Console) -> tuple[int, RecordSummary]:
    """Record grasps of an arm; return the exit code and what came of it."""
    from scripts.episodes_record import KEYBOARD, RecordSummary

    if args.policy == KEYBOARD:
        raise ArmError("--policy keyboard waits for keys, an arm does not: `tandem teleop`, or --robot sim")
    if args.sees or args.arm or args.task not in (None, _TASK):
        raise ArmError("--sees, --arm and --task are for --robot sim: an arm grasps, and shows what the policy reads")
    choice = choose_policy(args.policy, args.rig)
    wrist = needs_wrist(choice.spec, EyesKind.AUTO)
    with (
        find_robot(args.robot, choice.rig, args.seed, console, wrist) as robot,
        CountedProgress(console, "attempts", args.episodes) as progress,
    ):
        link = RobotLink.of(robot, args.key, args.take_over)
        outcome = run_on(
            link,
            choice,
            args.episodes,
            console,
            Tally(console, progress).advance,
            recorded_as=args.robot,
            robot_name=args.robot,
            demonstrate=True,
        )
    console.print(closing(outcome), highlight=False, markup=False, soft_wrap=True)
    ran, arm = outcome.summary, link.description.name
    return DONE, RecordSummary(ran.episode or "", args.robot, arm, _TASK, choice.name, ran.episodes, ran.successes)
