"""The worlds that `tandem train` learns in and judges in: what is off in them, and what lies about."""

from __future__ import annotations

import dataclasses
import math
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from policies.config import TrainConfig
from policies.errors import BadConfig
from policies.presets import PRESETS
from scripts.run_folder import SCHEMA, RunConfig, create_run_folder
from scripts.simulation import environment_id, judged, observation_spec, simulated
from scripts.train import train_once
from scripts.train_settings import TrainArgs, parse
from sim.curriculum import CURRICULA, make_curriculum
from sim.env import ArmEnv
from sim.randomization import HARD, MILD, NONE, Randomization
from sim.ranges import Range
from sim.vector_worker import WorldFactory
from urdf.errors import UnknownName

GRASP = PRESETS["grasp"]
EXACT = dataclasses.replace(GRASP, randomization="none", judged_randomization="none")


def made(factory: WorldFactory) -> ArmEnv:
    return cast(ArmEnv, factory(0).unwrapped)


def test_without_randomization_only_servo_zeros_and_the_sighting_are_off_and_nothing_else_lies_about() -> None:
    zero = Range(-math.radians(1.0), math.radians(1.0))
    with closing(made(simulated(EXACT, "table"))) as env:
        assert env.randomization == Randomization(servo_zero_rad=zero)
        assert (env.distractors, env.sighting_error_m) == (0, 0.005)
    with closing(made(judged(EXACT, "table"))) as env:
        assert (env.randomization, env.distractors, env.sighting_error_m) == (NONE, 0, 0.0)


@pytest.mark.parametrize(("name", "ranges", "zero_deg"), [("mild", MILD, 1.0), ("hard", HARD, 2.0)])
def test_named_ranges_keep_the_wider_servo_zeros(name: str, ranges: Randomization, zero_deg: float) -> None:
    config = dataclasses.replace(EXACT, randomization=name, distractors=2)
    zero = Range(-math.radians(zero_deg), math.radians(zero_deg))
    with closing(made(simulated(config, "table"))) as env:
        assert env.randomization == dataclasses.replace(ranges, servo_zero_rad=zero)
        assert env.distractors == 2
    with closing(made(judged(config, "table"))) as env:
        assert (env.randomization, env.distractors) == (NONE, 2)


def settings(args: TrainArgs) -> TrainConfig:
    """Return what `tandem train` would make its worlds from."""
    seen: list[TrainConfig] = []

    def stop(config: TrainConfig, rig: str) -> WorldFactory:
        seen.append(config)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train_once(args, Console(quiet=True), stop)
    return seen[0]


def test_the_options_and_what_a_curriculum_needs_reach_the_worlds() -> None:
    assert settings(TrainArgs()) == GRASP
    asked = settings(parse(["--curriculum", "reference"]))
    assert asked == dataclasses.replace(GRASP, curriculum="reference")
    full = settings(parse(["--curriculum", "full"]))
    assert full == dataclasses.replace(GRASP, curriculum="full", randomization="mild", distractors=4)
    own = settings(parse(["--curriculum", "full", "--randomization", "hard", "--distractors", "1"]))
    assert own == dataclasses.replace(full, randomization="hard", distractors=1)
    assert settings(parse(["--distractors", "3"])) == dataclasses.replace(GRASP, distractors=3)
    nested = settings(parse(["--sac.learning-rate", "0.002", "--sac.encoder", "impala", "--sees", "proprioception"]))
    assert (nested.sac.learning_rate, nested.sac.encoder.value, nested.sees) == (0.002, "impala", ("proprioception",))


def test_a_resumed_run_keeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    asked = dataclasses.replace(GRASP, curriculum="full", randomization="hard", distractors=1)
    config = RunConfig(SCHEMA, "grasp", "table", 0, asked, "", {}, "20260101T000000Z")
    folder = create_run_folder(tmp_path, config)
    assert settings(parse(["--resume", folder.name])) == asked
    assert settings(parse(["--from", folder.name])) == asked
    with pytest.raises(BadConfig, match="leave out every other setting"):
        parse(["--resume", folder.name, "--distractors", "2"])


@pytest.mark.parametrize("name", ["reference", "full"])
def test_the_worlds_have_what_every_stage_of_the_curriculum_asks_for(name: str) -> None:
    preset = CURRICULA[name]
    config = dataclasses.replace(GRASP, randomization=preset.randomization, distractors=preset.distractors)
    with closing(made(simulated(config, "table"))) as env:
        lying: list[int] = []
        frictions: list[bool] = []
        for stage in make_curriculum(name).stages:
            env.stage = stage
            env.reset(seed=1)
            lying.append(len(env.scene.placements) - 1)
            frictions.append(env.draw.scene.object_friction_factor != 1.0)
    assert lying == {"reference": [0] * 5, "full": [0, 0, 0, 1, 2, 4]}[name]
    assert frictions == {"reference": [False] * 5, "full": [False] + [True] * 5}[name]


def test_the_parts_that_a_run_names_are_what_its_worlds_show() -> None:
    spec = observation_spec(("proprioception", "wrist_depth", "privileged"), 48, 2)
    assert (spec.state, spec.proprioception, spec.privileged, spec.frames) == (False, True, True, 2)
    assert [(v.camera, v.kind.value, v.width_px, v.height_px) for v in spec.views] == [("wrist", "depth", 48, 48)]
    with pytest.raises(UnknownName, match="'wrist_deph'; valid, nearest first: wrist_depth"):
        observation_spec(("wrist_deph",), 64, 1)
    asym = PRESETS["depth-asym"]
    with closing(made(simulated(asym, "table"))) as env, closing(made(judged(asym, "table"))) as judge:
        assert set(env.observation_space.spaces) == {"state", "proprioception", "wrist_depth", "privileged"}  # pyright: ignore
        assert set(judge.observation_space.spaces) == {"proprioception", "wrist_depth"}  # pyright: ignore


def test_every_preset_names_an_environment_and_unknown_ones_are_refused() -> None:
    assert {environment_id(preset.arm, preset.task) for preset in PRESETS.values()} >= {"Tandem/Dofbot-Grasp-v0"}
    assert environment_id("kuka_iiwa", "pick-place") == "Tandem/Kuka-PickPlace-v0"
    with pytest.raises(UnknownName, match="unknown arm 'ur6'"):
        environment_id("ur6", "reach")
    with pytest.raises(UnknownName, match="unknown task 'graps'"):
        environment_id("ur5", "graps")


def test_a_progress_reward_is_the_worlds_alone() -> None:
    own = dataclasses.replace(GRASP, shaping_discount=None)
    for config, expected in ((GRASP, 1.0), (own, GRASP.discount)):
        with closing(made(simulated(config, "table"))) as env:
            assert env.discount == expected
