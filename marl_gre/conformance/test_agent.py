"""The checks of an agent as tests; `pytest --pyargs marl_gre.conformance --agent package.module:NAME`."""

from collections.abc import Callable

import pytest

from marl_gre.conformance.agent_checks import AgentUnderTest
from marl_gre.conformance.kit import ConformanceError


def test_agent(agent_case: AgentUnderTest, check: Callable[[AgentUnderTest], None]) -> None:
    """The agent keeps this promise."""
    try:
        check(agent_case)
        return
    except ConformanceError as error:
        if error.__cause__ is not None:  # the agent itself raised: its traceback is what helps
            raise
        defect = str(error)
    pytest.fail(defect, pytrace=False)
