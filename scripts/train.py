"""`tandem train`: train a policy in simulation, and leave a run folder that says everything about it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol, cast

import msgspec
from rich.console import Console

from bridge.actions import ActionLayout
from bridge.encoding import ObservationLayout
from bridge.observation import ObservationSpec
from policies.artifact import SCHEMA as MANIFEST_SCHEMA
from policies.artifact import LayoutRecord, PolicyManifest, SpecRecord, proprioception_record, write_json
from policies.config import TrainConfig
from policies.demonstrations import Demonstrations
from policies.errors import BadConfig, SimulationFailed, UnfitDemonstrations, UnfitWorlds
from policies.films import newest_film
from policies.kept import can_be_resumed
from policies.metrics import read_metrics
from policies.presets import PRESETS
from policies.training import Hooks, TrainResult, train
from scripts import run_folder
from scripts.cli import data_root, emit_json
from scripts.counted_progress import minutes
from scripts.exit_codes import DONE, INTERRUPTED
from scripts.learning_curve import draw_learning_curve
from scripts.programs.demonstrated import read_demonstrated
from scripts.programs.episode_film import EpisodeFilmer
from scripts.run_folder import RunConfig, RunRecord
from scripts.simulation import SimulatedTask, judged, judging_worlds, of_unit, simulated, training_worlds
from scripts.train_settings import TrainArgs, prepare
from scripts.training_panel import About
from scripts.training_progress import TrainingProgress
from sim.curriculum import curriculum_preset
from sim.errors import SimError, WorkerError
from sim.vector_worker import WorldFactory
from urdf.description import ArmDescription

CURVE_NAME = "learning_curve.png"


class RobotEnvironment(Protocol):
    """What an environment tells about the robot behind it."""

    description: ArmDescription
    observation_spec: ObservationSpec
    observation_layout: ObservationLayout
    action_layout: ActionLayout
    control_rate_hz: float
    action_repeat: int


class TrainSummary(msgspec.Struct, frozen=True):
    """The JSON line: `episodes` and `env_steps` (decisions) count training.

    `success_rate` is the exported policy's on new episodes; null in an interrupted run, which exported none yet.
    """

    run: str
    success_rate: float | None
    episodes: int
    env_steps: int
    wall_s: float


class StopOnSignal:
    """A context in which the first Ctrl-C or SIGTERM asks to stop, and the second stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> StopOnSignal:
        self._before = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def manifest_for(config: RunConfig, make_environment: WorldFactory) -> PolicyManifest:
    """Return the manifest of a policy trained in this environment; name, inputs and hashes are filled in later."""
    environment = make_environment(0)
    try:
        robot = cast(RobotEnvironment, environment.unwrapped)
        action = robot.action_layout
        return PolicyManifest(
            schema=MANIFEST_SCHEMA,
            task=config.train.task,
            rig=config.rig,
            arm=robot.description.name,
            arm_sha256=robot.description.sha256,
            reads=SpecRecord.of(robot.observation_spec),
            inputs=(),
            observation=LayoutRecord.of(robot.observation_layout),
            proprioception=proprioception_record(robot.description, robot.observation_spec),
            action=LayoutRecord(action.name, action.version, action.names),
            control_rate_hz=float(robot.control_rate_hz),
            action_repeat=int(robot.action_repeat),
            normaliser="inside the network, where there is one; the observation layout scales every number",
            training_run="",
            git_commit=config.git_commit,
            versions=config.versions,
            onnx_sha256="",
            golden_sha256="",
        )
    finally:
        environment.close()


def run(
    args: TrainArgs,
    environments: Callable[[TrainConfig, str], WorldFactory] = simulated,
    presets: Mapping[str, TrainConfig] = PRESETS,
) -> int:
    """Train, export, draw and record; return the exit code."""
    summary, exit_status = train_once(args, Console(stderr=args.json), environments, presets)
    emit_json(summary, args.json)
    return exit_status


def train_once(
    args: TrainArgs,
    console: Console,
    environments: Callable[[TrainConfig, str], WorldFactory] = simulated,
    presets: Mapping[str, TrainConfig] = PRESETS,
) -> tuple[TrainSummary, int]:
    """Train, export, draw and record; return what came of it and the exit code."""
    config, folder = prepare(args, presets)
    factory = of_unit(environments(config.train, config.rig), config.unit)
    judged_in = of_unit(judged(config.train, config.rig), config.unit) if environments is simulated else factory
    # Built before the folder is made, so that a rig that does not exist leaves nothing behind; judges show what a
    # policy reads and no more.
    manifest = manifest_for(config, judged_in)
    demonstrations = read_demonstrated(config.train, manifest, data_root())
    resumed = folder is not None
    if folder is None:
        folder = run_folder.create_run_folder(data_root(), config)
    manifest = msgspec.structs.replace(manifest, training_run=folder.name)
    opening = _opening(config, folder, resumed)
    filmer = EpisodeFilmer(judged_in) if isinstance(judged_in, SimulatedTask) else None
    with StopOnSignal() as stop, TrainingProgress(console, _about(config, folder)) as progress, filmer or nullcontext():
        hooks = Hooks(
            progress.show, lambda text: _tell(console, text), lambda: stop.asked, filmer,
            on_begin=lambda: _tell(console, opening),
        )  # fmt: skip
        try:
            result = _train(config, factory, judged_in, folder, manifest, hooks, resumed, demonstrations)
        except (UnfitWorlds, UnfitDemonstrations, BadConfig, SimError):
            if not resumed and not can_be_resumed(folder):  # refused before the first step: there is no run
                shutil.rmtree(folder)
            raise
    exit_status = INTERRUPTED if result.end == "interrupted" else DONE
    try:
        _draw(folder, config)
    except OSError as error:  # no picture is worth the record of a run
        _tell(console, f"no learning curve: {error}")
    _record(folder, config, result, exit_status)
    _tell(console, _closing(config, folder, result))
    summary = TrainSummary(
        run=str(folder),
        success_rate=result.final.success_rate if result.final else None,
        episodes=result.episodes,
        env_steps=result.decisions,
        wall_s=round(result.wall_s, 3),
    )
    return summary, exit_status


def _train(
    config: RunConfig,
    factory: WorldFactory,
    judged_in: WorldFactory,
    folder: Path,
    manifest: PolicyManifest,
    hooks: Hooks,
    resumed: bool,
    demonstrations: Demonstrations | None,
) -> TrainResult:
    """Train in worlds made by `factory` and judge in others."""
    try:
        with (
            closing(training_worlds(factory, config.train)) as simulations,
            closing(judging_worlds(judged_in, config.train)) as judges,
        ):
            return train(
                config.train, simulations, judges, folder, manifest, config.seed, hooks, resumed,
                simulations.curriculum, demonstrations,
            )  # fmt: skip
    except WorkerError as error:
        raise SimulationFailed(f"{error}\n{_how_to_go_on(folder)}") from error


def _how_to_go_on(folder: Path) -> str:
    if can_be_resumed(folder):
        return f"tandem train --resume {folder.name} goes on from the last checkpoint in {folder / 'checkpoints'}"
    return f"There is no checkpoint yet: start the run again. What there is of it is in {folder}"


def _tell(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def _about(config: RunConfig, folder: Path) -> About:
    stages = curriculum_preset(config.train.curriculum).stages
    names = tuple(stage.name for stage in stages) if len(stages) > 1 else ()
    return About(_title(config), folder, config.train.stop_success_rate, names)


def _title(config: RunConfig) -> str:
    of = f" for unit {config.unit.robot_serial}" if config.unit else ""
    return f"{config.train.task} on rig {config.rig}, seed {config.seed}{of}"


def _opening(config: RunConfig, folder: Path, resumed: bool) -> str:
    settings = config.train
    verb = "Going on with" if resumed else "Training"
    return (
        f"{verb} {settings.task} on rig {config.rig} (seed {config.seed}) in {folder}: until "
        f"{settings.stop_evaluations} evaluations in a row reach {100 * settings.stop_success_rate:.0f} %, at most "
        f"{settings.max_decisions:,} decisions. Ctrl-C stops; --resume {folder.name} goes on."
        f"{_nothing_learnt(settings)}"
    )


def _nothing_learnt(settings: TrainConfig) -> str:
    """Return a warning where the budget ends before the first gradient step; nothing elsewhere."""
    first = settings.first_update
    if settings.max_decisions >= first:
        return ""
    return f" Nothing is learnt in these: the first gradient step comes with decision {first:,}; give more --steps."


def _closing(config: RunConfig, folder: Path, result: TrainResult) -> str:
    if result.final is None:
        return f"Stopped after {result.decisions:,} decisions and {minutes(result.wall_s)}. {_how_to_go_on(folder)}"
    low, high = result.final.wilson
    film = newest_film(folder)
    verdict = "" if result.end == "success" else " The budget ended before the goal was met twice in a row."
    if not result.updates:
        verdict = " NOTHING WAS LEARNT: the budget ended before the first gradient step; --resume with more --steps."
    return (
        f"The policy succeeds in {result.final.successes} of {result.final.episodes} new episodes "
        f"({100 * low:.1f}-{100 * high:.1f} % with 95 % confidence) after {result.decisions:,} decisions and "
        f"{minutes(result.wall_s)}.{verdict} Policy: {folder / 'policy'}, curve: {folder / CURVE_NAME}"
        f"{f', newest film: {film}' if film else ''}"
    )


def _draw(folder: Path, config: RunConfig) -> None:
    rows = read_metrics(folder / "metrics.jsonl")
    draw_learning_curve(rows, folder / CURVE_NAME, _title(config), config.train.stop_success_rate)


def _record(folder: Path, config: RunConfig, result: TrainResult, exit_status: int) -> None:
    final = result.final
    record = RunRecord(
        schema=run_folder.SCHEMA,
        config=config,
        ended_utc=run_folder.utc_now(),
        exit_status=exit_status,
        end=result.end,
        decisions=result.decisions,
        episodes=result.episodes,
        updates=result.updates,
        wall_s=result.wall_s,
        success_rate=final.success_rate if final else None,
        successes=final.successes if final else 0,
        evaluated_episodes=final.episodes if final else 0,
        policy_decisions=result.policy_decisions,
        files_sha256=run_folder.file_hashes(folder),
    )
    write_json(folder / run_folder.RUN_NAME, record)
