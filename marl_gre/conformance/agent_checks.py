"""The promises of every agent: one function per promise, each with its own message; `AGENT_CHECKS` lists them.

The learner unrolls what the rollout steps through, so both must give the same values, and an episode's values may
depend on its own past only. Inputs are drawn from fixed seeds, in float64 for unrolling and float32 for acting.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from marl_gre.agents.base import Agent
from marl_gre.conformance.kit import ConformanceError, draw_anew, one_line, plural, require, watched_global_rngs
from marl_gre.data import EnvSizes

SIZES = EnvSizes(n_agents=3, n_actions=5, obs_dim=7, state_dim=11)
HIDDEN_DIM = 16
EPISODES = (4, 4, 3, 3, 1)  # episodes that have a step at each time: their lengths are 4, 3, 3 and 1, without the end
FIRST, ROWS, ACTIONS = EPISODES[0], sum(EPISODES), sum(EPISODES[1:])
CLOSE = partial(torch.allclose, rtol=1e-9, atol=1e-9)  # matrix products of another shape differ in the last bits


@dataclass(frozen=True)
class AgentUnderTest:
    """An agent class and the options that params.yaml would pass it."""

    agent_class: type[Agent]
    options: Mapping[str, Any] = field(default_factory=dict)

    def build(self, seed: int = 0, sizes: EnvSizes = SIZES) -> Agent:
        """Return a float64 agent whose parameters depend on the arguments only."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            try:
                return self.agent_class(sizes, HIDDEN_DIM, **self.options).double()
            except Exception as error:
                raise ConformanceError(
                    f"building the agent raised {one_line(error)}; agents are built as Agent(sizes, hidden_dim)."
                ) from error

    def agents(self) -> Iterator[Agent]:
        """Yield an agent as it begins, and one whose parameters are drawn anew, as training may leave them."""
        yield self.build()
        trained = self.build()
        draw_anew(trained)
        yield trained


def inputs(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random obs [P,N,O] and actions [Q,N] of four episodes."""
    generator = torch.Generator().manual_seed(seed)
    obs = torch.randn(ROWS, SIZES.n_agents, SIZES.obs_dim, generator=generator, dtype=torch.float64)
    return obs, torch.randint(SIZES.n_actions, (ACTIONS, SIZES.n_agents), generator=generator)


def unroll(agent: Agent, obs: Tensor, actions: Tensor, episodes: Sequence[int] = EPISODES) -> Tensor:
    """Return agent_qs after checking that they are a tensor [P,N,A] of the input's dtype."""
    try:
        agent_qs = agent(obs, actions, episodes)
    except Exception as error:
        raise ConformanceError(f"forward raised {one_line(error)} for obs {list(obs.shape)}.") from error
    _require_tensor("forward returned", agent_qs, [*obs.shape[:2], agent.sizes.n_actions], obs.dtype)
    return agent_qs


def stepped(agent: Agent, obs: Tensor, actions: Tensor) -> Tensor:
    """Return agent_qs [T,N,A] of one episode, obs [T,N,O] and actions [T-1,N], step by step."""
    previous = obs.new_zeros(1, SIZES.n_agents, SIZES.n_actions)
    agent_qs = []
    try:
        memory = agent.initial_memory(1)
        for time in range(len(obs)):
            values, memory = agent.step(obs[time : time + 1], previous, memory)
            _require_tensor("step returned", values, [1, SIZES.n_agents, SIZES.n_actions], obs.dtype)
            agent_qs.append(values)
            if time < len(actions):
                previous = F.one_hot(actions[time : time + 1], SIZES.n_actions).to(obs.dtype)
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"initial_memory or step raised {one_line(error)} for one environment.") from error
    return torch.cat(agent_qs)


def rows_of(episode: int) -> list[int]:
    """Return the packed rows of an episode."""
    starts = np.cumsum((0, *EPISODES[:-1]))
    return [int(start) + episode for start, count in zip(starts, EPISODES, strict=True) if episode < count]


def actions_of(episode: int) -> list[int]:
    """Return the packed rows of an episode's actions; the successor of action q is row FIRST + q."""
    return [row - FIRST for row in rows_of(episode)[1:]]


def _require_tensor(what: str, value: object, shape: list[int], dtype: torch.dtype) -> None:
    found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    require(found == f"{dtype} {shape}", f"wrong shape or dtype: {what} {found}; it must be {dtype} {shape}.")


def declarations(case: AgentUnderTest) -> None:
    """The class is an Agent with an integer `results_version`."""
    require(
        isinstance(case.agent_class, type) and issubclass(case.agent_class, Agent),
        f"{case.agent_class!r} is not a subclass of marl_gre.agents.base.Agent.",
    )
    version = getattr(case.agent_class, "results_version", None)
    require(
        type(version) is int,
        f"{case.agent_class.__name__}.results_version is {version!r}; it must be an int, raised when results change.",
    )


def shapes(case: AgentUnderTest) -> None:
    """agent_qs are [P,N,A] in the dtype of the inputs, for one episode and several, one agent and several."""
    agent, (obs, actions) = case.build(), inputs()
    unroll(agent, obs, actions)
    unroll(agent, obs[:2], actions[:1], (1, 1))
    unroll(agent.float(), obs.float(), actions)
    single = case.build(sizes=EnvSizes(1, 2, SIZES.obs_dim, SIZES.state_dim))
    unroll(single, obs[:, :1], actions[:, :1].clamp(max=1))


def repeatable(case: AgentUnderTest) -> None:
    """The unroll is a pure function: no global random numbers, no memory of earlier calls, inputs unchanged."""
    agent, (obs, actions) = case.build(), inputs()
    kept = obs.clone(), actions.clone()
    moved: list[str] = []
    with watched_global_rngs(1, moved):
        first = unroll(agent, obs, actions)
    require(not moved, f"forward draws from the global random state ({plural(moved)}): its result must not.")
    require(
        torch.equal(obs, kept[0]) and torch.equal(actions, kept[1]),
        "forward changed its inputs in place: obs and actions must be left as they are.",
    )
    unroll(agent, *inputs(seed=1))
    require(
        torch.equal(first, unroll(agent, obs, actions)),
        "forward is not repeatable: the same episodes gave other values after others had been unrolled.",
    )


def unroll_equals_stepping(case: AgentUnderTest) -> None:
    """Unrolling packed episodes gives the values of stepping through each of them alone."""
    obs, actions = inputs()
    for agent in case.agents():
        with torch.no_grad():
            agent_qs = unroll(agent, obs, actions)
        for episode in range(FIRST):
            rows = rows_of(episode)
            with torch.no_grad():
                alone = stepped(agent, obs[rows], actions[actions_of(episode)])
            error = (agent_qs[rows] - alone).abs().amax((1, 2))
            wrong = (error > 1e-9 * (1 + alone.abs().max())).nonzero().flatten().tolist()
            require(
                not wrong,
                f"the unroll is not what stepping gives: the values of an episode of {len(rows)} steps differ at step "
                f"{wrong[0] if wrong else 0} by {error.max():.3g}; check the previous actions and the memory.",
            )


def episodes_are_independent(case: AgentUnderTest) -> None:
    """The values of an episode depend neither on other episodes nor on later steps."""
    (obs, actions), (other_obs, other_actions) = inputs(), inputs(seed=1)
    for agent in case.agents():
        with torch.no_grad():
            agent_qs = unroll(agent, obs, actions)
            for episode in range(FIRST):
                rows, own_actions = rows_of(episode), actions_of(episode)
                changed_obs, changed_actions = other_obs.clone(), other_actions.clone()
                changed_obs[rows], changed_actions[own_actions] = obs[rows], actions[own_actions]
                found = unroll(agent, changed_obs, changed_actions)[rows]
                require(
                    CLOSE(found, agent_qs[rows]),
                    "episodes are not independent: the values of one changed with the observations of the others.",
                )
            later = obs.clone()
            later[FIRST:] = other_obs[FIRST:]
            require(
                CLOSE(unroll(agent, later, actions)[:FIRST], agent_qs[:FIRST]),
                "values look ahead: those of the first step changed with later observations.",
            )


def depends_on_observations(case: AgentUnderTest) -> None:
    """The values change with the observation."""
    agent, (obs, actions) = case.build(), inputs()
    with torch.no_grad():
        require(
            not torch.equal(unroll(agent, obs, actions), unroll(agent, inputs(seed=1)[0], actions)),
            "the values do not depend on the observations.",
        )


def parameters_learn(case: AgentUnderTest) -> None:
    """Every parameter carries a finite gradient of the values that is not always zero."""
    obs, actions = inputs()
    learning: set[str] = set()  # the gradient was not 0 with some weights
    for agent in case.agents():
        parameters = {name: value for name, value in agent.named_parameters() if value.requires_grad}
        require(bool(parameters), "the agent has no parameters to train; register its layers as attributes.")
        agent_qs = unroll(agent, obs, actions)
        require(agent_qs.requires_grad, "the values carry no gradient: the agent could not learn.")
        found = torch.autograd.grad(agent_qs.square().sum(), list(parameters.values()), allow_unused=True)
        gradients = dict(zip(parameters, found, strict=True))
        unused = [name for name, gradient in gradients.items() if gradient is None]
        require(not unused, f"no gradient reaches {plural(unused)}: use them or remove them.")
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        require(not bad, f"the gradient of {plural(bad)} is not finite.")
        learning |= {name for name, gradient in gradients.items() if gradient.any()}
    zero = sorted(parameters.keys() - learning)
    require(not zero, f"the gradient of {plural(zero)} is always 0: use them or remove them.")


def state_dict_round_trip(case: AgentUnderTest) -> None:
    """The state_dict holds everything that determines the values."""
    agent, other, (obs, actions) = case.build(), case.build(seed=1), inputs()
    try:
        unroll(other, obs, actions)  # what it keeps of its old weights must not outlast them
        other.load_state_dict(agent.state_dict())
    except Exception as error:
        raise ConformanceError(f"load_state_dict of the agent's own state_dict raised {one_line(error)}.") from error
    require(
        torch.equal(unroll(agent, obs, actions), unroll(other, obs, actions)),
        "the state_dict is not complete: an agent that loaded it gives other values; register every tensor that "
        "decides the values as a parameter or buffer.",
    )


def copies_are_independent(case: AgentUnderTest) -> None:
    """A deepcopy (the target network) equals the original and shares nothing with it, in the middle of training too."""
    agent, (obs, actions) = case.build(), inputs()
    before = unroll(agent, obs, actions)
    try:
        target = copy.deepcopy(agent)
    except Exception as error:
        raise ConformanceError(
            f"deepcopy of the agent after a forward raised {one_line(error)}; keep no results on self."
        ) from error
    require(torch.equal(before, unroll(target, obs, actions)), "a deepcopy of the agent gives other values.")
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(1.0)
    require(
        torch.equal(before, unroll(target, obs, actions)),
        "a deepcopy shares parameters with the original: the target network would move with the online one.",
    )


def acts_alike(case: AgentUnderTest) -> None:
    """Acting is epsilon-greedy on the values of `step` with the current weights, whatever other environments do."""
    agent = case.build().float()
    _acts_alike(agent, "")
    draw_anew(agent)
    _acts_alike(agent, " after the weights have changed")


def _acts_alike(agent: Agent, when: str) -> None:
    draws = np.random.default_rng(0)
    steps, num_envs = 6, 5
    obs = draws.standard_normal((steps, num_envs, SIZES.n_agents, SIZES.obs_dim)).astype(np.float32)
    mask = (draws.random((steps, num_envs, SIZES.n_agents, SIZES.n_actions)) < 0.5).astype(np.int8)
    np.put_along_axis(mask, draws.integers(SIZES.n_actions, size=(steps, num_envs, SIZES.n_agents, 1)), 1, -1)
    noise = draws.random((steps, 2, num_envs, SIZES.n_agents))
    playing = np.arange(steps)[:, None] < np.arange(2, 2 + num_envs)  # they end one after another
    for epsilon in (0.0, 0.5, 1.0):
        together = _acted(agent, obs, mask, epsilon, noise)
        chosen = np.take_along_axis(mask, together[..., None], -1)
        require(bool(chosen.all()), f"acting with epsilon {epsilon} chose an action that is not available{when}.")
        require(
            np.array_equal(together, _acted(agent, obs, mask, epsilon, noise)),
            f"acting with epsilon {epsilon} is not repeatable{when}: the same episodes gave other actions.",
        )
        require(
            np.array_equal(together[playing], _acted(agent, obs, mask, epsilon, noise, playing)[playing]),
            f"acting with epsilon {epsilon} chose other actions{when} once some environments had ended (`playing`).",
        )
        for i in range(num_envs):
            one = slice(i, i + 1)
            alone = _acted(agent, obs[:, one], mask[:, one], epsilon, noise[:, :, one])
            require(
                np.array_equal(alone, together[:, one]),
                f"environments are not independent: acting with epsilon {epsilon} chose other actions in one of them "
                f"when it was played alone{when}.",
            )
    greedy = _acted(agent, obs, mask, 0.0, noise)
    require(
        np.array_equal(greedy, _acted(agent, obs, mask, 0.5, None)),
        f"acting without noise is not greedy{when}: noise=None means the actions of epsilon 0.",
    )
    for i in range(num_envs):
        with torch.no_grad():
            values = stepped(agent, torch.from_numpy(obs[:, i]), torch.from_numpy(greedy[:-1, i])).numpy()
        values = np.where(mask[:, i], values, -np.inf)
        lost = values.max(-1) - np.take_along_axis(values, greedy[:, i, :, None], -1)[..., 0]
        require(
            bool((lost <= 1e-4 * (1 + np.abs(values.max(-1)))).all()),
            f"greedy acting does not choose the action that step values highest{when}.",
        )


def _acted(
    agent: Agent,
    obs: np.ndarray,
    mask: np.ndarray,
    epsilon: float,
    noise: np.ndarray | None,
    playing: np.ndarray | None = None,
) -> np.ndarray:
    """Return the actions of all steps [T,E,N]; noise is [T,2,E,N] and playing [T,E]."""
    try:
        actor = agent.actor(obs.shape[1])
        seen, chosen = np.empty_like(obs[0]), []
        for step in range(len(obs)):
            seen[:] = obs[step]  # one array for all steps, as environments have
            drawn = None if noise is None else noise[step]
            chosen.append(actor.act(seen, mask[step], epsilon, drawn, None if playing is None else playing[step]))
        actions = np.stack(chosen)
    except Exception as error:
        raise ConformanceError(f"acting raised {one_line(error)} in {obs.shape[1]} environments.") from error
    require(
        actions.shape == obs.shape[:-1] and np.issubdtype(actions.dtype, np.integer),
        f"wrong shape or dtype: act returned {actions.dtype} {list(actions.shape[1:])}; it must return integers "
        f"{list(obs.shape[1:-1])}.",
    )
    return actions


AGENT_CHECKS: dict[str, Callable[[AgentUnderTest], None]] = {
    check.__name__: check
    for check in (
        declarations,
        shapes,
        repeatable,
        unroll_equals_stepping,
        episodes_are_independent,
        depends_on_observations,
        parameters_learn,
        state_dict_round_trip,
        copies_are_independent,
        acts_alike,
    )
}
