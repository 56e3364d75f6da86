from __future__ import annotations

from dataclasses import replace

import pytest

from policies.config import TrainConfig
from policies.errors import BadConfig
from policies.learner_config import PpoConfig, SacConfig
from policies.presets import PRESETS, find_preset
from urdf.errors import UnknownName


def test_presets_are_found_by_name() -> None:
    assert find_preset("grasp") is PRESETS["grasp"]


def test_an_unknown_preset_lists_the_names_nearest_first() -> None:
    presets = {"reach": TrainConfig(task="reach"), "grasp": TrainConfig(task="grasp")}
    with pytest.raises(UnknownName, match="'grap'; valid, nearest first: grasp, reach"):
        find_preset("grap", presets)


@pytest.mark.parametrize(("field", "value"), [("max_decisions", 0), ("workers", 0), ("discount", 1.0)])
def test_settings_that_make_no_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(BadConfig, match=field):
        TrainConfig(task="grasp", **{field: value})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reward_scale": float("nan")}, "reward_scale is nan"),
        ({"stop_success_rate": 97.0}, r"stop_success_rate is 97.0; expected 0 to 1"),
        ({"picture_px": 0}, "picture_px is 0; expected 1 to 1024"),
        ({"torch_threads": 0}, "torch_threads is 0"),
        ({"servo_zero_deg": -1.0}, "servo_zero_deg is -1.0; expected 0 or more"),
        ({"algo": "distill", "critic_sees": ("state",), "max_decisions": 2_000}, "teacher_decisions is 3000; expected"),
    ],
)
def test_settings_that_would_fail_later_are_refused_at_once(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        TrainConfig(task="t", **change)  # pyright: ignore[reportArgumentType]


def test_what_only_a_simulator_knows_is_for_critics_of_our_own() -> None:
    with pytest.raises(BadConfig, match="belongs into critic_sees"):
        TrainConfig(task="t", sees=("state", "privileged"))
    with pytest.raises(BadConfig, match="critic_sees needs a learner of our own"):
        TrainConfig(task="t", algo="sb3-sac", critic_sees=("privileged",))


def test_the_first_gradient_step_comes_after_the_warm_up_or_with_the_first_rollout() -> None:
    config = TrainConfig(
        task="point", sac=SacConfig(warm_up=20), ppo=PpoConfig(rollout_steps=16), workers=2, worlds_per_worker=3
    )
    assert config.first_update == 21
    assert replace(config, algo="ppo").first_update == 96
    assert replace(config, algo="bc").first_update == 1
