"""The conformance kit: check an environment, a mixer or an agent of your own from your tests.

Each function raises a ConformanceError at the first broken promise. The checks themselves are in
`marl_gre.conformance`, which also runs as a pytest suite.
"""

from collections.abc import Callable, Collection
from typing import Any

from pettingzoo import ParallelEnv

from marl_gre.agents.base import Agent
from marl_gre.conformance.agent_checks import AGENT_CHECKS, AgentUnderTest
from marl_gre.conformance.env_checks import ENV_CHECKS
from marl_gre.conformance.env_play import EnvUnderTest
from marl_gre.conformance.kit import ConformanceError
from marl_gre.conformance.mixer_checks import MIXER_CHECKS, MixerUnderTest
from marl_gre.mixers.base import Mixer, MixerConfig

__all__ = ["ConformanceError", "check_agent", "check_env", "check_mixer"]


def check_env(
    make_env: Callable[[], ParallelEnv],
    *,
    ends: Collection[str] = ("terminated", "truncated"),
    shared_reward: bool = True,
    stochastic: bool = True,
    seeds: int = 3,
    episodes: int = 5,
    max_steps: int = 10_000,
) -> None:
    """Check that a PettingZoo parallel environment keeps every promise that reproducible training depends on.

    Plays whole episodes of masked random actions and compares exactly: spaces, dtypes, masks, seeding, separate
    instances, no global random state, rewards, ends, illegal actions, pickling (`ENV_CHECKS` lists all).

    Args:
        make_env: builds the environment without arguments; use functools.partial for keywords.
        ends: the ends that random play must reach: "terminated" (goal, loss), "truncated" (time limit) or both.
        shared_reward: whether every agent receives the same reward.
        stochastic: whether the seed matters; False for a deterministic environment.
        seeds: seeds 0 to seeds - 1 are played.
        episodes: whole episodes per seed.
        max_steps: an episode that runs longer counts as endless.

    Raises:
        ConformanceError: a promise is broken; the message is one line that names the first defect.
        ValueError: for an unknown end.
    """
    case = EnvUnderTest(make_env, ends, shared_reward, stochastic, seeds, episodes, max_steps)
    for check in ENV_CHECKS.values():
        check(case)


def check_mixer(
    mixer_class: type[Mixer],
    config: MixerConfig | None = None,
    *,
    monotonic: bool = True,
    regulariser_detached: bool = True,
    max_agents: int = 8,
) -> None:
    """Check that a mixer keeps every promise that the learner and the gradient entropy depend on.

    Built as `mixer_class(sizes, config)` and called as `mixer(values, state)` and as `mixer.mix_and_regularise(values,
    state)`, in float64, with 1 to max_agents agents (1 only if the mixer does not refuse it with a ValueError). The
    regulariser may have either sign: an entropy bonus is negative.

    Args:
        mixer_class: a subclass of `marl_gre.mixers.Mixer`.
        config: the mixer's config; its `Config()` if None.
        monotonic: whether dq_tot/dq_i >= 0, so that the agents' greedy actions form a greedy joint action.
        regulariser_detached: whether the regulariser has gradients for the mixer's parameters only.
        max_agents: size of the largest team tested.

    Raises:
        ConformanceError: a promise is broken; the message is one line that names the first defect.
    """
    case = MixerUnderTest(mixer_class, config, monotonic, regulariser_detached, max_agents)
    for check in MIXER_CHECKS.values():
        check(case)


def check_agent(agent_class: type[Agent], **options: Any) -> None:
    """Check that an agent keeps every promise that the learner and the rollout depend on.

    Built as `agent_class(sizes, hidden_dim, **options)`; unrolled in float64 and played in float32. The main promises:
    unrolling equals stepping, episodes and environments do not influence each other, and everything is deterministic.

    Args:
        agent_class: a subclass of `marl_gre.agents.base.Agent`.
        options: its own options, as in params.yaml.

    Raises:
        ConformanceError: a promise is broken; the message is one line that names the first defect.
    """
    case = AgentUnderTest(agent_class, options)
    for check in AGENT_CHECKS.values():
        check(case)
