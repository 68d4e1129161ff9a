"""The promises of every PettingZoo parallel environment: one function per promise, each with its own message.

Everything is compared exactly and over whole episodes (PettingZoo's own `parallel_seed_test`, 1.27, compares a single
step with a tolerance of 1e-5). `ENV_CHECKS` lists the checks in the order that explains a defect best: first what an
environment returns, then what that depends on.
"""

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Space

from marl_gre.conformance.env_play import EnvUnderTest, Frame, call, legal_action, mask_defect, mask_of, place
from marl_gre.conformance.illegal_actions import illegal_actions
from marl_gre.conformance.kit import (
    ConformanceError,
    first_difference,
    one_line,
    plural,
    require,
    watched_global_rngs,
)
from marl_gre_envs.from_parallel import own_state


def spaces(case: EnvUnderTest) -> None:
    """possible_agents exists, spaces are always the same objects, actions are Discrete, state() has a state_space."""
    env = case.make()
    agents: list[str] = getattr(env, "possible_agents", [])
    require(bool(agents), f"possible_agents is {agents!r}; it must list every agent before the first reset.")
    for agent in agents:
        for name in ("observation_space", "action_space"):
            space = getattr(env, name)(agent)
            require(isinstance(space, Space), f"{name}({agent!r}) is {space!r}; it must be a gymnasium Space.")
            require(
                space is getattr(env, name)(agent),
                f"{name}({agent!r}) is a new object at each call; return the same one, or seeding it has no effect.",
            )
        legal_action(np.random.default_rng(0), env.action_space(agent), None)
    call("reset", env.reset, seed=0)
    if own_state(env) is not None:
        require(
            isinstance(getattr(env, "state_space", None), Space),
            "the env has state() but no state_space: set it to the gymnasium Space of state().",
        )


def outputs(case: EnvUnderTest) -> None:
    """Observations and states lie in their spaces with the right dtype, numbers are finite, flags are bools."""
    env = case.make()
    live: set[str] = set()
    for where, frame in case.frames():
        at_reset = where.endswith("at reset")
        asked = set(frame["agents"]) if at_reset else live | set(frame["agents"])
        names = ("observation", "info") if at_reset else ("observation", "reward", "terminated", "truncated", "info")
        for name in names:
            missing = asked - frame[name].keys()
            require(not missing, f"{name} is missing for {plural(sorted(missing))} ({where}).")
            strangers = plural(sorted(repr(agent) for agent in frame[name].keys() - set(env.possible_agents)))
            require(
                name == "info" or not strangers,  # in info some envs have one entry for all
                f"{name} is given for {strangers} ({where}), which is not in possible_agents.",
            )
        for agent, observation in frame["observation"].items():
            inside(f"observation of {agent}", observation, env.observation_space(agent), where)
        if frame["state"] is not None:
            inside("state()", frame["state"], env.state_space, where)
        for agent, reward in frame["reward"].items():
            number = isinstance(reward, int | float | np.integer | np.floating)
            require(
                number and bool(np.isfinite(reward)),
                f"the reward of {agent} is {reward!r} ({where}); it must be a finite number.",
            )
        for name in ("terminated", "truncated"):
            for agent, flag in frame[name].items():
                require(
                    isinstance(flag, bool | np.bool_), f"{name} of {agent} is {flag!r} ({where}); it must be a bool."
                )
        live = set(frame["agents"])


def compare(found: list[list[Frame]], expected: list[list[Frame]], seed: int, defect: str) -> None:
    """Raise the defect, naming the first place where two plays differ."""
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        for step, (a, b) in enumerate(itertools.zip_longest(one, other)):
            difference = first_difference(a, b)
            require(difference is None, f"{defect} ({place(seed, number, step)}: {difference} differs).")


def inside(what: str, value: Any, space: Space, where: str) -> None:
    """Require a finite value in its space with the space's dtype."""
    if isinstance(space, Dict) and isinstance(value, dict):
        for key in space:
            require(key in value, f"{what} has no key {key!r} ({where}).")
            inside(f"{what}[{key!r}]", value[key], space[key], where)
        return
    if space.shape:
        found = getattr(value, "dtype", type(value).__name__)
        require(found == space.dtype, f"wrong dtype: {what} is {found}, its space says {space.dtype} ({where}).")
        require(
            value.shape == space.shape, f"wrong shape: {what} is {value.shape}, its space says {space.shape} ({where})."
        )
        require(bool(np.isfinite(value).all()), f"{what} holds NaN or infinity ({where}).")
    require(space.contains(value), f"{what} lies outside its space {space} ({where}).")


def agents_list(case: EnvUnderTest) -> None:
    """Agents leave `agents` when they end, never return, and never terminate and truncate at once."""
    possible = case.make().possible_agents
    for where, frame in case.frames():
        if where.endswith("at reset"):
            live = set(frame["agents"])
            require(bool(live), f"agents is empty ({where}).")
        require(
            set(frame["agents"]) <= set(possible) and len(frame["agents"]) == len(set(frame["agents"])),
            f"agents is {frame['agents']} ({where}); it must hold names of possible_agents, each once.",
        )
        back = set(frame["agents"]) - live
        require(not back, f"{plural(sorted(back))} came back after it had ended ({where}).")
        for agent in frame["reward"].keys() & live:
            terminated, truncated = bool(frame["terminated"][agent]), bool(frame["truncated"][agent])
            require(
                not (terminated and truncated),
                f"{agent} is terminated and truncated at once ({where}): the time limit truncates, a goal terminates.",
            )
            require(
                (terminated or truncated) == (agent not in frame["agents"]),
                f"{agent} {'ended but is still' if terminated or truncated else 'did not end but is not'} in agents "
                f"({where}).",
            )
        live = set(frame["agents"])


def action_masks(case: EnvUnderTest) -> None:
    """Where there are action masks, every live agent has one at every step: int8, 0 or 1, with a legal action."""
    space = case.make().action_space
    masked = any(
        mask_of(observation, frame["info"].get(agent, {})) is not None
        for _, frame in case.frames()
        for agent, observation in frame["observation"].items()
    )
    for where, frame in case.frames() if masked else ():
        for agent in frame["agents"]:
            require(
                mask_of(frame["observation"][agent], frame["info"].get(agent, {})) is not None,
                f"the action_mask of {agent} is missing ({where}), though there are masks elsewhere: give one at every "
                "step and at reset.",
            )
            defect = mask_defect(agent, frame["observation"][agent], frame["info"].get(agent, {}), space(agent))
            require(defect is None, f"{defect} ({where}).")


def global_rng(case: EnvUnderTest) -> None:
    """Neither building nor playing an environment uses Python's, NumPy's or torch's global random state."""
    moved: list[str] = []
    case.make()  # the imports a first instance does are not the env's doing
    plays = []
    for global_seed in (1, 2):
        with watched_global_rngs(global_seed, moved):
            plays.append(case.play(case.make(), seed=0, episodes=1))
    require(
        not moved,
        f"the env uses the global random state ({plural(sorted(set(moved)))}): draw from a generator of its own, made "
        "from reset's seed.",
    )


def reproducible(case: EnvUnderTest) -> None:
    """The same seed and actions give bit-identical episodes, in a second instance and in a reused one."""
    for seed in range(case.seeds):
        compare(
            case.play(case.make(), seed),
            case.reference(seed),
            seed,
            "not reproducible: two instances given the same seed and actions play different episodes",
        )
    env = case.make()
    for seed in reversed(range(case.seeds)):
        compare(
            case.play(env, seed),
            case.reference(seed),
            seed,
            "something leaks from earlier episodes: a reused instance plays a different episode from a fresh one",
        )


def seed_matters(case: EnvUnderTest) -> None:
    """Different seeds, and the next episode of one seed, differ where the environment is declared stochastic."""
    if not case.stochastic:
        return
    env = case.make()
    actions = (0,)
    first = list(case.episode(env, 0, actions))
    following = [list(case.episode(env, None, actions)) for _ in range(3)]
    others = [list(case.episode(env, seed, actions)) for seed in range(1, 4)]
    require(
        any(first_difference(first, other) is not None for other in others),
        "the seed is ignored: reset(seed=0) to reset(seed=3) play the same episode; draw from reset's seed or declare "
        "stochastic=False.",
    )
    require(
        any(first_difference(first, other) is not None for other in following),
        "reset() without a seed repeats the episode of the last seed: it must go on to another one.",
    )


def instances_are_separate(case: EnvUnderTest) -> None:
    """Instances share no state: stepping two in turn changes nothing."""
    seeds = (0, 1)
    pair = [case.episode(case.make(), seed, (seed, 0)) for seed in seeds]
    frames = list(itertools.zip_longest(*pair))
    for seed, played in zip(seeds, zip(*frames, strict=True), strict=True):
        alone = list(case.episode(case.make(), seed, (seed, 0)))
        compare(
            [[frame for frame in played if frame is not None]],
            [alone],
            seed,
            "instances share state: stepping another instance in between changes the episode",
        )


def outputs_are_not_views(case: EnvUnderTest) -> None:
    """Returned values do not change later, and writing into them does not change the environment."""
    expected = list(case.episode(case.make(), 0, (0, 0)))
    raw: list[Frame] = []

    def keep_both(frame: Frame) -> Frame:
        raw.append(dict(frame))
        return copy.deepcopy(frame)

    kept = list(case.episode(case.make(), 0, (0, 0), keep=keep_both))
    for step, (now, then) in enumerate(zip(raw, kept, strict=True)):
        difference = first_difference(now, then)
        require(
            difference is None,
            f"later steps overwrite what was returned before: {difference} of step {step} changed; return copies, not "
            "views of the env's own arrays.",
        )
    compare(
        [list(scribbled(case, 0))],
        [expected],
        0,
        "writing into returned arrays or dicts changes the env: return fresh copies each time",
    )


def scribbled(case: EnvUnderTest, seed: int) -> Iterator[Frame]:
    """Play an episode, overwriting every returned array and dict once the next action is chosen."""
    last: list[Frame] = []

    def spoil(step: int, actions: dict) -> dict:
        for value in last.pop().values():
            overwrite(value)
        return actions

    def keep(frame: Frame) -> Frame:
        last.append({name: value for name, value in frame.items() if name != "agents"})
        return copy.deepcopy(frame)

    yield from case.episode(case.make(), seed, (seed, 0), spoil, keep)


def overwrite(value: Any) -> None:
    """Fill every writable array with 1 and empty every dict inside a nested value."""
    if isinstance(value, dict):
        for inner in value.values():
            overwrite(inner)
        value.clear()
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = 1


def rewards_are_shared(case: EnvUnderTest) -> None:
    """Every agent receives the same reward at every step where the reward is declared shared."""
    for where, frame in case.frames() if case.shared_reward else ():
        rewards = frame["reward"]
        require(
            len(set(rewards.values())) <= 1,
            f"the team reward is not shared: {dict(rewards)} ({where}); give every agent the same, or declare "
            "shared_reward=False.",
        )


def ends_are_reached(case: EnvUnderTest) -> None:
    """Each declared kind of end occurs in the reference episodes."""
    seen = {name for _, frame in case.frames() for name in ("terminated", "truncated") if any(frame[name].values())}
    missing = [name for name in case.ends if name not in seen]
    require(
        not missing,
        f"a declared end is never reached: no agent was {plural(missing)} in {case.seeds * case.episodes} episodes of "
        "random actions; declare the ends that occur, or check an instance that is easier or longer.",
    )


def step_needs_reset(case: EnvUnderTest) -> None:
    """Calling step before the first reset raises."""
    env = case.make()
    actions = {agent: np.int64(env.action_space(agent).start) for agent in env.possible_agents}
    try:
        env.step(actions)
    except Exception:
        return
    raise ConformanceError("step before the first reset does not raise: it must.")


def closes_twice(case: EnvUnderTest) -> None:
    """close() may be called twice, before and after playing."""
    for playing in (False, True):
        env = case.make()
        if playing:
            call("reset", env.reset, seed=0)
        for times in ("once", "twice"):
            try:
                env.close()
            except Exception as error:
                raise ConformanceError(
                    f"close() called {times} raised {one_line(error)}; it must be harmless."
                ) from error


def pickles(case: EnvUnderTest) -> None:
    """An unpickled environment plays like a new one, or pickling raises an error that says why not."""
    env = case.make()
    call("reset", env.reset, seed=1)
    try:
        data = pickle.dumps(env)
    except Exception as error:
        require(bool(str(error)), f"pickling the env raised {one_line(error)} without saying why.")
        return
    try:
        restored = pickle.loads(data)  # noqa: S301 (written one line above)
    except Exception as error:
        raise ConformanceError(
            f"the env pickles but unpickling raised {one_line(error)}; raise when pickling, saying why, or make "
            "both work."
        ) from error
    compare(
        case.play(restored, 0),
        case.reference(0),
        0,
        "the env pickles but what is unpickled plays another episode",
    )


ENV_CHECKS: dict[str, Callable[[EnvUnderTest], None]] = {
    check.__name__: check
    for check in (
        spaces,
        outputs,
        agents_list,
        action_masks,
        step_needs_reset,
        global_rng,
        reproducible,
        instances_are_separate,
        seed_matters,
        outputs_are_not_views,
        rewards_are_shared,
        ends_are_reached,
        illegal_actions,
        closes_twice,
        pickles,
    )
}
