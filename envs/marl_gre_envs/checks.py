"""Checks of users' input; every error is one line: what was found, what is allowed, what to do.

Checks of whole worlds are in core.py and use these.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any


def one_of(what: str, found: object, allowed: Iterable[str]) -> str:
    """Return the error message for an unknown name, with the nearest valid one."""
    names = list(allowed)
    close = get_close_matches(str(found), names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what} {found!r}; {hint}Allowed: {', '.join(names)}."


def keywords_of(factory: Callable[..., Any]) -> list[str]:
    """Return the names of the keyword arguments that a callable accepts."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in inspect.signature(factory).parameters.items() if p.kind in kinds]


def check_keywords(where: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise TypeError for the first unknown keyword, naming the nearest valid one."""
    names = list(allowed)
    for name in found:
        if name not in names:
            raise TypeError(one_of(f"keyword of {where}:", name, names))


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return value as an int after checking that it is a whole number in low..high."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, found {value!r}.")
    return int(value)


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return value as a float after checking that it is a finite number in low..high."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, found {value!r}.")
    if not low <= float(value) <= high:
        raise ValueError(f"{name} must lie from {low:g} to {high:g}, found {value!r}.")
    return float(value)


def flag(name: str, value: object) -> bool:
    """Return value after checking that it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, found {value!r}.")
    return value


def choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return value after checking that it is one of the allowed words."""
    if value not in allowed:
        raise ValueError(one_of(name, value, allowed))
    return str(value)


def pair(name: str, value: object, low: int, high: tuple[int, int]) -> tuple[int, int]:
    """Return value as (rows, columns) after checking two whole numbers, each in low..high of its axis."""
    if isinstance(value, str) or not isinstance(value, Iterable) or len(both := list(value)) != 2:
        raise ValueError(f"{name} must be two whole numbers (rows, columns), found {value!r}.")
    return whole(f"{name}[0]", both[0], low, high[0]), whole(f"{name}[1]", both[1], low, high[1])


def settings(kind: Any, given: dict[str, Any]) -> Any:
    """Return kind(**given), a NamedTuple with defaults, after checking flags (true or false) and numbers (finite)."""
    values = kind(**given)
    for name, value in zip(kind._fields, values, strict=True):
        checked = flag(name, value) if isinstance(kind._field_defaults[name], bool) else number(name, value)
        values = values._replace(**{name: checked})
    return values
