"""`tandem presets`: every preset there is, and what differs, whatever the settings are called."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from policies.presets import PRESETS
from scripts import main as tandem
from scripts.presets import differences
from sim.curriculum import CURRICULA
from sim.randomization import RANDOMIZATIONS
from sim.ranges import Range

UNIT = Range(0.0, 1.0)


@dataclass(frozen=True)
class Soft:
    rate: float = 0.1
    layers: tuple[int, ...] = (64, 64)


@dataclass(frozen=True)
class Clipped:
    clip: float = 0.2


@dataclass(frozen=True)
class Settings:
    task: str
    learner: Soft | Clipped = field(default_factory=lambda: Soft(rate=0.5))
    steps: tuple[Soft, ...] = ()
    spread: Range = UNIT
    workers: int = 2


def test_only_what_differs_from_the_default_is_told() -> None:
    assert differences(Settings("grasp")) == {"task": "grasp"}
    assert differences(Settings("grasp", Soft(rate=0.5, layers=(32,)), workers=3)) == {
        "task": "grasp", "learner.layers": (32,), "workers": 3,
    }  # fmt: skip
    assert differences(Settings("reach", spread=Range(0.0, 2.0))) == {"task": "reach", "spread": Range(0.0, 2.0)}


def test_a_nested_setting_is_held_against_the_default_that_holds_it() -> None:
    """0.1 is what the nested class begins with, but not what these settings begin with."""
    assert differences(Settings("grasp", Soft(rate=0.1))) == {"task": "grasp", "learner.rate": 0.1}


def test_another_kind_of_nested_settings_is_told_by_its_name() -> None:
    assert differences(Settings("grasp", Clipped())) == {"task": "grasp", "learner": "Clipped"}
    assert differences(Settings("grasp", Clipped(0.3))) == {
        "task": "grasp", "learner": "Clipped", "learner.clip": 0.3,
    }  # fmt: skip


def test_places_are_counted_from_one() -> None:
    told = differences(Settings("grasp", steps=(Soft(0.2), Soft())))
    assert told == {"task": "grasp", "steps.1.rate": 0.2, "steps.2": "Soft"}


def test_every_preset_is_listed_with_all_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["presets", "--json"]) == 0
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    listed = json.loads(line)
    for key, presets in (("training", PRESETS), ("curricula", CURRICULA), ("randomizations", RANDOMIZATIONS)):
        assert [row["name"] for row in listed[key]] == list(presets)
        for name in presets:
            assert f" {name} " in captured.err
    (grasp,) = (row for row in listed["training"] if row["name"] == "grasp")
    assert grasp["settings"]["task"] == grasp["differs"]["task"] == "grasp"
    standing = {row["name"]: row["stands_for"] for row in listed["training"] if row["stands_for"]}
    assert standing == {"depth": "depth-distill"}
    assert PRESETS["depth"] == PRESETS[standing["depth"]]
    reference = next(row for row in listed["curricula"] if row["name"] == "reference")
    assert [stage["area_lower"] for stage in reference["settings"]["stages"]] == [
        [0.0, 1.0], [0.0, 0.75], [0.0, 0.5], [0.0, 0.25], [0.0, 0.0],
    ]  # fmt: skip
    assert reference["differs"]["stages.2.area_lower"] == [0.0, 0.75]
    mild = next(row for row in listed["randomizations"] if row["name"] == "mild")
    assert mild["differs"]["rgb_noise_levels"] == {"low": 0.0, "high": 2.0}
    assert next(row for row in listed["randomizations"] if row["name"] == "none")["differs"] == {}


def test_people_get_the_stages_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert tandem.main(["presets"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "stages.3: name half, area_lower 0 0.5" in lines
    assert "none  the defaults" in lines
    assert "depth          the default way, currently depth-distill" in lines
