"""The conformance kit over every registered agent, and the registry itself."""

import pytest

from marl_gre.agents import AGENTS
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import find_agent
from marl_gre.testing import check_agent


@pytest.mark.parametrize("name", AGENTS)
def test_check_agent(name):
    check_agent(find_agent(name))


def test_the_default_is_the_recurrent_agent():
    assert find_agent("gru") is RecurrentAgent
