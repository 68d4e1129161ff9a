"""The VectorEnv interface: E parallel environments of one kind, stepped together.

It defines the names and shapes that trainers, replay and evaluation rely on. Compiled environments implement it through
core.py; PettingZoo parallel environments (from_parallel.py) and StarCraft II (starcraft.py) through stored.py.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

World = dict[str, np.ndarray]


class VectorEnv(abc.ABC):
    """E parallel environments of one cooperative task with N agents, stepped together.

    An episode is a pure function of (seed, episode counter, actions), and environment i of a batch is bit-identical to
    a single environment with the same seed. Unlike those of Gymnasium's VectorEnv, reset and step return nothing: the
    arrays below hold their results. Autoreset is Gymnasium's SAME_STEP. Axis letters: E environments, N agents,
    A actions, O observation, S state.

    Attributes:
        num_envs: E, the number of environments.
        n_agents: N, the number of agents.
        n_actions: A, the number of actions of each agent.
        obs_dim: O, the length of an agent's observation.
        state_dim: S, the length of the global state.
        episode_limit: maximum number of steps in an episode.
        agents: PettingZoo names of the agents, in the order of axis N.
        action_names: names of the actions, in the order of axis A.
        noops: the actions that do nothing; an agent's no-op is the first of them available. () if none is known.
        autoreset: whether an environment restarts by itself when its episode ends.
        started: whether there has been a reset or set_world yet.
        backend: what runs the episodes: "native" for ordinary environments, "embedded" for this package's engine in
            place of a game, "starcraft" for the game itself. A run's train.json records it.
        obs: [E,N,O] float32, the current observations. This and all arrays below are preallocated and overwritten by
            reset and step: copy what you keep, and do not write into them.
        state: [E,S] float32, the current global state; it may share memory with `obs`.
        action_mask: [E,N,A] int8, 1 where an action is available now.
        reward: [E] float64, team reward of the last step.
        agent_reward: [E,N] float64, each agent's individual reward in the last step.
        shared_reward: whether every agent already receives the team reward, so that rewards must not be summed.
        terminated: [E] bool, whether the last step ended the episode by its own rules.
        truncated: [E] bool, whether the time limit ended it; never both.
        info: numeric diagnostics of the last step, each [E,...]; always "illegal_actions" [E] and "agent_done" [E,N],
            whether an agent has finished (it is dead, has arrived or has left) or the episode is over; "battle_won"
            where there is something to win (1 in the step that wins).
        final_obs: with autoreset, the observations after the last step of an episode, valid where terminated or
            truncated; other rows hold older values.
        final_state: the states at the same moments.
        final_action_mask: the action masks at the same moments.
        world: the live complete world, each field [E,...]; write to it through set_world only.
        observed: the fields of world that observe() reads.
    """

    num_envs: int
    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
    agents: list[str]
    action_names: list[str]
    autoreset: bool
    started: bool
    backend: ClassVar[str] = "native"
    obs: np.ndarray
    state: np.ndarray
    action_mask: np.ndarray
    reward: np.ndarray
    agent_reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, np.ndarray]
    final_obs: np.ndarray
    final_state: np.ndarray
    final_action_mask: np.ndarray
    world: World
    observed: tuple[str, ...]
    shared_reward: ClassVar[bool] = False
    noops: ClassVar[tuple[int, ...]] = ()

    @abc.abstractmethod
    def reset(self, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None) -> None:
        """Restart all environments.

        Args:
            seed: an int s gives environment i the seed s + i; a sequence [E] gives one to each; None continues with the
                next episodes of the same seeds (0 if no seed was ever given).
            options: where supported, a world to start from.

        Raises:
            ValueError: the seed or the options cannot be used.
        """

    @abc.abstractmethod
    def step(self, actions: np.ndarray | Sequence[Sequence[int]]) -> None:
        """Take one step in every environment whose episode is running.

        A finished environment restarts at once with its next episode if autoreset is on, and otherwise stays frozen
        (world, outputs and flags unchanged, reward 0) until reset.

        Args:
            actions: [E,N] whole numbers. An illegal one is replaced by the no-op, or by the lowest available action
                where `noops` is (), and counted in info["illegal_actions"]; it raises ValueError where the environment
                was made with strict=True.

        Raises:
            RuntimeError: reset was never called.
            ValueError: a wrong shape or type, or an illegal action with strict=True.
        """

    @abc.abstractmethod
    def observe(self, world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (obs, state, action_mask) of a world, bit-identical to the original outputs.

        Args:
            world: at least the fields of `observed`, each [..., shape of one environment's field], any leading axes.

        Returns:
            New arrays [...,N,O], [...,S] and [...,N,A].

        Raises:
            ValueError: a field is missing, or has a wrong shape or type.
        """

    def get_world(self) -> World:
        """Return a copy of the complete world."""
        return {name: field.copy() for name, field in self.world.items()}

    def set_world(self, world: World) -> None:
        """Restore a world saved by get_world; an episode in progress continues where it was."""
        raise NotImplementedError(f"{type(self).__name__} cannot be set to a given world.")

    def render(self, index: int = 0) -> np.ndarray:
        """Return a picture of environment `index`, [height, width, 3] uint8."""
        raise NotImplementedError(f"{type(self).__name__} draws no pictures.")

    def close(self) -> None:  # noqa: B027  (most environments hold nothing to release)
        """Release the environment's resources; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
