"""Checks of users' input; every error is one line: what was found, what is allowed, what to do.

Checks of whole worlds are in core.py and use these.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
from pettingzoo import AECEnv


def one_of(what: str, found: object, allowed: Iterable[str]) -> str:
    """Return the error message for an unknown name, with the nearest valid one."""
    names = list(allowed)
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(str(found).casefold(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[close[0]]!r}? " if close else ""
    return f"unknown {what} {shown(found)}; {hint}{'A' if hint else 'a'}llowed: {', '.join(names)}."


def shown(found: object) -> str:
    """Return the representation of a value in one line, for error messages."""
    return " ".join(repr(found).split())


def keywords_of(factory: Callable[..., Any]) -> list[str]:
    """Return the names of the keyword arguments that a callable accepts, none where it does not tell."""
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        return [name for name, p in inspect.signature(factory).parameters.items() if p.kind in kinds]
    except (TypeError, ValueError):
        return []


def check_keywords(where: str, found: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise TypeError for the first unknown keyword, naming the nearest valid one."""
    names = list(allowed)
    for name in found:
        if name not in names:
            raise TypeError(one_of(f"keyword of {where}:", name, names))


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return value as an int after checking that it is a whole number in low..high."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, found {shown(value)}.")
    return int(value)


def number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """Return value as a float after checking that it is a finite number in low..high."""
    try:
        found = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number or a fraction may be too large
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} must be a finite number, found {shown(value)}.")
    if not low <= found <= high:
        raise ValueError(f"{name} must lie from {low:g} to {high:g}, found {shown(value)}.")
    return found


def flag(name: str, value: object) -> bool:
    """Return value after checking that it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, found {shown(value)}.")
    return value


def choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return value after checking that it is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(one_of(name, value, allowed))
    return value


def row(name: str, value: Any, length: int, what: str) -> list[Any]:
    """Return the elements of value after checking that it is a row of that length; `what` describes it in errors."""
    if as_array(name, value).shape != (length,):
        raise ValueError(f"{name} must be {what}, found {shown(value)}.")
    return list(getattr(value, "tolist", lambda: value)())


def pair(name: str, value: object, low: int, high: tuple[int, int]) -> tuple[int, int]:
    """Return value as (rows, columns) after checking two whole numbers, each in low..high of its axis."""
    rows, columns = row(name, value, 2, "two whole numbers (rows, columns)")
    return whole(f"{name}[0]", rows, low, high[0]), whole(f"{name}[1]", columns, low, high[1])


def as_array(name: str, value: object) -> np.ndarray:
    """Return value as an array after checking that its rows are equally long."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must have rows of one length, found rows of different lengths.") from None


def in_range(name: str, array: np.ndarray, low: Any, high: Any, integral: bool = True) -> np.ndarray:
    """Return array after checking that it holds numbers in low..high, which broadcast to it; integral: whole ones."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, found {array.dtype}.")
    good = (array >= low) & (array <= high)
    if integral and array.dtype.kind == "f":
        good &= array == np.floor(array)
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        least, most = (np.broadcast_to(bound, array.shape)[where] for bound in (low, high))
        raise ValueError(f"{name} must be from {least} to {most}, found {array[where]} at {list(where)}.")
    return array


def check_dict(what: str, found: object, needed: Iterable[str] = ()) -> None:
    """Raise ValueError unless found is a dict that has all needed names."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{what} must be a dict, found {type(found).__name__}.")
    names = list(needed)
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{what} lacks {missing[0]!r}; it needs {', '.join(names)}.")


def check_parallel(env: object) -> None:
    """Raise ValueError unless this has the form of a PettingZoo parallel environment."""
    if isinstance(env, AECEnv):
        raise ValueError("found a turn-based (AEC) env: name the factory of its parallel form, often parallel_env.")
    if not callable(getattr(env, "action_space", None)):  # Gymnasium's is a space, not a method
        raise ValueError(f"found {type(env).__name__}; the factory must make a PettingZoo parallel env.")


def seeds_of(seed: Any, num_envs: int, largest: int) -> list[int]:
    """Return one seed per environment, each from 0 to largest, of what VectorEnv.reset takes."""
    if isinstance(seed, Integral):
        first = whole("seed", seed, 0, largest + 1 - num_envs)
        return list(range(first, first + num_envs))
    seeds = row("seed", seed, num_envs, f"a whole number or one per environment ({num_envs})")
    return [whole(f"seed[{i}]", one, 0, largest) for i, one in enumerate(seeds)]


def actions_of(actions: object, num_envs: int, n_agents: int) -> np.ndarray:
    """Return actions [E,N] as an array after checking that they are whole numbers."""
    asked = as_array("actions", actions)
    if asked.shape != (num_envs, n_agents) or asked.dtype.kind not in "iu":
        raise ValueError(f"actions must be whole numbers {(num_envs, n_agents)}, found {asked.dtype} {asked.shape}.")
    return asked


def illegal_action(action: int, agent: str, environment: int, mask: Sequence[int] | np.ndarray) -> ValueError:
    """Return the error for an action that the agent's mask [A] does not allow."""
    legal = np.flatnonzero(mask).tolist()
    return ValueError(f"illegal action {action} of {agent} in environment {environment}; legal are {legal}.")


def settings(kind: Any, given: dict[str, Any]) -> Any:
    """Return kind(**given), a NamedTuple with defaults, after checking flags (true or false) and numbers (finite)."""
    values = kind(**given)
    for name, value in zip(kind._fields, values, strict=True):
        checked = flag(name, value) if isinstance(kind._field_defaults[name], bool) else number(name, value)
        values = values._replace(**{name: checked})
    return values
