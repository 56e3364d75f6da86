"""Mutants of a Python module: its source with one thing changed, as a careless hand would change it.

Changed are comparisons, arithmetic, boolean words, constants, conditions, returned values, min and max and their kin;
and statements are left out. Annotations, decorators, docstrings and the text inside f-strings stay: no test can or
should tell them apart.
"""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_PAIRS = (("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("any", "all"), ("ceil", "floor"))
_OTHER_NAME = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed source. `was` and `becomes` are the lines of the change without their spacing; `within` is where."""

    file: str
    within: str
    was: str
    becomes: str
    source: str
    diff: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names this mutant, wherever in the file its lines have gone."""
        return self.file, self.within, self.was, self.becomes


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines; two that read the same are one."""
    found: dict[str, Mutant] = {}
    for within, node, text in _changes(ast.parse(source), ""):
        mutant = _mutant(file, source, within, node, text)
        found.setdefault(mutant.source, mutant)
    found.pop(source, None)
    return list(found.values())


def _mutant(file: str, source: str, within: str, node: ast.expr | ast.stmt, text: str) -> Mutant:
    lines = source.splitlines(keepends=True)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    head = lines[first].encode()[: node.col_offset].decode()
    tail = lines[last].encode()[node.end_col_offset :].decode()
    changed = [*lines[:first], head + text + tail, *lines[last + 1 :]]
    diff = difflib.unified_diff(lines, changed, file, f"{file} (mutant)", n=0)
    was, becomes = " ".join("".join(lines[first : last + 1]).split()), " ".join((head + text + tail).split())
    return Mutant(file, within, was, becomes, "".join(changed), "".join(diff))


def _changes(node: ast.AST, within: str) -> Iterator[tuple[str, ast.expr | ast.stmt, str]]:
    """Yield (where, what is replaced, by which text) for a node and everything below it."""
    for child in _children(node):
        inside = within
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            inside = f"{within}.{child.name}".lstrip(".")
        if isinstance(child, ast.expr):
            for other in _expressions(child):
                yield inside, child, f"({ast.unparse(other)})"
        elif isinstance(child, ast.stmt):
            for text in _statements(child):
                yield inside, child, text
        yield from _changes(child, inside)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_docstring(child):
                continue
            if isinstance(child, ast.AST):
                yield child


def _is_docstring(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _expressions(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for k, operation in enumerate(node.ops):
            for other in _COMPARISONS[type(operation)]:
                yield _with(node, ops=[*node.ops[:k], other(), *node.ops[k + 1 :]])
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        yield _with(node, op=_ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield from _names(node)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)


def _names(node: ast.Name | ast.Attribute) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in _OTHER_NAME:
        yield ast.Name(_OTHER_NAME[node.id])
    elif isinstance(node, ast.Attribute) and node.attr in _OTHER_NAME:
        yield _with(node, attr=_OTHER_NAME[node.attr])
    elif isinstance(node, ast.Attribute) and node.attr == "inf":
        yield ast.Constant(0.0)


def _constants(node: ast.Constant) -> Iterator[ast.expr]:
    value = node.value
    if isinstance(value, bool):
        others: tuple[object, ...] = (not value,)
    elif isinstance(value, int):
        others = (value + 1, value - 1)
    elif isinstance(value, float):
        others = (2 * value, value / 2) if value else (1.0, -1.0)
    elif isinstance(value, str):
        others = ("" if value else "?",)
    else:
        others = ()
    yield from (ast.Constant(other) for other in others)  # type: ignore[arg-type]


def _statements(node: ast.stmt) -> Iterator[str]:
    """Yield the texts that a statement becomes: a condition decided, a value not returned, nothing at all."""
    if isinstance(node, ast.If | ast.While):
        for decided in (True, False):
            yield _indented(_with(node, test=ast.Constant(decided)), node.col_offset)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return None"
    elif isinstance(node, ast.AugAssign):
        yield ast.unparse(_with(node, op=_ARITHMETIC[type(node.op)]()))
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Raise):
        yield "pass"


def _indented(node: ast.AST, spaces: int) -> str:
    return ast.unparse(node).replace("\n", "\n" + " " * spaces)


def _with(node: Node, **fields: object) -> Node:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed
