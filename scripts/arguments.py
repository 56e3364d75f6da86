"""How a command's words become its arguments: dataclasses, as tyro reads them, and what `--help` says of each."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from itertools import pairwise
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

Args = TypeVar("Args")

#: What is one of several words is written as the word, `--eyes depth`, not as Python calls it.
_CONFIG = (tyro.conf.EnumChoicesFromValues,)
#: Where a text goes on to say itself what holds where nothing is said.
_SAID = re.compile(r"(?=Default: |\(default: )")


def parse(name: str, kind: type[Args], words: Sequence[str], default: Args | None = None) -> Args:
    """Return the arguments of `tandem NAME`; ends the program with its help, or with what is wrong."""
    registry = ConstructorRegistry()
    registry.struct_rule(_told)
    with registry:
        given = tyro.MISSING_NONPROP if default is None else default
        return tyro.cli(kind, prog=f"tandem {name}", args=list(words), default=given, config=_CONFIG)


def _told(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Return a dataclass's fields as people are told of them: text in one piece, and no Python where nothing is said.

    tyro by itself breaks the text where the source does, and says `{None}|PATH` and `(default: None)`.
    """
    if not is_dataclass(info.type):
        return None
    hints, texts = get_type_hints(info.type, include_extras=True), _texts(info.type)
    told: list[StructFieldSpec] = []
    for field in (field for field in fields(info.type) if field.init):
        hint, default, text = hints[field.name], _default(field, info.default), texts.get(field.name, "")
        if default is None or default == "" or (default == () and tyro.conf.UseAppendAction not in get_args(hint)):
            text, *said = _SAID.split(text, maxsplit=1)
            shown = tyro.conf.arg(help_behavior_hint=said[0] if said else "(optional)", metavar=_metavar(hint))
            hint = Annotated[hint, shown]
        told.append(StructFieldSpec(field.name, cast("type", hint), default, text.strip() or None))
    return StructConstructorSpec(info.type, tuple(told))


def _default(field: Field[object], given: object) -> object:
    """Return what a field is where nothing is said: as in the instance that was given, else as the class says."""
    if is_dataclass(given):
        return getattr(given, field.name)
    if field.default is not MISSING:
        return field.default
    return tyro.MISSING_NONPROP if field.default_factory is MISSING else field.default_factory()


def _texts(kind: type) -> dict[str, str]:
    """Return what stands below each field in the source, its line ends and indents taken out."""
    told: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if is_dataclass(base)]):
        (source,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(source, ast.ClassDef)
        for field, text in pairwise(source.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                told[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return told


def _metavar(hint: object) -> str | None:
    """Return what may be said for a type or None, None left out; None where tyro has the right word."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(kind) not in (Union, types.UnionType):
        return None
    words = [_word(part) for part in get_args(kind) if part is not type(None)]
    return None if None in words else "|".join(word for word in words if word is not None)


def _word(kind: object) -> str | None:
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) is tuple:
        words = [_word(part) for part in get_args(kind)]
        return None if None in words else " ".join(word for word in words if word is not None)
    if not isinstance(kind, type) or is_dataclass(kind):
        return None
    if kind is bool or issubclass(kind, Enum):
        return (
            "{" + ",".join(str(value) for value in ((True, False) if kind is bool else [m.value for m in kind])) + "}"
        )
    return kind.__name__.upper()
