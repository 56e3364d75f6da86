"""What `tandem train` is asked for, and the run that it means: the settings of a preset, changed, or those of a run."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
import tyro

from calibration.actuator_file import ActuatorCalibration
from policies.config import TrainConfig
from policies.errors import BadConfig
from policies.presets import PRESETS, find_preset
from scripts import run_folder
from scripts.arguments import parse as parse_words
from scripts.cli import data_root, resolve_run
from scripts.provenance import git_commit, versions
from scripts.run_folder import RunConfig
from sim.curriculum import curriculum_preset
from sim.randomization import randomization
from sim.rendering import Renderer, driver_name
from urdf.checks import member_of
from urdf.description import load_arm

_MOST_SEED = 2**31
#: What goes with a run whose settings are given.
_OF_ANY_RUN = {"resume", "from", "steps", "json", "no-json"}


@dataclass(frozen=True)
class TrainArgs:
    """What to train, and in which run."""

    preset: str = "grasp"
    """Named settings: what is trained, and how."""
    rig: str = "table"
    """How the arm is mounted: table or hanging."""
    seed: int = 0
    """Seed of networks, exploration and episodes."""
    steps: int | None = None
    """Decisions to train at most, those of the resumed run included (default: the preset's)."""
    resume: str | None = None
    """Go on with a run: its folder, its name, or `newest`. Its settings are its own; only --steps may be others."""
    repeat: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Train once more with the settings and the seed of a run: its folder, its name, or `newest`."""
    unit: str = ""
    """Train for one robot, data/robots/NAME: with its servos as `tandem calibrate actuator` measured them, varied only
    as far as its file says (default: any unit of the arm)."""
    json: bool = False
    """Print one JSON object as the last line of stdout: run, success_rate, episodes, env_steps, wall_s."""
    settings: Annotated[TrainConfig | None, tyro.conf.Suppress] = None
    """The preset with what the options change; None: the preset as it is."""


@dataclass(frozen=True)
class _Options(TrainArgs):
    """Train a policy in simulation until two evaluations in a row reach 97 %, and export it as ONNX.

    Leaves data/runs/<task>/<UTC>_<preset>_seed<n>/. Ctrl-C stops with a run that --resume goes on with. Every setting
    of the preset is an option; `tandem presets` lists what they are.
    """

    settings: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default_factory=lambda: find_preset("grasp")
    )


def parse(words: Sequence[str], presets: Mapping[str, TrainConfig] = PRESETS) -> TrainArgs:
    """Return the arguments of `tandem train`: the settings of the preset that is named, changed by the options."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", default=TrainArgs.preset)
    preset = first.parse_known_args(list(words))[0].preset
    default = _Options(preset=preset, settings=find_preset(preset, presets))
    args = parse_words("train", _Options, words, default)
    typed = {word[2:].partition("=")[0] for word in words if word.startswith("--")}
    if args.resume and args.repeat:
        raise BadConfig("--resume goes on with a run and --from begins another: give one of them")
    if typed - _OF_ANY_RUN and (args.resume or args.repeat):
        raise BadConfig("--resume and --from keep the settings of their run: leave out every other setting but --steps")
    return args


def _check(args: TrainArgs) -> None:
    if not 0 <= args.seed < _MOST_SEED:
        raise BadConfig(f"--seed must be at least 0 and below {_MOST_SEED}, got {args.seed}")


def prepare(args: TrainArgs, presets: Mapping[str, TrainConfig]) -> tuple[RunConfig, Path | None]:
    """Return the run's configuration, and its folder when it is resumed."""
    _check(args)
    folder: Path | None = None
    if args.resume is not None:
        folder = resolve_run(args.resume)
        config = run_folder.read_run_config(folder)
    else:
        known = run_folder.read_run_config(resolve_run(args.repeat)) if args.repeat is not None else None
        settings = known.train if known else chosen_settings(args, presets)
        config = RunConfig(
            schema=run_folder.SCHEMA,
            preset=known.preset if known else args.preset,
            rig=known.rig if known else args.rig,
            seed=known.seed if known else args.seed,
            train=settings,
            git_commit=git_commit(),
            versions={**versions(), "renderer": driver_name(member_of(Renderer, settings.renderer, "renderer"))},
            started_utc=run_folder.utc_now(),
            unit=known.unit if known else _unit(args.unit, settings.arm),
        )
    if args.steps is not None:
        config = msgspec.structs.replace(config, train=dataclasses.replace(config.train, max_decisions=args.steps))
    return config, folder


def _unit(name: str, arm: str) -> ActuatorCalibration | None:
    """Return the measured servos of a robot; raises NotCalibrated, ForeignCalibration or BadArtifact."""
    return ActuatorCalibration.load(name, load_arm(arm), data_root()) if name else None


def chosen_settings(args: TrainArgs, presets: Mapping[str, TrainConfig] = PRESETS) -> TrainConfig:
    """Return the settings of a new run; an unknown name must not leave a run behind."""
    preset = find_preset(args.preset, presets)
    settings = args.settings or preset
    fit = ", ".join(name for name, other in presets.items() if other.task == settings.task)
    if fit and settings.task != preset.task:  # a name that no task has is refused further on
        raise BadConfig(f"preset {args.preset} is for {preset.task}, not for {settings.task}; presets for that: {fit}")
    randomization(settings.randomization)
    randomization(settings.judged_randomization)
    needs = curriculum_preset(settings.curriculum)
    if settings.curriculum != preset.curriculum:
        # A curriculum brings what its stages grade, where nobody asked for something else.
        if settings.randomization == preset.randomization and needs.randomization != "none":
            settings = dataclasses.replace(settings, randomization=needs.randomization)
        if settings.distractors == preset.distractors:
            settings = dataclasses.replace(settings, distractors=max(needs.distractors, settings.distractors))
    return settings
