from __future__ import annotations

import pytest

from policies.config import PRESETS, TrainConfig, find_preset
from policies.errors import BadConfig
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


def test_what_only_a_simulator_knows_is_for_critics_of_our_own() -> None:
    with pytest.raises(BadConfig, match="belongs into critic_sees"):
        TrainConfig(task="t", sees=("state", "privileged"))
    with pytest.raises(BadConfig, match="critic_sees needs a learner of our own"):
        TrainConfig(task="t", algo="sb3-sac", critic_sees=("privileged",))
