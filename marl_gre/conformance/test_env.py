"""The checks of an env as tests; `pytest --pyargs marl_gre.conformance --env package.module:NAME`."""

from collections.abc import Callable

import pytest

from marl_gre.conformance.env_play import EnvUnderTest
from marl_gre.conformance.kit import ConformanceError


def test_env(env_case: EnvUnderTest, check: Callable[[EnvUnderTest], None]) -> None:
    """The env keeps this promise."""
    try:
        check(env_case)
    except ConformanceError as defect:
        if defect.__cause__ is not None:  # the env itself raised: its traceback is what helps
            raise
        pytest.fail(str(defect), pytrace=False)
