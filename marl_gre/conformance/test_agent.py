"""The checks of an agent as tests; `pytest --pyargs marl_gre.conformance --agent package.module:NAME`."""

from collections.abc import Callable

from marl_gre.conformance.agent_checks import AgentUnderTest
from marl_gre.conformance.kit import run_as_test


def test_agent(agent_case: AgentUnderTest, check: Callable[[AgentUnderTest], None]) -> None:
    """The agent keeps this promise."""
    run_as_test(check, agent_case)
