"""The checks of an env as tests; `pytest --pyargs marl_gre.conformance --env package.module:NAME`."""

from collections.abc import Callable

import pytest

from marl_gre.conformance.env_play import EnvUnderTest
from marl_gre.conformance.kit import ConformanceError


def test_env(env_case: EnvUnderTest, check: Callable[[EnvUnderTest], None]) -> None:
    """The env keeps this promise."""
    try:
        check(env_case)
        return
    except ConformanceError as error:
        if error.__cause__ is not None:  # the env itself raised: its traceback is what helps
            raise
        defect = str(error)
    pytest.fail(defect, pytrace=False)
