"""Turns --env, --mixer and --agent into a test per name and check: test_env[package.module:factory-outputs]."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import marl_gre_envs
from marl_gre.config import find_agent, find_mixer
from marl_gre.conformance.agent_checks import AGENT_CHECKS, AgentUnderTest
from marl_gre.conformance.env_checks import ENV_CHECKS
from marl_gre.conformance.env_play import EnvUnderTest
from marl_gre.conformance.mixer_checks import MIXER_CHECKS, MixerUnderTest

CHECKS: dict[str, dict[str, Callable[[Any], None]]] = {
    "env": ENV_CHECKS,
    "mixer": MIXER_CHECKS,
    "agent": AGENT_CHECKS,
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what was not asked for, and everything where the suite was only collected by chance (`pytest .`)."""
    kind = collection_path.stem.removeprefix("test_")
    return True if kind in CHECKS and not config.getoption(f"--{kind}", []) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its name and its check."""
    for kind, checks in CHECKS.items():
        if f"{kind}_case" in metafunc.fixturenames:
            names = metafunc.config.getoption(f"--{kind}")
            metafunc.parametrize(f"{kind}_case", names, ids=names, indirect=True, scope="session")
            metafunc.parametrize("check", checks.values(), ids=checks)


@pytest.fixture(scope="session")
def env_case(request: pytest.FixtureRequest) -> EnvUnderTest:
    """Return an environment under test; its reference episodes are played once for all checks."""
    option = request.config.getoption
    return EnvUnderTest(
        functools.partial(marl_gre_envs.make, request.param),
        ends=option("--ends").split(","),
        shared_reward=not option("--own-rewards"),
        stochastic=not option("--no-chance"),
    )


@pytest.fixture(scope="session")
def mixer_case(request: pytest.FixtureRequest) -> MixerUnderTest:
    """Return a mixer under test, with its default config."""
    option = request.config.getoption
    return MixerUnderTest(
        find_mixer(request.param),
        monotonic=not option("--not-monotonic"),
        regulariser_detached=not option("--regulariser-moves-agents"),
    )


@pytest.fixture(scope="session")
def agent_case(request: pytest.FixtureRequest) -> AgentUnderTest:
    """Return an agent under test, without options."""
    return AgentUnderTest(find_agent(request.param))
