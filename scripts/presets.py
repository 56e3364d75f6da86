"""`tandem presets`: every named collection of settings, and in what each differs from the defaults."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from policies.presets import PRESETS, alias_of
from scripts.cli import emit_json
from scripts.exit_codes import DONE
from sim.curriculum import CURRICULA
from sim.randomization import RANDOMIZATIONS
from sim.ranges import Range

#: Tables that go into a file or a pipe are this wide.
_PAGE_COLUMNS = 120

Leaf = str | int | float | bool | None | Range | tuple["Leaf", ...]


@dataclass(frozen=True)
class PresetsArgs:
    """List the named settings of training, curricula and randomisation, and in what each differs from the defaults."""

    json: bool = False
    """Print one JSON object as the last line of stdout: every setting of every preset, and the differences."""


class PresetRow(msgspec.Struct, frozen=True):
    """One preset: its settings that are not the default's, by dotted names, and all of them as they are nested.

    `stands_for` is the preset of which it is another name, if any.
    """

    name: str
    stands_for: str | None
    differs: dict[str, Leaf]
    settings: object


class PresetList(msgspec.Struct, frozen=True):
    """The JSON line."""

    training: tuple[PresetRow, ...]
    curricula: tuple[PresetRow, ...]
    randomizations: tuple[PresetRow, ...]


def run(args: PresetsArgs) -> int:
    """Print the tables; return the exit code."""
    listed = PresetList(rows(PRESETS), rows(CURRICULA), rows(RANDOMIZATIONS))
    console = Console(stderr=args.json)
    if not console.is_terminal:
        console = Console(stderr=args.json, width=_PAGE_COLUMNS)
    for title, presets in (
        ("training (tandem train --preset NAME): what differs from the defaults", listed.training),
        ("curricula (--curriculum NAME)", listed.curricula),
        (
            "randomisation (--randomization NAME); `tandem randomize` draws what they do",
            listed.randomizations,
        ),
    ):
        console.print(Text(title, "bold"))
        console.print(_table(presets))
    emit_json(listed, args.json)
    return DONE


def rows(presets: Mapping[str, object]) -> tuple[PresetRow, ...]:
    """Return every preset, whatever frozen dataclass it is."""
    return tuple(PresetRow(name, alias_of(name), differences(preset), preset) for name, preset in presets.items())


def differences(preset: object, usual: object = None) -> dict[str, Leaf]:
    """Return the settings of a frozen dataclass that are not the usual one's, by dotted names.

    Without a usual one of its kind: not their fields' defaults; what has no default always differs. The same holds for
    a nested dataclass, and for each of several. One of another kind than usual is told by the name of its kind.
    """
    if not dataclasses.is_dataclass(preset) or isinstance(preset, type):
        raise TypeError(f"a preset is a frozen dataclass, got {preset!r}")
    differing: dict[str, Leaf] = {}
    for field in dataclasses.fields(preset):
        value: object = getattr(preset, field.name)
        before: object = getattr(usual, field.name) if type(usual) is type(preset) else _default(field)
        if value == before:
            continue
        for name, part, expected in _parts(field.name, value, before):
            if not _is_nested(part):
                differing[name] = _leaf(part)
                continue
            inner = differences(part, expected)
            of_another_kind = expected is not dataclasses.MISSING and type(part) is not type(expected)
            if of_another_kind or not inner:
                differing[name] = type(part).__name__
            differing |= {f"{name}.{key}": leaf for key, leaf in inner.items()}
    return differing


def _parts(name: str, value: object, before: object) -> list[tuple[str, object, object]]:
    """Return a setting with the usual one; of a row of dataclasses each, by its place from 1 on, with none."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        if items and all(_is_nested(item) for item in items):
            return [(f"{name}.{place}", item, dataclasses.MISSING) for place, item in enumerate(items, 1)]
    return [(name, value, before)]


def _is_nested(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, Range)


def _default(field: dataclasses.Field[object]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _leaf(value: object) -> Leaf:
    if isinstance(value, Range):
        return value
    if isinstance(value, tuple | list):
        return tuple(_leaf(item) for item in cast("tuple[object, ...]", value))
    value = value.value if isinstance(value, enum.Enum) else value
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# Words --------------------------------------------------------------------------------------------
def _table(presets: tuple[PresetRow, ...]) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in presets:
        words = "\n".join(_lines(row.differs)) or "the defaults"
        table.add_row(row.name, Text(f"the default way, currently {row.stands_for}" if row.stands_for else words))
    return table


def _lines(differs: Mapping[str, Leaf]) -> list[str]:
    """Return the differences in words: a line for what is nested in one place."""
    lines: dict[str, list[str]] = {}
    for name, leaf in differs.items():
        where, _, last = name.rpartition(".")
        lines.setdefault(where, []).append(f"{last} {_word(leaf)}")
    return [f"{where}: {', '.join(words)}" if where else ", ".join(words) for where, words in lines.items()]


def _word(leaf: Leaf) -> str:
    if isinstance(leaf, tuple):
        return " ".join(_word(item) for item in leaf)
    if isinstance(leaf, Range):
        return f"{leaf.low:.4g} to {leaf.high:.4g}"
    return f"{leaf:.4g}" if isinstance(leaf, float) else str(leaf)
