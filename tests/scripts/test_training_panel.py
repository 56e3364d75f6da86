from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from policies.ledger import Progress
from policies.metrics import EvaluationRow
from scripts.training_panel import About, training_panel
from scripts.training_progress import TrainingProgress, describe

ABOUT = About(
    "grasp on rig table, seed 0", Path("data/runs/grasp/20260131T120000Z_grasp_seed0"), 0.97, ("line", "full")
)
ROWS = tuple(EvaluationRow(2_500 * k, 9.0 * k, k * 7, 50, 0.1 * k, 16.0) for k in (5, 6, 7))
STATE = Progress(
    phase="train",
    decisions=17_500,
    max_decisions=22_500_000,
    episodes=1_093,
    updates=12_345_678,
    success_rate=0.824,
    mean_return=-0.913,
    evaluations=ROWS,
    scalars={"temperature": 0.01342, "critic_loss": 0.2},
    stage=1,
    decisions_per_s=112.4,
    updates_per_s=4_480.6,
    wall_s=94.2,
    eta_s=10_800.0,
)
NOTHING_YET = dataclasses.replace(
    STATE, success_rate=None, mean_return=None, evaluations=(), scalars={}, stage=None, decisions_per_s=None,
    updates_per_s=None, eta_s=None,
)  # fmt: skip


def drawn(state: Progress | None, width: int, about: About = ABOUT) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width)
    console.print(training_panel(about, state, 94.2, width), soft_wrap=True)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("state", [STATE, NOTHING_YET, None])
def test_no_line_is_wider_than_the_terminal_and_24_lines_hold_it(state: Progress | None, width: int) -> None:
    lines = drawn(state, width)
    assert max(len(line) for line in lines) <= width
    assert len(lines) <= 22


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_panel_keeps_its_height_while_a_run_goes_on(width: int) -> None:
    assert len({len(drawn(state, width)) for state in (STATE, NOTHING_YET, None)}) == 1


@pytest.mark.parametrize("width", [10, 20, 40])
def test_a_terminal_that_is_far_too_narrow_ends_nothing(width: int) -> None:
    assert max(len(line) for line in drawn(STATE, width)) <= width


@pytest.mark.parametrize("width", [60, 100])
def test_everything_that_a_person_asks_is_there(width: int) -> None:
    text = "\n".join(drawn(STATE, width))
    for words in (
        "learning", "at most 180:00 more", "82 % succeed", "-0.91", "0.0134", "1:34", "17,500  112/s",
        "12,345,678  4,481/s", "1,093", "2 of 2: full", "98 %", "goal 97 %",
    ):  # fmt: skip
        assert words in text
    assert "--resume 20260131T120000Z_grasp_seed0 goes on" in text or "--resume with this name goes on" in text


def test_a_learner_without_a_temperature_has_none() -> None:
    lines = drawn(dataclasses.replace(STATE, scalars={"kl": 0.1}), 100)
    assert any(line.split()[1:3] == ["temperature", "-"] for line in lines)


def test_an_evaluation_has_its_wilson_interval_on_the_scale() -> None:
    # 49 of 50: 89.5 to 99.6 % (Wilson). The scale has 100 - 6 - 11 - 5 - 4 = 74 characters, 0 to 73.
    (line,) = [line for line in drawn(STATE, 100) if " 98 % " in line]
    scale = line[2 + 1 + 11 + 2 + 5 + 2 :][:74]
    assert (scale.index("━"), scale.index("●"), scale.rindex("━")) == (65, 72, 73)
    assert scale[:65] == "·" * 65


def test_the_line_without_a_terminal_names_both_rates() -> None:
    assert "112 decisions/s · 4,481 updates/s" in describe(STATE)
    assert "decisions · " in describe(NOTHING_YET)
    assert "None" not in describe(NOTHING_YET)


def test_without_a_terminal_a_state_is_a_line_and_the_next_one_comes_later() -> None:
    console = Console(file=(out := io.StringIO()), width=60)
    with TrainingProgress(console, ABOUT) as progress:
        progress.show(STATE)
        progress.show(STATE)
    (line,) = out.getvalue().splitlines()
    assert line.startswith("learning: 17,500 decisions")


def test_a_terminal_is_left_as_it_was() -> None:
    console = Console(file=(out := io.StringIO()), width=80, height=24, force_terminal=True)
    with TrainingProgress(console, ABOUT) as progress:
        progress.show(STATE)
    height = len(drawn(STATE, 80))
    assert out.getvalue().count("\x1b[2K") >= height, "every line is erased"
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l"), "the cursor is shown again"
