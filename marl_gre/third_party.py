"""Third parties' code by name, as params files and options give it."""

import importlib
import importlib.util
from typing import Any


def installed(library: str) -> bool:
    """Return whether a library can be imported; a folder of that name, which may be anything, is none."""
    found = importlib.util.find_spec(library)
    return found is not None and found.origin is not None


def in_words(error: BaseException, *expected: type[Exception]) -> str:
    """Return an exception's message, after its type if that is none of the expected ones."""
    return str(error) if isinstance(error, expected) else f"{type(error).__name__}: {error}"


def imported(name: str, form: str) -> Any:
    """Return what a name in the form package.module:name imports.

    Args:
        name: the name.
        form: how the message writes the form, as "package.module:Class".

    Raises:
        ValueError: it cannot be imported.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a third party's module can raise anything
        raise ValueError(f"found {name!r}, which cannot be imported ({error}); use {form}") from error
