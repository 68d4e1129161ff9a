"""The YAML loader of params files, and its one-line errors: the key's path, what was found and what is allowed.

The file is read with ruamel.yaml in YAML 1.2, the parser that DVC itself uses, so that `1e-4` is a number in both
(PyYAML reads a string).
"""

import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning

from marl_gre.errors import BadInput
from marl_gre_envs.checks import one_of

MAX_PARAMS_BYTES = 1_000_000
"""Bytes of a params file; a larger one is a mistake, not a config."""

MAX_VALUES = 100_000
"""Values in a params file after expanding aliases; more are a mistake, too."""


def read_mapping(path: Path, sections: Iterable[str]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: the file.
        sections: keys that the error names if the file holds something else.

    Raises:
        BadInput: the file is missing, unreadable or too large, or is not a YAML mapping; the message is one line.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_PARAMS_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); name a params file with --params.") from error
    if len(text) > MAX_PARAMS_BYTES:
        raise BadInput(f"{path}: larger than {MAX_PARAMS_BYTES} bytes; a params file holds a few kilobytes.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)  # an anchor given twice: one of them is a mistake
            content = YAML(typ="safe", pure=True).load(text.decode("utf-8"))
        values = _count(content, {})
    except (YAMLError, YAMLWarning, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid YAML: {_yaml_problem(error)}") from error
    if values > MAX_VALUES:
        raise BadInput(f"{path}: aliases (*name) repeat more than {MAX_VALUES} values; write out what is meant.")
    if not isinstance(content, dict):
        raise BadInput(f"{path}: a mapping with the sections {', '.join(sections)} is needed.")
    return content


def first_lines(error: Exception) -> str:
    """Return a message's lines as one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ("; ".join(lines) or type(error).__name__)[:300]


def _yaml_problem(error: Exception) -> str:
    """Return where a file stops being YAML and why, without ruamel's excerpt and advice to programmers."""
    if not isinstance(error, MarkedYAMLError) or not error.problem or error.problem_mark is None:
        return first_lines(error)
    problem = error.problem.partition(" with value ")[0]  # a duplicate key's values
    return f"line {error.problem_mark.line + 1}: {problem}."


def explain(error: ValidationError, model: type[BaseModel], extra_allowed: Sequence[str] = ()) -> str:
    """Return the first problem as "key.path: found X; ..."."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    if problem["type"] == "missing":  # where a key beside it is unknown, it is probably this one, misspelled
        beside = [one for one in problems if one["loc"][:-1] == problem["loc"][:-1]]
        problem = next((one for one in beside if one["type"] == "extra_forbidden"), problem)
    location = list(problem["loc"])
    path = ".".join(str(part) for part in location)
    found = repr(problem["input"])
    found = found if len(found) <= 80 else found[:77] + "..."
    prefix = f"{path}: " if path else ""
    match problem["type"]:
        case "extra_forbidden":
            allowed = [*extra_allowed, *_fields_at(model, location[:-1])]
            return f"{path}: {one_of('key', location[-1], allowed)}"
        case "missing":
            return f"{path}: missing; add this key."
        case "value_error":
            return f"{prefix}{str(problem['ctx']['error']).removesuffix('.')}."
        case "model_type" | "dict_type":
            return f"{prefix}found {found}; a mapping is needed."
        case "list_type":
            return f"{prefix}found {found}; a list is needed{_as_list(problem['input'])}."
        case "int_type":
            return f"{prefix}found {found}; a whole number is needed{_rewritten(problem['input'], whole=True)}."
        case "float_type":
            return f"{prefix}found {found}; a number is needed{_rewritten(problem['input'], whole=False)}."
        case _:
            return f"{prefix}found {found}; {_lower_first(problem['msg'])}."


def _as_list(value: Any) -> str:
    """Return how to write a value, or several in one text, as a list."""
    items = str(value).replace(",", " ").split() if isinstance(value, str | int) else []
    return f": write [{', '.join(items)}]" if items else ", such as [0, 1]"


def _rewritten(value: Any, whole: bool) -> str:
    """Return how to write a number that stands in quotes, or a whole one with a point or an exponent."""
    text = str(value).strip()
    try:
        number = float(text) if isinstance(value, str | float) and len(text) <= 20 else math.nan
    except ValueError:
        return ""
    if not abs(number) < 1e15 or (whole and not number.is_integer()):
        return ""
    return f": write {int(number) if whole else text}" + (" without quotes" if isinstance(value, str) else "")


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _fields_at(model: type[BaseModel], location: list[str | int]) -> list[str]:
    """Return the keys allowed at a place of the file."""
    here: Any = model
    for part in location:
        if isinstance(here, type) and issubclass(here, BaseModel) and part in here.model_fields:
            here = here.model_fields[str(part)].annotation
        elif part is not None and getattr(here, "__args__", None):
            here = here.__args__[-1]  # the value type of a dict
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _count(value: Any, counted: dict[int, float]) -> float:
    """Return how many values there are with aliases written out; a value that holds itself holds infinitely many."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in counted:
        counted[id(value)] = float("inf")  # met again before it is counted: it holds itself
        items = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count(item, counted) for item in items)
    return counted[id(value)]
