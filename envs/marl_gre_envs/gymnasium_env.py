"""The Gymnasium form of a compiled environment, with all agents in one tuple, as EPyMARL expects it.

Spaces are Tuples over the agents, the reward is a list of individual rewards (which the trainer sums up), and the
episode ends for all agents at once. Gymnasium's vector and scalar-reward wrappers do not apply to this form.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Tuple

import marl_gre_envs
from marl_gre_envs.checks import as_array, choice
from marl_gre_envs.parallel import FRAMES_PER_SECOND, RENDER_MODES


class JointEnv(gymnasium.Env):
    """A compiled environment as a Gymnasium environment."""

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(self, name: str, render_mode: str | None = None, **kwargs: Any):
        """Make the environment.

        Args:
            name: an id of marl_gre_envs.ENVS.
            render_mode: None, "rgb_array" or "human".
            kwargs: keyword arguments of the compiled environment.
        """
        # The PettingZoo face already is one environment with a window; this face only arranges its values by position.
        known = choice("environment", name, tuple(marl_gre_envs.ENVS))
        self._env = marl_gre_envs.make(known, render_mode=render_mode, **kwargs)
        self.core = core = self._env.core
        self.render_mode = render_mode
        self.n_agents = core.n_agents
        low, high = core.obs_low, core.obs_high
        self.observation_space = Tuple([Box(low, high, (core.obs_dim,), np.float32) for _ in core.agents])
        self.action_space = Tuple([Discrete(core.n_actions) for _ in core.agents])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
        """Start an episode; see marl_gre_envs.parallel.CoreParallelEnv.reset."""
        super().reset(seed=seed)
        observations, _ = self._env.reset(seed, options)
        return tuple(observations.values()), self._info()

    def step(  # type: ignore[override]  # the reward is a list
        self, action: tuple[int, ...]
    ) -> tuple[tuple[np.ndarray, ...], list[float], bool, bool, dict[str, Any]]:
        """Take one step.

        Args:
            action: one action for each agent, in their order.

        Returns:
            Observations by agent, individual rewards by agent (equal parts of a shared reward), terminated, truncated,
                info.

        Raises:
            ValueError: not one whole number for each agent, or an illegal action with strict=True.
            RuntimeError: the episode is over, or none was started.
        """
        if (found := as_array("action", action).shape) != (self.n_agents,):
            raise ValueError(f"action must be one whole number for each of the {self.n_agents} agents, found {found}.")
        agents = self._env.possible_agents
        observations, _, terminated, truncated, _ = self._env.step(dict(zip(agents, action, strict=True)))
        rewards = self.core.agent_reward[0]
        if self.core.shared_reward:
            rewards = rewards / self.n_agents
        return tuple(observations.values()), rewards.tolist(), terminated[agents[0]], truncated[agents[0]], self._info()

    def state(self) -> np.ndarray:
        """Return the global state, [S] float32."""
        return self._env.state()

    def render(self) -> np.ndarray | None:
        """Return a picture [height, width, 3] uint8 ("rgb_array"), or show it in a window ("human")."""
        return self._env.render()

    def close(self) -> None:
        """Close the window, if there is one, and what the environment holds (threads, games); safe to call twice."""
        self._env.close()

    def _info(self) -> dict[str, Any]:
        core = self.core
        info: dict[str, Any] = {name: value[0].copy() for name, value in core.info.items()}
        return info | {
            "action_mask": core.action_mask[0].copy(),
            "agent_reward": core.agent_reward[0].copy(),
            "team_reward": core.reward[0].item(),
        }
