from __future__ import annotations

import pytest

from scripts.programs.mutate import EQUIVALENT, ROOT, TARGETS, read_equivalent
from scripts.programs.mutations import mutants_of


def becomes(source: str) -> list[str]:
    return [m.becomes for m in mutants_of("m.py", source)]


@pytest.mark.parametrize(
    ("line", "mutants"),
    [
        ("a = b < c", ["pass", "a = (b <= c)", "a = (b >= c)"]),
        ("a = b - c", ["pass", "a = (b + c)"]),
        ("a = b and c", ["pass", "a = (b or c)"]),
        ("a = not b", ["pass", "a = (b)"]),
        ("a = min(b, c)", ["pass", "a = (max)(b, c)"]),
        ("a = b.any()", ["pass", "a = (b.all)()"]),
        ("a = 3", ["pass", "a = (4)", "a = (2)"]),
        ("a = 0.5", ["pass", "a = (1.0)", "a = (0.25)"]),
        ("a = True", ["pass", "a = (False)"]),
        ("a = 'text'", ["pass", "a = ('')"]),
        ("a = ''", ["pass", "a = ('?')"]),
        ("a = b if c else d", ["pass", "a = (b)", "a = (d)"]),
        ("a *= b", ["a /= b", "pass"]),
        ("raise E", ["pass"]),
        ("import a", []),
        ("'docstring'", []),
        ("a = f'{b} text'", ["pass"]),
    ],
)
def test_a_line_becomes_what_a_careless_hand_makes_of_it(line: str, mutants: list[str]) -> None:
    assert becomes(line + "\n") == mutants


def test_a_condition_is_decided_and_a_value_is_not_returned() -> None:
    source = "def f(a: int = 1) -> int:\n    if a:\n        return a\n    return -a\n"
    sources = [m.source for m in mutants_of("m.py", source)]
    for old, new in [
        ("if a:\n", "if True:\n"), ("if a:\n", "if False:\n"), ("    return a\n", "    return None\n"),
        ("    return -a\n", "    return None\n"), ("    return -a\n", "    return (a)\n"), ("= 1", "= (2)"),
        ("= 1", "= (0)"),
    ]:  # fmt: skip
        assert source.replace(old, new) in sources
    assert len(sources) == 7


def test_a_mutant_says_where_it_is_and_what_changed() -> None:
    (_, mutant) = mutants_of("m.py", "class A:\n    def f(self):\n        self.b = -self.c\n")
    assert mutant.key == ("m.py", "A.f", "self.b = -self.c", "self.b = (self.c)")
    assert mutant.diff.splitlines()[-2:] == ["-        self.b = -self.c", "+        self.b = (self.c)"]


def test_every_mutant_that_is_named_as_equivalent_exists_and_has_a_reason() -> None:
    made = {m.key for file in TARGETS for m in mutants_of(file, (ROOT / file).read_text())}
    named = read_equivalent(EQUIVALENT)
    assert set(named) <= made
    assert all(named.values())
