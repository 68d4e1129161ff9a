"""Plays PettingZoo parallel environments for the checks: whole episodes of masked random actions, frame by frame."""

import copy
import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, Space
from pettingzoo import ParallelEnv

from marl_gre.conformance.kit import ConformanceError, one_line, require
from marl_gre_envs.from_parallel import own_state

Frame = dict[str, Any]
"""One moment of an episode: agents, observation, reward, terminated, truncated, info (dicts by agent) and state."""


@dataclass
class EnvUnderTest:
    """A factory of PettingZoo parallel environments and its author's declarations; see `marl_gre.testing.check_env`."""

    make_env: Callable[[], ParallelEnv]
    ends: Collection[str] = ("terminated", "truncated")
    shared_reward: bool = True
    stochastic: bool = True
    seeds: int = 3
    episodes: int = 5
    max_steps: int = 10_000
    _references: dict[int, list[list[Frame]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.ends) - {"terminated", "truncated"}
        if unknown or not self.ends:
            raise ValueError(f"ends: found {list(self.ends)!r}; allowed: 'terminated', 'truncated' or both.")

    def make(self) -> ParallelEnv:
        """Return a new env."""
        try:
            return self.make_env()
        except Exception as error:
            raise ConformanceError(f"the factory, called without arguments, raised {one_line(error)}") from error

    def play(self, env: ParallelEnv, seed: int, episodes: int | None = None) -> list[list[Frame]]:
        """Play episodes: the first from reset(seed=seed), the others from reset() without a seed."""
        return [
            list(self.episode(env, seed if number == 0 else None, (seed, number)))
            for number in range(self.episodes if episodes is None else episodes)
        ]

    def reference(self, seed: int) -> list[list[Frame]]:
        """Return the reference play of a new environment from this seed, played once."""
        if seed not in self._references:
            self._references[seed] = self.play(self.make(), seed)
        return self._references[seed]

    def frames(self) -> Iterator[tuple[str, Frame]]:
        """Yield every frame of every reference episode with its place."""
        for seed in range(self.seeds):
            for number, frames in enumerate(self.reference(seed)):
                for step, frame in enumerate(frames):
                    yield place(seed, number, step), frame

    def episode(
        self,
        env: ParallelEnv,
        seed: int | None,
        action_seed: tuple[int, ...],
        override: Callable[[int, dict], dict] = lambda step, actions: actions,
        keep: Callable[[Any], Any] = copy.deepcopy,
    ) -> Iterator[Frame]:
        """Yield the frames of one episode of masked random actions.

        Args:
            env: the env to play.
            seed: passed to reset.
            action_seed: seed of the actions.
            override: (step, actions) -> the actions to send instead.
            keep: applied to each output before it is stored.
        """
        rng = np.random.default_rng(action_seed)
        observation, info = call("reset", env.reset, seed=seed, options=None)
        frame: Frame = {"reward": {}, "terminated": {}, "truncated": {}}
        for step in itertools.count():
            frame |= {"observation": observation, "info": info, "state": own_state(env), "agents": list(env.agents)}
            yield keep(frame)
            ended = {agent for flags in (frame["terminated"], frame["truncated"]) for agent in flags if flags[agent]}
            if not set(env.agents) - ended:
                return
            require(
                step < self.max_steps,
                f"no end is reached: an episode still runs after {self.max_steps} steps of random actions; end it, or "
                "give a larger max_steps.",
            )
            actions = {
                agent: legal_action(rng, env.action_space(agent), mask_of(observation[agent], info.get(agent, {})))
                for agent in env.agents
                if agent in observation
            }
            try:
                outcome = call("step", env.step, override(step, actions))
            except ConformanceError as error:  # perhaps since a mask has misled it
                for agent in actions:
                    defect = mask_defect(agent, observation[agent], info.get(agent, {}), env.action_space(agent))
                    if defect is not None:
                        raise ConformanceError(f"{defect} (step {step}); {error}") from error
                raise
            observation, reward, terminated, truncated, info = outcome
            frame = {"reward": reward, "terminated": terminated, "truncated": truncated}


def call(name: str, method: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call reset or step and check that it returns two or five dicts."""
    try:
        output = method(*args, **kwargs)
    except Exception as error:
        raise ConformanceError(f"{name} raised {one_line(error)} on legal input.") from error
    parts = {"reset": "(observations, infos)", "step": "(observations, rewards, terminations, truncations, infos)"}[
        name
    ]
    shaped = isinstance(output, tuple) and len(output) == parts.count(",") + 1
    require(
        shaped and all(isinstance(part, dict) for part in output),
        f"{name} must return {parts}, all dicts keyed by agent; found {type(output).__name__}.",
    )
    return output


def mask_of(observation: Any, info: dict) -> np.ndarray | None:
    """Return an agent's action mask from its info or its dict observation, or None if there is none."""
    if "action_mask" in info:
        return info["action_mask"]
    return observation.get("action_mask") if isinstance(observation, dict) else None


def mask_defect(agent: str, observation: Any, info: dict, space: Any) -> str | None:
    """Return what is wrong with an agent's action mask, in words, or None if there is none or it is sound."""
    mask = mask_of(observation, info)
    if mask is None:
        return None
    found, needed = f"{getattr(mask, 'dtype', type(mask).__name__)} {list(np.shape(mask))}", f"int8 [{space.n}]"
    if found != needed:
        return f"wrong dtype or shape: the action_mask of {agent} is {found}; it must be {needed}"
    if not np.isin(mask, (0, 1)).all():
        return f"the action_mask of {agent} is {mask}; it must hold 0 and 1 only"
    return None if mask.any() else f"the action_mask of {agent} leaves no legal action"


def legal_action(rng: np.random.Generator, space: Space, mask: np.ndarray | None) -> np.int64:
    """Draw a legal action of a Discrete space uniformly, or any action if the mask allows none."""
    if not isinstance(space, Discrete):
        raise ConformanceError(f"the action space is {space}; this project plays envs with Discrete actions.")
    legal = np.flatnonzero(mask) if mask is not None and np.any(mask) else np.arange(space.n)
    return np.int64(space.start + legal[rng.integers(len(legal))])


def place(seed: int, episode: int, step: int) -> str:
    """Return a place in the reference play in words; step 0 is the reset."""
    return f"seed {seed}, episode {episode}, " + (f"step {step}" if step else "at reset")
