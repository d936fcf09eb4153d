"""Values of a config from text: a flag's `48,48,48`, a TOML file's `[48, 48, 48]`; and back. Pure Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_Value = TypeVar("_Value")
NONE = "none"  # TOML has no null


@dataclass(frozen=True)
class Kind:
    """One type of value: how help names it, and what makes one of text or of a file's value (ValueError if not)."""

    metavar: str
    parse: Callable[[object], Any]


@dataclass(frozen=True)
class Option:
    """A config field's help, type, and rule: a test of the parsed value and the words for what passes it."""

    help: str
    kind: Kind
    holds: Callable[[Any], bool]
    allowed: str


def option(default: _Value, kind: Kind, rule: tuple[Callable[[Any], bool], str], help_text: str) -> _Value:
    """A dataclass field with its `Option`."""
    made: _Value = field(default=default, metadata={"option": Option(help_text, kind, *rule)})
    return made


def switch(help_text: str, *, on: bool = False) -> bool:
    """A dataclass field that is on or off."""
    return option(on, SWITCH, (lambda value: isinstance(value, bool), "true, false"), help_text)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    return int(value)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _switch(value: object) -> bool:
    known = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in known:
        raise ValueError(value)
    return known[str(value).lower()]


def _names(value: object) -> tuple[str, ...]:
    if value in (None, NONE, ""):
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) and part.strip() for part in parts):
        raise ValueError(value)
    return tuple(part.strip() for part in parts)


WHOLE = Kind("N", _whole)
REAL = Kind("X", _real)
TEXT = Kind("TEXT", _text)
SWITCH = Kind("", _switch)
NAMES = Kind(f"NAME,..|{NONE}", _names)


def row(of: Kind, count: int) -> Kind:
    """`count` values: `48,48,48` or a list."""

    def parse(value: object) -> tuple[Any, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or len(parts) != count:
            raise ValueError(value)
        return tuple(of.parse(part) for part in parts)

    return Kind(",".join([of.metavar] * count), parse)


def optional(of: Kind) -> Kind:
    """A value or `none`."""
    return Kind(f"{of.metavar}|{NONE}", lambda value: None if value in (None, NONE) else of.parse(value))


def to_toml(values: dict[str, Any]) -> str:
    """Flat TOML that `tomllib` and the kinds above read back to the same values."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())


def _toml(value: object) -> str:
    if value is None:
        return json.dumps(NONE)
    if isinstance(value, float):
        return repr(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value)
