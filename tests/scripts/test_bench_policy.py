from __future__ import annotations

import pytest

from scripts.programs import bench_policy


@pytest.mark.parametrize("case", bench_policy.CASES, ids=["state", "depth"])
def test_a_saved_policy_answers_as_its_network_and_is_timed(case: bench_policy.Case) -> None:
    heard: list[float] = []
    speed, agreement = bench_policy.measure_one(case, lambda _, share: heard.append(share), calls=100, observations=100)
    assert speed.unit == "ms"
    assert speed.value is not None
    assert 0.001 < speed.value < 5.0
    assert (speed.bar, agreement.bar) == (case.median_ms, 1e-5)
    assert agreement.holds, agreement
    assert agreement.value != 0.0, "two libraries that agree in every bit are one library"
    assert heard[-1] == 1.0


def test_a_word_that_is_in_no_figure_measures_nothing() -> None:
    assert list(bench_policy.measure(lambda *_: None, "no such figure")) == []
    assert [case.median_ms for case in bench_policy.CASES] == [0.05, 0.3]
