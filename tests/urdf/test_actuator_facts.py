from __future__ import annotations

import math

import pytest

from tests.urdf.test_description import copied, swap
from urdf.actuator_facts import IDEAL_DEAD_TIME_S, ActuatorFacts, actuator_facts
from urdf.description import load_arm
from urdf.errors import ArmError

TABLE: dict[str, object] = {
    "dead_time_s": 0.08,
    "skew_s": 0.012,
    "min_move_s": 0.02,
    "backlash_deg": [1, 0.5],
    "dead_band_deg": [0.1, 0.0],
    "readback_deg": [0.08, 0.04],
}


def test_a_table_is_read_in_radians() -> None:
    facts = actuator_facts(TABLE, 2)
    assert facts.dead_time_s == 0.08
    assert facts.backlash_rad == (math.radians(1.0), math.radians(0.5))
    assert facts.dead_band_rad == (math.radians(0.1), 0.0)
    assert facts.readback_rad == (math.radians(0.08), math.radians(0.04))


def test_one_unit_differs_from_the_next_as_hobby_servos_do_unless_told() -> None:
    assert actuator_facts(TABLE, 2).unit_spread == 1.0
    assert actuator_facts(TABLE | {"unit_spread": 0.05}, 2).unit_spread == 0.05
    assert load_arm("dofbot").actuator.unit_spread == 1.0


def test_an_arm_without_a_table_has_ideal_motors() -> None:
    assert actuator_facts(None, 3) == ActuatorFacts(IDEAL_DEAD_TIME_S, 0.0, 0.0, (0.0,) * 3, (0.0,) * 3, (0.0,) * 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backlash_deg": [1.0]}, "backlash_deg: expected 2 numbers"),
        ({"backlash_deg": 1.0}, "backlash_deg: expected 2 numbers"),
        ({"readback_deg": [0.1, -0.1]}, "readback_deg"),
        ({"dead_time_s": math.nan}, "dead_time_s"),
        ({"skew_s": "fast"}, "skew_s"),
        ({"skew_s": True}, "skew_s"),
        ({"speed": 1.0}, r"unknown \['speed'\]"),
        ({"unit_spread": 1.5}, "unit_spread: expected 0 to 1"),
        ({"unit_spread": -0.1}, "unit_spread"),
    ],
)
def test_a_wrong_table_is_refused_by_the_name_of_its_key(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        actuator_facts(TABLE | change, 2)


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"missing \['skew_s'\]"):
        actuator_facts({k: v for k, v in TABLE.items() if k != "skew_s"}, 2)


def test_an_arm_names_the_file_that_is_wrong(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = copied(tmp_path_factory.mktemp("arms"), edit_toml=swap("skew_s = 0.012", "skew_s = -0.012"))
    with pytest.raises(ArmError, match=r"arm\.toml.*skew_s"):
        load_arm("dofbot", root)


def test_a_variant_has_the_servos_of_the_arm_that_it_extends() -> None:
    assert load_arm("dofbot-se").actuator == load_arm("dofbot").actuator
