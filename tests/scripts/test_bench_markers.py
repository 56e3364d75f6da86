from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from scripts.programs import bench_markers, bench_perception
from scripts.programs.bench_markers import DESK, FREE, SPEED, WIDE, Outcome, free_rows, measure
from scripts.programs.figures import Row, at_most


def test_a_handful_of_scenes_keeps_what_is_promised() -> None:
    heard: list[tuple[str, float]] = []
    rows = list(measure(lambda what, share: heard.append((what, share)), "20 mm marker, free", scenes=16, others=3))
    holding = {row.figure: row.holds for row in rows}
    assert holding[f"{FREE}: median"]
    assert holding[f"{FREE}: 95th percentile"]
    assert holding[f"{FREE}: flipped poses"]
    assert holding[f"{DESK}: median"]
    assert (FREE, 1.0) in heard
    assert not any(row.figure.startswith(WIDE) for row in rows)


def test_the_speed_stands_beside_opencv_s_own() -> None:
    row = bench_markers.speed_row(lambda *_: None, count=5)
    assert row.figure == SPEED
    assert row.value is not None
    assert row.value > 5  # a machine that is busy with other tests
    assert "times as fast" in row.baseline


def test_missed_markers_flips_and_claims_are_counted() -> None:
    good = Outcome(0.1, 0.4, free_m=0.001, scaled=2.0, desk_m=0.001, opencv_m=0.005)
    outcomes = [good] * 7 + [Outcome(0.1, 0.4, free_m=0.009, scaled=99.0, flipped=True, desk_m=0.001, opencv_m=0.004)]
    outcomes += [Outcome(0.1, 0.4)] * 2
    values = {row.figure.split(": ")[1]: row.value for row in free_rows(FREE, outcomes, (1.0, 4.0, 0.02))}
    assert values["median"] == pytest.approx(1.0)
    assert values["flipped poses"] == pytest.approx(1 / 8)
    assert values["missed"] == pytest.approx(0.2)
    assert values["errors beyond the claim"] == pytest.approx(1 / 8)
    assert values["95th percentile"] == pytest.approx(1000 * np.percentile([0.001] * 7 + [0.009], 95))


def test_a_word_chooses_the_parts_that_are_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def part(name: str) -> Callable[[bench_perception.Progress, str], Iterator[Row]]:
        def take(_on_progress: bench_perception.Progress, _only: str) -> Iterator[Row]:
            taken.append(name)
            yield at_most(name, 1.0, "mm", 2.0)

        return take

    parts = tuple((names, part(names[0])) for names, _ in bench_perception.PARTS)
    monkeypatch.setattr(bench_perception, "PARTS", parts)
    list(bench_perception.measure(lambda *_: None, "hand-eye, 15 poses"))
    assert taken == ["hand-eye"]
    taken.clear()
    list(bench_perception.measure(lambda *_: None, ""))
    assert len(taken) == len(parts)
    taken.clear()
    list(bench_perception.measure(lambda *_: None, "no such word"))
    assert len(taken) == len(parts), "a figure may be called anything: all are asked"
