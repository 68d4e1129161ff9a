"""The PettingZoo form of a compiled environment, a view of a batch of one.

All agents stay in `agents` until the episode ends for all. Every agent receives the team reward; its info contains its
individual reward, whether it has finished, its action mask (int8, after reset too) and the step's counters.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium import logger
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import BaseParallelWrapper, parallel_to_aec
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

from marl_gre_envs.checks import check_dict, choice
from marl_gre_envs.core import CoreEnv

RENDER_MODES = ("human", "rgb_array")
FRAMES_PER_SECOND = 5  # of the window


class CoreParallelEnv(ParallelEnv):
    """A PettingZoo parallel environment over a compiled one; subclasses name it.

    Attributes:
        core: the compiled environment with num_envs = 1, whose world can be read and, with set_world, written.
        state_space: Box of the global state.
    """

    vector_env: ClassVar[Callable[..., CoreEnv]]
    metadata: ClassVar[dict[str, Any]]

    def __init__(self, *, render_mode: str | None = None, max_cycles: int | None = None, **kwargs: Any):
        """Make the environment.

        Args:
            render_mode: None, "rgb_array" (render() returns a picture) or "human" (a window follows the episode).
            max_cycles: PettingZoo's usual name for max_steps.
            kwargs: keyword arguments of the compiled environment.

        Raises:
            ValueError: a value is not allowed.
            TypeError: an unknown keyword.
        """
        for name in ("num_envs", "autoreset"):
            if name in kwargs:
                raise TypeError(f"{name} is a keyword of make_vec: this form is one environment, restarted by reset().")
        if render_mode is not None:
            choice("render_mode", render_mode, RENDER_MODES)
        if max_cycles is not None:
            if "max_steps" in kwargs:
                raise ValueError("max_cycles and max_steps are the same; give one of them.")
            kwargs["max_steps"] = max_cycles
        self.render_mode = render_mode
        self.core = core = self.vector_env(1, autoreset=False, **kwargs)
        self.max_cycles = core.episode_limit
        self.possible_agents = list(core.agents)
        low, high = core.obs_low, core.obs_high
        self.observation_spaces = {a: Box(low, high, (core.obs_dim,), np.float32) for a in core.agents}
        self.action_spaces = {a: Discrete(core.n_actions) for a in core.agents}
        self.state_space = Box(*core.state_bounds, (core.state_dim,), np.float32)
        self._shared_info = [name for name, value in core.info.items() if value.ndim == 1]
        self._window: Any = None

    @property
    def agents(self) -> list[str]:
        """Names of all agents while an episode is running, none otherwise; core.set_world can resume or end one."""
        core = self.core
        running = core.started and not (core.terminated[0] or core.truncated[0])
        return list(self.possible_agents) if running else []

    def observation_space(self, agent: str) -> Box:
        """Return the observation space of an agent, the same object each time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """Return the action space of an agent, the same object each time."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Start an episode.

        Args:
            seed: 0 or more; the episode is a function of the seed and the actions. None continues with the next episode
                of the same seed, which is 0 if none was ever given: it draws nothing from the clock.
            options: None, or a world to start from (see the compiled environment).

        Returns:
            Observations and infos by agent.
        """
        self.core.reset(seed, options)
        self._follow()
        return self._observations(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Take one step.

        Args:
            actions: one action for each agent.

        Returns:
            Observations, rewards (the team reward for every agent), terminations, truncations and infos by agent.

        Raises:
            RuntimeError: no episode is running.
            ValueError: an agent has no action.
        """
        if not self.agents:
            raise RuntimeError("step() without a running episode: call reset() first.")
        played, core = self.possible_agents, self.core
        check_dict("actions", actions)
        try:
            chosen = [actions[agent] for agent in played]
        except KeyError as error:
            raise ValueError(f"step() needs one action for each agent; {error.args[0]} has none.") from None
        core.step([chosen])
        reward, terminated, truncated = core.reward.item(), core.terminated.item(), core.truncated.item()
        self._follow()
        return (
            self._observations(),
            dict.fromkeys(played, reward),
            dict.fromkeys(played, terminated),
            dict.fromkeys(played, truncated),
            self._infos(),
        )

    def state(self) -> np.ndarray:
        """Return the global state, [S] float32."""
        return self.core.state[0].copy()

    def render(self) -> np.ndarray | None:
        """Return a picture [height, width, 3] uint8 ("rgb_array"), or show it in a window ("human")."""
        if self.render_mode is None:
            logger.warn('render() without a render mode: make the environment with render_mode="rgb_array" or "human".')
            return None
        picture = self.core.render()
        if self.render_mode == "rgb_array":
            return picture
        if self._window is None:
            from marl_gre_envs.rendering import Window

            self._window = Window(self.metadata["name"], FRAMES_PER_SECOND)
        self._window.show(picture)
        return None

    def close(self) -> None:
        """Close the window, if there is one, and what the environment holds (threads, games); safe to call twice."""
        self.core.close()
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}  # a window stays where it was opened

    def _follow(self) -> None:
        """Keep the window up to date."""
        if self.render_mode == "human":
            self.render()

    def _observations(self) -> dict[str, np.ndarray]:
        return dict(zip(self.possible_agents, self.core.obs[0].copy(), strict=True))

    def _infos(self) -> dict[str, dict[str, Any]]:
        core = self.core
        shared = {name: core.info[name].item() for name in self._shared_info}
        rows = zip(
            self.possible_agents,
            core.action_mask[0].copy(),
            core.info["agent_done"][0].tolist(),
            core.agent_reward[0].tolist(),
            strict=True,
        )
        return {
            agent: {"action_mask": mask, **shared, "agent_done": done, "agent_reward": reward}
            for agent, mask, done, reward in rows
        }


class MaskInObservation(BaseParallelWrapper):
    """Copies action masks into {"observation", "action_mask"} observations, for libraries that expect them there."""

    def observation_space(self, agent: str) -> Dict:
        """Return the observation space of an agent, the same object each time."""
        return self.observation_spaces[agent]

    def __init__(self, env: ParallelEnv):
        """Wrap a parallel environment whose masks are in info["action_mask"]."""
        super().__init__(env)
        self.observation_spaces = {
            agent: Dict(
                {
                    "observation": env.observation_space(agent),
                    "action_mask": Box(0, 1, (env.action_space(agent).n,), np.int8),
                }
            )
            for agent in env.possible_agents
        }

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Start an episode; see the wrapped environment."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._with_masks(observations, infos), infos

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        """Take one step; see the wrapped environment."""
        observations, *others, infos = self.env.step(actions)
        return self._with_masks(observations, infos), *others, infos

    def _with_masks(self, observations: dict[str, np.ndarray], infos: dict[str, dict[str, Any]]) -> dict[str, dict]:
        return {
            agent: {"observation": observation, "action_mask": infos[agent]["action_mask"].copy()}
            for agent, observation in observations.items()
        }


def metadata_of(name: str) -> dict[str, Any]:
    """Return PettingZoo's metadata of an environment."""
    return {
        "name": name,
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": FRAMES_PER_SECOND,
    }


def aec_forms(parallel_env: Callable[..., ParallelEnv]) -> tuple[Callable[..., AECEnv], Callable[..., AECEnv]]:
    """Return (raw_env, env), PettingZoo's turn-by-turn forms of a parallel environment."""

    def raw_env(**kwargs: Any) -> AECEnv:
        """Make the turn-by-turn form; keywords as in parallel_env."""
        return parallel_to_aec(parallel_env(**kwargs))

    def env(**kwargs: Any) -> AECEnv:
        """Make the turn-by-turn form with PettingZoo's checks of actions and calls; keywords as in parallel_env."""
        return OrderEnforcingWrapper(AssertOutOfBoundsWrapper(raw_env(**kwargs)))

    return raw_env, env
