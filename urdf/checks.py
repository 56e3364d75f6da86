"""What a value that came from outside must be, said once."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from urdf.errors import UnknownName

_Member = TypeVar("_Member", bound=StrEnum)


def member_of(names: type[_Member], value: object, what: str) -> _Member:
    """Return the member that `value` is or names; raises UnknownName with the valid names."""
    if value not in list(names):
        raise UnknownName(what, str(value), [member.value for member in names])
    return names(value)


def check_whole(name: str, value: object, least: int, most: int, error: type[Exception]) -> None:
    """Raise `error` unless the value is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise error(f"{name} must be a whole number from {least} to {most}, got {value!r}")


def check_number(name: str, value: object, least: float, most: float, error: type[Exception]) -> None:
    """Raise `error` unless the value is a finite number from `least` to `most`."""
    if not isinstance(value, int | float) or not least <= value <= most:
        raise error(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")
