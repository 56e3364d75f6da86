from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import numpy as np
import pybullet as bullet
import pytest

from sim.curriculum import CURRICULA, Curriculum, CurriculumState, Stage, make_curriculum
from sim.errors import BadCurriculum
from sim.objects import ObjectPool, PoolSpec
from sim.tasks.task import draw_objects
from urdf.description import load_arm
from urdf.errors import UnknownName


@pytest.fixture(scope="module")
def pool() -> Iterator[ObjectPool]:
    client = bullet.connect(bullet.DIRECT)
    yield ObjectPool(client, PoolSpec())
    bullet.disconnect(physicsClientId=client)


STAGES = (Stage("easy"), Stage("middle"), Stage("hard"))


def feed(curriculum: Curriculum, outcomes: str) -> list[bool]:
    """Record '+' and '-'; return what `record` said."""
    return [curriculum.record(c == "+") for c in outcomes]


def test_the_reference_goes_from_a_line_to_the_whole_area_in_four_promotions() -> None:
    curriculum = make_curriculum("reference")
    sizes_cm = []
    for _ in range(5):
        stage = curriculum.stage
        spans = zip(stage.area_lower, stage.area_upper, (10.0, 5.0), strict=True)
        sizes_cm.append(tuple(size * (upper - lower) for lower, upper, size in spans))
        feed(curriculum, "++++++++--")
    assert sizes_cm == [(10.0, 0.0), (10.0, 1.25), (10.0, 2.5), (10.0, 3.75), (10.0, 5.0)]
    # It grows from the far edge towards the arm, as the one it is named after.
    assert [s.area_upper[1] for s in curriculum.stages] == [1.0] * 5
    assert curriculum.index == 4, "there is nothing after the last stage"


def test_eight_of_the_last_ten_promote_and_seven_do_not() -> None:
    curriculum = make_curriculum("reference")
    assert not any(feed(curriculum, "+++++++---"))
    assert curriculum.index == 0
    # The three failures leave the window one by one: 7, 7, 7 … of 10 until the first is out.
    assert feed(curriculum, "+++++++") == [False] * 7
    assert feed(curriculum, "+") == [True]
    assert curriculum.stage.name == "quarter"


def test_nothing_is_decided_before_the_window_is_full() -> None:
    curriculum = Curriculum(STAGES, 4, 0.5, 0.25)
    assert feed(curriculum, "+++") == [False] * 3
    assert feed(curriculum, "+") == [True]
    assert feed(curriculum, "---") == [False] * 3
    assert feed(curriculum, "-") == [True]
    assert curriculum.stage.name == "easy"


def test_the_outcomes_are_forgotten_at_every_change() -> None:
    curriculum = Curriculum(STAGES, 4, 0.75, 0.0)
    feed(curriculum, "++++")
    assert curriculum.success_rate is None
    assert feed(curriculum, "+++-") == [False, False, False, True]
    assert curriculum.stage.name == "hard"
    assert feed(curriculum, "----") == [False, False, False, True]
    assert curriculum.stage.name == "middle"
    assert curriculum.success_rate is None


def test_a_curriculum_without_demotion_never_goes_back_and_one_with_it_stops_at_the_first() -> None:
    forward = Curriculum(STAGES, 2, 1.0)
    feed(forward, "++")
    feed(forward, "-" * 50)
    assert forward.index == 1
    back = Curriculum(STAGES, 2, 1.0, 0.5)
    assert not any(feed(back, "-" * 50))
    assert back.index == 0


@pytest.mark.parametrize(("window", "rate", "needed"), [(10, 0.8, 8), (10, 0.3, 3), (3, 2 / 3, 2), (7, 0.9, 7)])
def test_a_rate_is_a_whole_number_of_episodes(window: int, rate: float, needed: int) -> None:
    for successes in range(window + 1):
        curriculum = Curriculum(STAGES, window, rate)
        feed(curriculum, "+" * successes + "-" * (window - successes))
        assert curriculum.index == int(successes >= needed)


def test_a_saved_curriculum_goes_on_as_if_nothing_had_been() -> None:
    rng = np.random.default_rng(3)
    outcomes = [bool(o) for o in rng.random(300) < 0.6]
    whole = Curriculum(STAGES, 6, 0.8, 0.35)
    seen = [(whole.record(o), whole.stage.name) for o in outcomes]
    assert len({name for _, name in seen}) == 3
    for cut in range(0, 300, 17):
        before, after = Curriculum(STAGES, 6, 0.8, 0.35), Curriculum(STAGES, 6, 0.8, 0.35)
        for outcome in outcomes[:cut]:
            before.record(outcome)
        after.resume(before.capture())
        assert after.state() == before.state()
        assert [(after.record(o), after.stage.name) for o in outcomes[cut:]] == seen[cut:]


def test_the_state_of_another_curriculum_is_refused() -> None:
    curriculum = make_curriculum("reference")
    with pytest.raises(BadCurriculum, match="'hard' is none of this curriculum's: line, quarter"):
        curriculum.restore(CurriculumState("hard", ()))
    with pytest.raises(BadCurriculum, match="11 outcomes were saved, the window holds 10"):
        curriculum.restore(CurriculumState("line", (True,) * 11))
    for junk in (b"", b"{}", b'{"stage":"line","outcomes":[],"more":1}', b'{"stage":"line","outcomes":[1]}'):
        with pytest.raises(BadCurriculum, match="not the state"):
            curriculum.resume(junk)
    assert msgspec.json.decode(curriculum.capture()) == {"stage": "line", "outcomes": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "stages must be at least one"),
        ({"stages": (Stage("a"), Stage("a"))}, "name of its own"),
        ({"window": 0}, "window must be at least 1"),
        ({"promote_at": 0.0}, "promote_at must be above 0 and at most 1, got 0.0"),
        ({"promote_at": 1.1}, "promote_at must be above 0 and at most 1"),
        ({"promote_at": float("nan")}, "promote_at must be"),
        ({"demote_at": 0.8}, "demote_at must be at least 0 and below promote_at 0.8"),
        ({"demote_at": -0.1}, "demote_at must be at least 0"),
    ],
)
def test_bad_settings_are_refused_by_name_and_range(change: dict[str, object], message: str) -> None:
    settings: dict[str, object] = {"stages": STAGES, "window": 10, "promote_at": 0.8, "demote_at": None} | change
    with pytest.raises(BadCurriculum, match=message):
        Curriculum(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area_lower": (0.6, 0.0), "area_upper": (0.5, 1.0)}, "along x must be fractions .* got 0.6 and 0.5"),
        ({"area_upper": (1.0, 1.5)}, "along y .* 0 <= lower <= upper <= 1"),
        ({"area_lower": (float("nan"), 0.0)}, "along x"),
        ({"distractors": 5}, "distractors must be 0 to 4, got 5"),
        ({"distractors": -1}, "distractors"),
        ({"randomization": 1.5}, "randomization must be 0 to 1, got 1.5"),
    ],
)
def test_bad_stages_are_refused_by_name_and_range(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadCurriculum, match=message):
        Stage("odd", **change)  # type: ignore[arg-type]


def test_presets_are_named_end_at_the_whole_area_and_grow() -> None:
    assert set(CURRICULA) == {"none", "reference", "full"}
    for name in CURRICULA:
        last = make_curriculum(name).stages[-1]
        assert (last.area_lower, last.area_upper, last.randomization) == ((0.0, 0.0), (1.0, 1.0), 1.0)
    stages = make_curriculum("full").stages
    for easier, harder in itertools.pairwise(stages):
        assert easier.distractors <= harder.distractors
        assert easier.randomization <= harder.randomization
        assert all(h <= e for e, h in zip(easier.area_lower, harder.area_lower, strict=True))
        assert all(h >= e for e, h in zip(easier.area_upper, harder.area_upper, strict=True))
    assert stages[-1].distractors == 4
    assert make_curriculum("reference") is not make_curriculum("reference")
    with pytest.raises(UnknownName, match="unknown curriculum 'referense'; valid, nearest first: reference"):
        make_curriculum("referense")


@pytest.mark.parametrize("stage", make_curriculum("reference").stages, ids=lambda s: s.name)
def test_blocks_lie_in_the_stages_part_of_the_area_and_fill_it(stage: Stage, pool: ObjectPool) -> None:
    rig, rng = load_arm("dofbot").rig("table"), np.random.default_rng(0)
    places = np.array([draw_objects(rng, rig, stage, pool, 0.8, 0.03, 0)[0].pose.position_m[:2] for _ in range(400)])
    fractions = (places - rig.area_center_m) / rig.area_size_m + 0.5
    assert np.all(fractions >= np.array(stage.area_lower) - 1e-9)
    assert np.all(fractions <= np.array(stage.area_upper) + 1e-9)
    span = np.array(stage.area_upper) - stage.area_lower
    np.testing.assert_allclose(np.ptp(fractions, axis=0), span, atol=0.02)
