"""`tandem observe`: watch a policy, the oracle or yourself act in any environment: in a window, or as a film."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import tyro
from rich.console import Console
from rich.live import Live

from bridge.observation import CameraView, ObservationSpec
from bridge.ports import Policy
from policies.evaluation import episode_seeds
from scripts.cli import data_root, emit_json, refuse
from scripts.counted_progress import CountedProgress
from scripts.evaluate import PolicyChoice, choose_policy, scripted_choice
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.keyboard import keyboard
from scripts.programs.desk_chart import DeskChart
from scripts.programs.film_env import Audience, EnvFilm, WindowPace
from scripts.programs.keyboard_policy import STOPS, KeyboardPolicy, PersonLeft, PersonSkipped, Situation
from scripts.programs.reel import check_suffix
from scripts.programs.view_tiles import default_views, parse_view
from sim.display import has_display
from sim.env import ArmEnv
from urdf.description import load_arm
from urdf.errors import UnknownName

KEYBOARD = "keyboard"


@dataclass(frozen=True)
class ObserveArgs:
    """Watch a policy, the oracle or yourself act in any environment.

    PyBullet's window where there is a display and no --out, otherwise a film of the scene with the camera views.
    Episode k is the one that `tandem evaluate` plays with the same seed.
    """

    policy: str = "oracle"
    """oracle, random, hold, blind, keyboard (you), a ready-trained policy (`tandem policies`), or a run (folder, name
    or `newest`)."""
    arm: str | None = None
    """Which arm, such as dofbot, ur5 or kuka_iiwa (default: the one that the policy was trained on, else dofbot)."""
    task: str | None = None
    """What to do: reach, grasp or pick-place (default: what the policy was trained for, else grasp)."""
    rig: str | None = None
    """How the arm is mounted, such as table or hanging (default: the policy's rig, else table)."""
    episodes: int = 3
    """How many episodes."""
    seed: int = 1000
    """Seed of the episodes."""
    view: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A camera view to show, CAMERA:KIND[:WIDTHxHEIGHT] with a kind of depth, gray, rgb and a size in pixels (64x64),
    such as wrist:depth; give it several times for several views."""
    objects: tuple[str, ...] = ("block",)
    """What the object of the task may be: one or several of block, cylinder, prism."""
    distractors: int = 0
    """How many other objects lie about, 0 to 4."""
    randomization: str = "none"
    """How far one episode's world differs from the next one's: none, mild or hard."""
    renderer: str = "tiny"
    """Who draws colours: tiny (the processor) or egl (a graphics card, where PyBullet finds its driver)."""
    out: Path | None = None
    """Film to write, .gif (at most 3 MB) or .mp4 (default without a display: a GIF under data/films)."""
    json: bool = False
    """Print one JSON object as the last line of stdout."""


class ObserveSummary(msgspec.Struct, frozen=True):
    """The JSON line. `out` is null where a window was shown; `simulated_s` is the time that passed for the arm.

    `renderer` names what really drew, its driver included.
    """

    policy: str
    arm: str
    task: str
    rig: str
    episodes: int
    successes: int
    simulated_s: float
    frames: int
    renderer: str
    out: str | None
    wall_s: float


@dataclass(slots=True)
class Tally:
    """What came of the episodes so far."""

    outcomes: list[bool]
    simulated_s: float = 0.0
    cut_short: bool = False
    """The last episode was left before it was over."""


def run(args: ObserveArgs) -> int:
    """Play the episodes; return the exit code."""
    console = Console(stderr=args.json)
    for option, value, least in (("episodes", args.episodes, 1), ("seed", args.seed, 0)):
        if value < least:
            return refuse(f"tandem observe: --{option} must be at least {least}, got {value}")
    if args.out is not None:
        check_suffix(args.out)
    start_s = time.monotonic()
    choice = _choose(args)
    window = args.out is None and has_display()
    film = None if window else EnvFilm(_title(choice), f"policy: {choice.name}", args.episodes)
    tally, exit_code = Tally([]), DONE
    with _open(args, choice, film) as (env, audience):
        try:
            if args.policy == KEYBOARD:
                _play_by_hand(args, env, audience, console, tally)
            else:
                _play_all(args, env, choice, audience, console, tally)
        except KeyboardInterrupt:  # what has been played is worth keeping
            tally.cut_short, exit_code = True, INTERRUPTED
            _say(console, "tandem observe: interrupted")
    out = None
    if film is not None and len(film.reel):
        out = args.out or data_root() / "films" / f"{choice.arm}-{choice.task}-{choice.rig}_{choice.name}.gif"
        with console.status("writing the film") as status:
            film.write(out, status.update)
    frames = 0 if film is None else len(film.reel)
    _say(console, _closing(choice, tally, out, frames, window))
    wall_s = round(time.monotonic() - start_s, 3)
    emit_json(
        ObserveSummary(
            args.policy, choice.arm, choice.task, choice.rig, len(tally.outcomes), sum(tally.outcomes),
            round(tally.simulated_s, 3), frames, env.world.renderer_name, None if out is None else str(out), wall_s,
        ),
        args.json,
    )  # fmt: skip
    return exit_code


def _choose(args: ObserveArgs) -> PolicyChoice:
    if args.policy == KEYBOARD:
        return scripted_choice(KEYBOARD, args.rig, args.arm, args.task)
    try:
        return choose_policy(args.policy, args.rig, args.arm, args.task)
    except UnknownName as unknown:
        raise UnknownName("policy", args.policy, [KEYBOARD, *unknown.valid]) from None


@contextmanager
def _open(args: ObserveArgs, choice: PolicyChoice, film: EnvFilm | None) -> Generator[tuple[ArmEnv, Audience]]:
    """Give the environment, with a window where there is no film, and who watches it."""
    description = load_arm(choice.arm)
    rig = description.rig(choice.rig)
    views = tuple(parse_view(text, description, rig) for text in args.view) or default_views(description)
    audience: Audience = film if film is not None else WindowPace()
    env = ArmEnv(
        arm=choice.arm,
        task=choice.task,
        rig=choice.rig,
        spec=_with_views(choice.spec, views),
        action_repeat=choice.action_repeat,
        objects=args.objects,
        distractors=args.distractors,
        randomization=args.randomization,
        renderer=args.renderer,
        window=film is None,
        recorder=audience,
    )
    try:
        yield env, audience
    finally:
        env.close()


def _with_views(spec: ObservationSpec, views: Sequence[CameraView]) -> ObservationSpec:
    """Return what the policy reads and, besides, the views to show; what it reads is shown as it reads it."""
    keys = [view.key for view in spec.views]
    return dataclasses.replace(spec, views=(*spec.views, *(view for view in views if view.key not in keys)))


def _play_all(
    args: ObserveArgs, env: ArmEnv, choice: PolicyChoice, audience: Audience, console: Console, tally: Tally
) -> None:
    """Play every episode with a policy."""
    trained = choice.make_policy(env, 0) if choice.folder is not None else None
    with CountedProgress(console, "episodes", args.episodes) as progress:
        for number, seed in enumerate(episode_seeds(args.seed, args.episodes), 1):
            _play(env, trained or choice.make_policy(env, seed), seed, number, audience, tally)
            progress.advance(f"{sum(tally.outcomes)} succeeded")


def _play(env: ArmEnv, policy: Policy, seed: int, number: int, audience: Audience, tally: Tally) -> None:
    """Play one episode."""
    observation, _ = env.reset(seed=seed)
    audience.begin(env, number)
    over = truncated = False
    info: dict[str, object] = {}
    while not over:
        observation, _, terminated, truncated, info = env.step(policy.act(observation))
        over = terminated or truncated
    success, time_s = bool(info["is_success"]), env.robot.now_ns() * 1e-9
    tally.outcomes.append(success)
    tally.simulated_s += time_s
    audience.end(success, _verdict(success, truncated, time_s))


def _verdict(success: bool, truncated: bool, time_s: float) -> str:
    if success:
        return f"success after {time_s:.1f} s"
    return f"failed: {time_s:.0f} s are over" if truncated else f"failed after {time_s:.1f} s"


def _play_by_hand(args: ObserveArgs, env: ArmEnv, audience: Audience, console: Console, tally: Tally) -> None:
    """Let the person at the terminal play; `q` ends the film where it is, `n` gives the episode up."""
    chart = DeskChart(env, colors=console.color_system is not None)
    with keyboard(STOPS) as keys, Live(console=console, auto_refresh=False, transient=True) as live:
        number = 0

        def show(situation: Situation) -> None:
            remark = f"episode {number} of {args.episodes}, {sum(tally.outcomes)} succeeded"
            live.update(chart.draw(situation, remark), refresh=True)

        person = KeyboardPolicy(env.action_layout, keys, show)
        for number, seed in enumerate(episode_seeds(args.seed, args.episodes), 1):
            person.begin()
            try:
                _play(env, person, seed, number, audience, tally)
            except PersonSkipped:
                tally.outcomes.append(False)
                tally.simulated_s += env.robot.now_ns() * 1e-9
                audience.end(False, "given up")
            except PersonLeft:
                tally.simulated_s += env.robot.now_ns() * 1e-9
                tally.cut_short = True
                break


def _title(choice: PolicyChoice) -> str:
    return f"{choice.arm} {choice.task}, rig {choice.rig}"


def _closing(choice: PolicyChoice, tally: Tally, out: Path | None, frames: int, window: bool) -> str:
    count, successes = len(tally.outcomes), sum(tally.outcomes)
    text = f"{_title(choice)}: {successes} of {count} episodes succeeded, {tally.simulated_s:.1f} s for the arm"
    if tally.cut_short:
        text += "; the last one was left unfinished"
    if out is None:
        return text if window or frames else f"{text}; nothing was played, so there is no film"
    return f"{text}; film of {frames} frames, {out.stat().st_size / 1e6:.1f} MB: {out}"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
