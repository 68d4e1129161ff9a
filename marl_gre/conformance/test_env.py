"""The checks of an env as tests; `pytest --pyargs marl_gre.conformance --env package.module:NAME`."""

from collections.abc import Callable

from marl_gre.conformance.env_play import EnvUnderTest
from marl_gre.conformance.kit import run_as_test


def test_env(env_case: EnvUnderTest, check: Callable[[EnvUnderTest], None]) -> None:
    """The env keeps this promise."""
    run_as_test(check, env_case)
