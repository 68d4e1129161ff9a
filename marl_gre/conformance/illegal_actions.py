"""Checks of illegal actions: outside the action space, or masked out.

An environment raises, or replaces them by a fixed legal action and counts that in info. Numbers that wrap around (-1 as
the last action) are how a trainer's bug looks from inside an environment, so they must not go unnoticed.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from marl_gre.conformance.env_play import EnvUnderTest, Frame, mask_of
from marl_gre.conformance.kit import ConformanceError, first_difference, require


def illegal_actions(case: EnvUnderTest) -> None:
    """An illegal action raises, or is replaced by a legal one and counted in info; it never wraps around."""
    env = case.make()
    agent = env.possible_agents[0]
    space = env.action_space(agent)
    length = len(case.reference(0)[0])  # standing still may take longer, or for ever
    plays: dict[int, list[Frame]] = {}
    for action in (space.start - 1, space.start - 2, space.start + space.n, space.start + space.n + 1):
        play = case.episode(case.make(), 0, (0, 0), always(agent, action))
        try:
            plays[action] = list(itertools.islice(play, length))
        except ConformanceError as error:
            if not raised_by_step(error):
                raise
    for action, frames in plays.items():
        counted(frames[1], agent, f"action {action} of {agent}, outside {space},")
    for (one, first), (other, second) in itertools.pairwise(plays.items()):
        outcomes = [[{**frame, "info": None} for frame in frames] for frames in (first, second)]
        require(
            first_difference(outcomes[0], outcomes[1]) is None,
            f"an illegal action wraps around: {one} and {other} of {agent}, both outside {space}, act differently; "
            "replace every illegal action by the same legal one.",
        )
    for step, agent, action, mask in masked_out(case):
        masked_action_is_replaced(case, step, agent, action, mask)


def always(agent: str, action: int) -> Callable[[int, dict], dict]:
    """Return an override that sends one agent's action at every step."""
    return lambda step, actions: force(actions, agent, action)


def force(actions: dict, agent: str, action: int) -> dict:
    """Return the actions with one agent's replaced, if it is alive."""
    return {name: np.int64(action) if name == agent else legal for name, legal in actions.items()}


def raised_by_step(error: ConformanceError) -> bool:
    """Return whether the environment's own step raised."""
    return str(error).startswith("step raised")


def counted(frame: Frame, agent: str, what: str) -> None:
    """Require a step's info to count an illegal action."""
    counts = [
        value for info in frame["info"].values() for key, value in info.items() if str(key).startswith("illegal_action")
    ]
    require(
        any(np.any(count) for count in counts),
        f"{what} was silently accepted: raise, or replace it by a legal one and count it in "
        f"info[{agent!r}]['illegal_actions'].",
    )


def masked_out(case: EnvUnderTest, most: int = 3) -> Iterator[tuple[int, str, int, np.ndarray]]:
    """Yield the first (step, agent, masked action, mask) of the first episode, one for each agent and step."""
    frames = case.reference(0)[0]
    found = (
        (step, agent, int(np.flatnonzero(mask == 0)[0]), mask)
        for step, frame in enumerate(frames)
        for agent in frame["agents"]
        if (mask := mask_of(frame["observation"][agent], frame["info"].get(agent, {}))) is not None
        if not np.all(mask)
    )
    yield from itertools.islice(found, most)


def masked_action_is_replaced(case: EnvUnderTest, step: int, agent: str, action: int, mask: np.ndarray) -> None:
    """Require a masked-out action to raise, or to be counted and do what some legal action does."""
    start = case.make().action_space(agent).start

    def after(index: int) -> Frame:
        def override(now: int, actions: dict) -> dict:
            return force(actions, agent, start + index) if now == step else actions

        frames = case.episode(case.make(), 0, (0, 0), override)
        return next(itertools.islice(frames, step + 1, None))

    what = f"action {start + action} of {agent}, which its action_mask forbids at step {step},"
    try:
        illegal = after(action)
    except ConformanceError as error:
        if raised_by_step(error):
            return
        raise
    counted(illegal, agent, what)
    require(
        any(
            first_difference({**illegal, "info": None}, {**after(int(legal)), "info": None}) is None
            for legal in np.flatnonzero(mask)
        ),
        f"{what} was not replaced by a legal one: the step does what no legal action does.",
    )
