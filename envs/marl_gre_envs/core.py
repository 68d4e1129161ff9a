"""The base class of the compiled environments: stepping, restarts, illegal actions, seeds and given worlds.

An environment (lumberjacks.py, traffic_junction.py, ...) adds the fields of its world and three kernels over all
environments: start an episode, take a step, observe. The struct-of-arrays `world` is the complete state: everything
else is computed from it.
"""

import abc
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, NamedTuple

import numpy as np

from marl_gre_envs.checks import (
    actions_of,
    as_array,
    check_dict,
    check_keywords,
    choice,
    flag,
    illegal_action,
    in_range,
    keywords_of,
    one_of,
    seeds_of,
    whole,
)
from marl_gre_envs.compiling import kernel
from marl_gre_envs.vector import VectorEnv, World

RUNNING, TERMINATED, TRUNCATED = 0, 1, 2  # values of world["ended"]
MAX_STEPS = 2**15 - 1  # world["step"] is an int16
MAX_SEED = 2**63 - 1  # world["seed"] is an int64
LARGEST_RETURN = float(np.finfo(np.float64).max)


class Field(NamedTuple):
    """One field of the world: its shape per environment, its dtype, and the lowest and highest values allowed."""

    shape: tuple[int, ...]
    dtype: type
    low: Any
    high: Any


class CoreEnv(VectorEnv):
    """A compiled VectorEnv; subclasses provide the hooks at the end of this class."""

    given: ClassVar[tuple[str, ...]]  # the options of reset() that together make a world to start from
    given_optional: ClassVar[tuple[str, ...]] = ()
    indices: ClassVar[tuple[str, ...]] = ()  # the observed fields that kernels use as indices, unchecked by numba
    step_counters: ClassVar[tuple[str, ...]]  # info fields [E] that count what happened in a step
    step_flags: ClassVar[tuple[str, ...]] = ()  # info fields [E] that tell whether something happened in a step
    obs_low: float
    obs_high: float

    def __init__(
        self,
        num_envs: int,
        autoreset: bool,
        fields: dict[str, Field],
        max_steps: int,
        team_reward: str,
        strict: bool,
    ):
        """Allocate the world and the outputs; the subclass must have set all sizes.

        Args:
            num_envs: number of parallel environments.
            autoreset: whether an environment restarts by itself when its episode ends.
            fields: the fields of the environment's own world.
            max_steps: time limit of an episode.
            team_reward: "sum" or "mean" of the agents' rewards; no effect where they share one reward.
            strict: whether an illegal action raises.
        """
        self.num_envs = whole("num_envs", num_envs, 1, 2**24)
        self.autoreset = flag("autoreset", autoreset)
        self.strict = flag("strict", strict)
        self.episode_limit = max_steps
        self.team_reward = choice("team_reward", team_reward, ("sum", "mean"))
        self.fields = {
            "seed": Field((), np.int64, 0, MAX_SEED),
            "episode": Field((), np.int64, 0, 2**63 - 1),
            "step": Field((), np.int16, 0, max_steps),
            "ended": Field((), np.int8, RUNNING, TRUNCATED),
            "episode_return": Field((), np.float64, -LARGEST_RETURN, LARGEST_RETURN),
            **fields,
        }
        self.option_fields = self.fields
        envs, agents = self.num_envs, self.n_agents
        self.world = {name: np.zeros((envs, *f.shape), f.dtype) for name, f in self.fields.items()}
        self.obs, self.state, self.action_mask = self._buffers((envs,))
        self.final_obs, self.final_state, self.final_action_mask = self._buffers((envs,))
        self.reward = np.zeros(envs)
        self.agent_reward = np.zeros((envs, agents))
        self.terminated = np.zeros(envs, bool)
        self.truncated = np.zeros(envs, bool)
        self.info = {name: np.zeros(envs, np.int64) for name in ("illegal_actions", *self.step_counters)}
        self.info |= {name: np.zeros(envs, bool) for name in self.step_flags}
        self.info["agent_done"] = np.zeros((envs, agents), bool)
        self._every_env = np.ones(envs, bool)
        self._running = np.zeros(envs, bool)
        self._actions = np.zeros((envs, agents), np.int64)
        self._team_divisor = 0.0 if self.shared_reward else 1.0 if team_reward == "sum" else float(agents)
        self.started = False
        self._index_bounds = {
            name: (dtype(np.min(low)), dtype(np.max(high)))
            for name, (_, dtype, low, high) in self.fields.items()
            if name in self.indices
        }

    @property
    def state_bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the numbers in a state."""
        return self.obs_low, self.obs_high

    def reset(self, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None) -> None:
        """Restart all environments, as VectorEnv.reset describes.

        Args:
            seed: as in VectorEnv.reset; seeds are whole numbers of 0 or more.
            options: None, or a world to start from, with the fields named in `given`: each in the shape of one
                environment (then used for all of them) or with a leading axis [E].

        Raises:
            ValueError: a seed or an option cannot be used; the environments are then unchanged.
        """
        seeds = None if seed is None else seeds_of(seed, self.num_envs, MAX_SEED)
        start = self._check_options({} if options is None else options)
        if seeds is None and self.started:
            self.world["episode"] += 1
        else:
            self.world["seed"][:] = seeds_of(0, self.num_envs, MAX_SEED) if seeds is None else seeds
            self.world["episode"][:] = 0
        self.started = True
        self._restart(self._every_env)
        if start:
            self._start_from(start)
        self._output_fresh()

    def step(self, actions: np.ndarray | Sequence[Sequence[int]]) -> None:
        """Take one step in every running environment, as VectorEnv.step describes."""
        if not self.started:
            raise RuntimeError("step() before reset(): call reset() first.")
        self._take(actions)
        self.agent_reward.fill(0.0)
        for name in (*self.step_counters, *self.step_flags):
            self.info[name].fill(0)
        self._advance(self._running, self._actions)
        self._observe_into(self.world, self._running, self.obs, self.state, self.action_mask)
        just_ended = _settle(
            self._running,
            self.world["ended"],
            self.agent_reward,
            self._team_divisor,
            self.reward,
            self.world["episode_return"],
            self.terminated,
            self.truncated,
        )
        self._write_agent_done(self.info["agent_done"])
        if just_ended and self.autoreset:
            self._keep_finals_and_restart()

    def observe(self, world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (obs, state, action_mask) of a world, as VectorEnv.observe describes."""
        check_dict("the world", world, self.observed)
        given = {name: as_array(name, world[name]) for name in self.observed}
        first = self.observed[0]
        lead = given[first].shape[: given[first].ndim - len(self.fields[first].shape)]
        size = int(np.prod(lead))
        flat = {}
        for name in self.observed:
            field = self.fields[name]
            if given[name].shape != (*lead, *field.shape):
                raise ValueError(f"world[{name!r}] must have shape {(*lead, *field.shape)}, found {given[name].shape}.")
            # Kernels are compiled for writable C arrays of the world's own dtypes only.
            flat[name] = np.require(given[name], field.dtype, ("C", "W")).reshape(size, *field.shape)
            if name in self.indices:
                # All batches of a replay pass here: this takes microseconds, in_range up to 4% of a call.
                cast = given[name].dtype != field.dtype
                if cast or _any_outside(flat[name].reshape(-1), *self._index_bounds[name]):
                    in_range(name, given[name], field.low, field.high)
        buffers = self._buffers(lead)
        self._observe_into(flat, np.ones(size, bool), *(b.reshape(size, *b.shape[len(lead) :]) for b in buffers))
        return buffers

    def set_world(self, world: World) -> None:
        """Restore a complete world; an episode in progress continues where it was.

        Args:
            world: all fields of get_world, from equally many environments with the same options.

        Raises:
            ValueError: a field is missing or unknown, or has impossible values; the environments are then unchanged.
        """
        check_dict("the world", world, self.fields)
        if unknown := [name for name in world if name not in self.fields]:
            raise ValueError(one_of("field of the world:", unknown[0], self.fields))
        checked = {name: self._check_field(name, field, world[name]) for name, field in self.fields.items()}
        late = (checked["ended"] == RUNNING) & (checked["step"] >= self.episode_limit)
        if late.any():
            found = checked["step"][late][0]
            raise ValueError(f"step must be below {self.episode_limit} while an episode runs, found {found}.")
        self._check_world(checked)
        for name, value in checked.items():
            self.world[name][:] = value
        self.started = True
        self._output_fresh()

    def _take(self, actions: np.ndarray | Sequence[Sequence[int]]) -> None:
        """Fill self._actions with legal actions, self._running with the environments that will play them."""
        asked = actions_of(actions, self.num_envs, self.n_agents)
        np.equal(self.world["ended"], RUNNING, out=self._running)
        np.copyto(self._actions, asked, casting="unsafe")
        first = _replace_illegal(
            self._actions, self.action_mask, self._running, self.noops, self.info["illegal_actions"]
        )
        if self.strict and first >= 0:
            e, agent = divmod(first, self.n_agents)
            raise illegal_action(asked[e, agent], self.agents[agent], e, self.action_mask[e, agent])

    def _restart(self, which: np.ndarray) -> None:
        """Start the episode named by world["seed"] and world["episode"] in the environments flagged in which [E]."""
        for name in ("step", "ended", "episode_return"):
            self.world[name][which] = 0
        self._start(which)

    def _keep_finals_and_restart(self) -> None:
        """Keep the outputs of the environments whose last step ended an episode; start the next one there."""
        which = self._running & (self.world["ended"] != RUNNING)
        self.final_obs[which] = self.obs[which]
        self.final_state[which] = self.state[which]
        self.final_action_mask[which] = self.action_mask[which]
        self.world["episode"][which] += 1
        self._restart(which)
        self._observe_into(self.world, which, self.obs, self.state, self.action_mask)

    def _output_fresh(self) -> None:
        """Write the outputs of worlds in which no step was played yet."""
        self._observe_into(self.world, self._every_env, self.obs, self.state, self.action_mask)
        self.reward.fill(0.0)
        self.agent_reward.fill(0.0)
        np.equal(self.world["ended"], TERMINATED, out=self.terminated)
        np.equal(self.world["ended"], TRUNCATED, out=self.truncated)
        for name in ("illegal_actions", *self.step_counters, *self.step_flags):
            self.info[name].fill(0)
        self._write_agent_done(self.info["agent_done"])

    def _check_options(self, options: dict[str, Any]) -> World:
        """Return the world given in options, its fields [E, ...], or {} where none is given."""
        check_dict("options", options)
        allowed = (*self.given, *self.given_optional)
        for key in options:
            # Other keys belong to other environments and wrappers, but a slip of the pen should not go unnoticed.
            if key not in allowed and get_close_matches(str(key), allowed, n=1, cutoff=0.75):
                raise ValueError(one_of("option", key, allowed))
        found = {name: options[name] for name in allowed if name in options}
        if not found:
            return {}
        if missing := [name for name in self.given if name not in found]:
            raise ValueError(f"options with {', '.join(found)} need {missing[0]!r} too.")
        fields = self.option_fields
        start = {name: self._check_field(name, fields[name], self._for_all_envs(name, found[name])) for name in found}
        self._check_world(start)
        return start

    def _for_all_envs(self, name: str, value: object) -> np.ndarray:
        """Give an option in the shape of one environment a leading axis [E]."""
        array = as_array(name, value)
        if array.ndim == len(self.option_fields[name].shape):
            return np.broadcast_to(array, (self.num_envs, *array.shape))
        return array

    def _check_field(self, name: str, field: Field, value: object) -> np.ndarray:
        """Return a field [E, ...] in its dtype after checking its shape and every value."""
        array, shape = as_array(name, value), (self.num_envs, *field.shape)
        if array.shape != shape or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must be numbers of shape {shape}, found {array.dtype} of shape {array.shape}.")
        return in_range(name, array, field.low, field.high, np.dtype(field.dtype).kind != "f").astype(field.dtype)

    # Hooks of the environments.

    @abc.abstractmethod
    def _buffers(self, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Allocate (obs, state, action_mask) with these leading axes."""

    @abc.abstractmethod
    def _start(self, which: np.ndarray) -> None:
        """Draw the environment's own fields at the start of an episode, in the environments flagged in which [E]."""

    @abc.abstractmethod
    def _start_from(self, start: World) -> None:
        """Put a world given to reset() in place of the start just drawn; its fields are checked, [E, ...]."""

    @abc.abstractmethod
    def _advance(self, running: np.ndarray, actions: np.ndarray) -> None:
        """Play one step in the running environments [E]: world, agent_reward, step counters, and world["ended"]."""

    @abc.abstractmethod
    def _observe_into(
        self, world: World, which: np.ndarray, obs: np.ndarray, state: np.ndarray, mask: np.ndarray
    ) -> None:
        """Write obs [M,N,O], state [M,S] and action mask [M,N,A] of the rows flagged in which [M]."""

    def _check_world(self, world: World) -> None:
        """Raise ValueError where checked fields contradict each other; some fields may be absent."""

    def _write_agent_done(self, done: np.ndarray) -> None:
        """Write which agents [E,N] have finished, as VectorEnv.info describes."""
        np.not_equal(self.world["ended"][:, None], RUNNING, out=done)


def make_core(
    core: Callable[..., CoreEnv], name: str, /, num_envs: int = 1, *, autoreset: bool = True, **kwargs: Any
) -> CoreEnv:
    """Return core(num_envs, ...) after checking the keywords; an error names the nearest valid one."""
    allowed = [key for key in keywords_of(core) if key not in ("num_envs", "autoreset")]
    check_keywords(name, kwargs, allowed)
    return core(num_envs, autoreset=autoreset, **kwargs)


@kernel
def _any_outside(values, low, high):
    """Return whether one of the values [M] is below low or above high; all three have one dtype."""
    least, most = low, high
    for i in range(values.size):
        least = min(least, values[i])
        most = max(most, values[i])
    return least < low or most > high


@kernel
def _replace_illegal(actions, mask, running, noops, illegal):
    """Replace illegal actions by the no-op, count them per environment, return the flat index of the first or -1."""
    num_envs, agents, n_actions = mask.shape
    first = -1
    for e in range(num_envs):
        illegal[e] = 0
        if not running[e]:
            continue
        for i in range(agents):
            action = actions[e, i]
            if action < 0 or action >= n_actions or mask[e, i, action] == 0:
                for noop in noops:
                    if mask[e, i, noop]:
                        actions[e, i] = noop
                        break
                illegal[e] += 1
                if first < 0:
                    first = e * agents + i
    return first


@kernel
def _settle(running, ended, agent_reward, divisor, reward, episode_return, terminated, truncated):
    """Sum the team rewards (divisor 0: take the first) and set the flags; return how many episodes ended now."""
    just_ended = 0
    for e in range(running.size):
        reward[e] = 0.0
        if not running[e]:
            continue
        total = 0.0
        for i in range(agent_reward.shape[1]):
            total += agent_reward[e, i]
        reward[e] = total / divisor if divisor > 0.0 else agent_reward[e, 0]
        episode_return[e] += reward[e]
        terminated[e] = ended[e] == TERMINATED
        truncated[e] = ended[e] == TRUNCATED
        just_ended += ended[e] != RUNNING
    return just_ended
