"""Recorded battles beside the engine: one step ahead from every recorded moment, and played on without correction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import marl_gre_envs
from benchmarks.smac_validation.checks import Check, Section, within
from benchmarks.smac_validation.recordings import Battles, legal_or_idle, load_battles, numbered_as, put_units
from marl_gre_envs.vector import VectorEnv

FILE_3M = "3m_episodes.npz"
FILES_5M_VS_6M = "5m_vs_6m_*.npz"
REACH = 5.75  # between the centres of two marines [map units]
APPROACH = 7.5  # nobody is closer: enemies still walk in formation
STEPS_PLAYED_ON = (2, 4, 6, 8)
REPEATS = 100  # of a single recorded episode, each with other random delays
WALKING, REAR, MOVED = 0.01, 0.20, 0.10  # what is allowed [map units]
DAMAGE, LOST = 0.02, 0.03  # allowed share of difference
LEGAL_SHARE = 0.45  # of the episodes on which the engine could be followed for 8 steps


def made(map_name: str, copies: int, options: dict[str, Any]) -> VectorEnv:
    """Return copies of a map at the start of an episode."""
    env = marl_gre_envs.make_vec("smac_v0", copies, autoreset=False, map_name=map_name, **options)
    env.reset(seed=1)
    return env


def one_step_ahead(env: VectorEnv, battles: Battles) -> tuple[np.ndarray, np.ndarray]:
    """Return what the engine makes of every recorded moment in one step: positions and hit points, at index t + 1.

    Args:
        env: one copy for each episode, just reset.
        battles: K episodes, numbered as the engine's.

    Returns:
        positions [K, T+1, U, 2] and hit points [K, T+1, U]; zero where no step was taken.
    """
    pos, hp = np.zeros_like(battles.pos), np.zeros_like(battles.hp)
    for t in range(int(battles.length.max())):
        on = (t < battles.length) & (battles.hp[:, t] > 0).any(1)
        cooldown = None if battles.cooldown is None else battles.cooldown[:, t]
        put_units(env, battles.pos[:, t], battles.hp[:, t], cooldown, on)
        actions, _ = legal_or_idle(battles.actions[:, t], env.action_mask)
        env.step(actions)
        pos[:, t + 1], hp[:, t + 1] = env.world["pos"], np.maximum(env.world["hp"], 0.0)
    return pos, hp


def step_errors(battles: Battles, pos: np.ndarray, hp: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far the engine is off after one step, by what the unit is doing, and what each side lost in it.

    Args:
        battles: the recorded episodes.
        pos, hp: of one_step_ahead.

    Returns:
        "walking", "rear", "moved": distances [map units] of enemies that walk in formation (no agent within 7.5 of any
        enemy), of enemies out of reach while another one is within its own, and of agents ordered to move. "agents",
        "enemies": hit points lost by either side, the game's and the engine's total.
    """
    agents, steps = battles.n_agents, battles.actions.shape[1]
    # a battle's last step can end at any of its eight loops, so it is left out
    on = np.arange(steps) + 1 < battles.length[:, None]  # [K, T]
    before, after = battles.hp[:, :-1], battles.hp[:, 1:]
    survived = on[..., None] & (before > 0) & (after > 0) & (hp[:, 1:] > 0)
    off = np.linalg.norm(battles.pos[:, 1:] - pos[:, 1:], axis=-1)  # [K, T, U]
    places = battles.pos[:, :-1]
    apart = np.linalg.norm(places[:, :, agents:, None] - places[:, :, None, :agents], axis=-1)  # [K, T, N, A]
    nearest = np.where(before[:, :, None, :agents] > 0, apart, np.inf).min(-1)  # [K, T, N]
    first = np.where(before[:, :, agents:] > 0, nearest, np.inf).min(-1, keepdims=True)
    enemies = survived[..., agents:]
    moves = (battles.actions >= 2) & (battles.actions <= 5)
    lost = {}
    for side, units in (("agents", slice(None, agents)), ("enemies", slice(agents, None))):
        of_side = [(before - left)[..., units].sum(-1)[on].sum() for left in (after, hp[:, 1:])]
        lost[side] = np.array(of_side)
    return {
        "walking": off[..., agents:][enemies & (first > APPROACH)],
        "rear": off[..., agents:][enemies & (first <= REACH) & (nearest > REACH)],
        "moved": off[..., :agents][survived[..., :agents] & moves],
        **lost,
    }


def played_on(
    env: VectorEnv, battles: Battles, begin: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Play the recorded actions on from a recorded moment without correction.

    Args:
        env: one copy for each episode, just reset.
        battles: K episodes, numbered as the engine's.
        begin: the moment of each [K].
        steps: how many steps to play.

    Returns:
        After 1, 2, ... steps: whether all recorded actions were legal so far [K, steps], and the hit points lost since
        the full health of the start in the game and in the engine, [K, steps, 2], by agents and by enemies.
    """
    count, agents, last = len(begin), battles.n_agents, battles.actions.shape[1]
    rows = np.arange(count)
    cooldown = None if battles.cooldown is None else battles.cooldown[rows, begin]
    put_units(env, battles.pos[rows, begin], battles.hp[rows, begin], cooldown, np.ones(count, bool), step=begin)
    clean = np.ones((count, steps), bool)
    lost = np.zeros((2, count, steps, 2))
    full = battles.hp[:, 0]
    for step in range(steps):
        t = begin + step
        actions, legal = legal_or_idle(battles.actions[rows, np.minimum(t, last - 1)], env.action_mask)
        clean[:, step] = (clean[:, step - 1] if step else True) & (legal.all(1) | (t >= battles.length))
        env.step(actions)
        for source, hp in enumerate((battles.hp[rows, np.minimum(t + 1, last)], np.maximum(env.world["hp"], 0.0))):
            gone = full - hp
            lost[source, :, step] = np.stack([gone[:, :agents].sum(1), gone[:, agents:].sum(1)], -1)
    return clean, lost[0], lost[1]


def before_contact(battles: Battles) -> np.ndarray:
    """Return the last moment of each episode before anybody is hurt [K]."""
    hurt = (battles.hp < battles.hp[:, :1]).any(-1)
    return np.maximum(hurt.argmax(1) - 1, 0)


def episodes_3m(folder: Path, options: dict[str, Any], most: int | None) -> tuple[VectorEnv, Battles]:
    """Return the recorded episodes of 3m and as many copies of the engine."""
    battles = load_battles(folder / FILE_3M)
    if most is not None:
        battles = battles.first(most)
    env = made("3m", len(battles.length), options)
    return env, numbered_as(battles, env.world["pos"][:, battles.n_agents :])


def one_step_section(folder: Path, options: dict[str, Any], most: int | None = None) -> Section:
    """Return how far the engine is off one step after each recorded moment of 3m and 5m_vs_6m."""
    checks: list[Check] = []
    if (folder / FILE_3M).exists():
        env, battles = episodes_3m(folder, options, most)
        checks += _one_step_checks("3m", env, battles, judged=True)
    for path in sorted(folder.glob(FILES_5M_VS_6M)):
        battles = load_battles(path)
        env = made("5m_vs_6m", 1, options)
        battles = numbered_as(battles, env.world["pos"][:, battles.n_agents :])
        checks += _one_step_checks(path.stem, env, battles, judged=False)
    note = (
        "The engine is set to every recorded moment of the game and plays one step: how far units are from where the "
        "game has them [map units], and the hit points lost as a share of the game's."
    )
    return Section("one_step", "One step ahead", note, checks, by_map=True)


def _one_step_checks(where: str, env: VectorEnv, battles: Battles, judged: bool) -> list[Check]:
    errors = step_errors(battles, *one_step_ahead(env, battles))
    measures = (
        ("walking", "walking enemies, median", lambda x: np.median(x), WALKING),
        ("rear", "rear enemies of a standing front, mean", np.mean, REAR),
        ("moved", "agents ordered to move, 90% quantile", lambda x: np.quantile(x, 0.9), MOVED),
    )
    checks = []
    for key, words, measure, limit in measures:
        values = errors[key]
        value = float(measure(values)) if len(values) else None
        allowed = (0.0, limit) if judged else None
        checks.append(Check(where, words, value, allowed=allowed, samples=len(values)))
    for side in ("agents", "enemies"):
        game, found = errors[side]
        ratio = float(found / game) if game else None
        allowed = within(1.0, DAMAGE) if judged else None
        checks.append(Check(where, f"hit points lost by {side}", ratio, 1.0, allowed=allowed))
    return checks


def played_on_section(folder: Path, options: dict[str, Any], most: int | None = None) -> Section:
    """Return the recorded actions of 3m played on from contact, and of 5m_vs_6m from the start."""
    checks: list[Check] = []
    if (folder / FILE_3M).exists():
        env, battles = episodes_3m(folder, options, most)
        begin = before_contact(battles)
        clean, game, found = played_on(env, battles, begin, max(STEPS_PLAYED_ON))
        whole = begin + max(STEPS_PLAYED_ON) < battles.length
        count = len(begin)
        legal = float((clean[:, -1] & whole).sum() / count)
        words = f"share of {count} episodes whose recorded actions stay legal for {max(STEPS_PLAYED_ON)} steps"
        checks.append(Check("3m", words, legal, allowed=(LEGAL_SHARE, 1.0), samples=count))
        for step in STEPS_PLAYED_ON:
            used = clean[:, step - 1] & whole
            for side, name in enumerate(("agents", "enemies")):
                real = float(game[used, step - 1, side].mean()) if used.any() else None
                ours = float(found[used, step - 1, side].mean()) if used.any() else None
                allowed = within(real, LOST) if real is not None and step > STEPS_PLAYED_ON[0] else None
                words = f"hit points lost by {name} after {step} steps"
                checks.append(Check("3m", words, ours, real, allowed=allowed, samples=int(used.sum())))
    for path in sorted(folder.glob(FILES_5M_VS_6M)):
        checks += _whole_episode(path, options)
    note = (
        "The recorded actions without correction: on 3m from the last moment before anybody is hurt (episodes whose "
        f"recorded actions stay legal on the engine), on 5m_vs_6m from the start ({REPEATS} times, with other delays)."
    )
    return Section("played_on", "Played on", note, checks)


def _whole_episode(path: Path, options: dict[str, Any]) -> Sequence[Check]:
    """Return what a recorded episode of 5m_vs_6m becomes when its actions are played from its start."""
    battles = load_battles(path).repeated(REPEATS)
    env = made("5m_vs_6m", REPEATS, options)
    battles = numbered_as(battles, env.world["pos"][:, battles.n_agents :])
    steps = int(battles.length[0])
    clean, game, found = played_on(env, battles, np.zeros(REPEATS, int), steps)
    checks = [Check(path.stem, "steps in which the recorded actions stay legal", float(clean.sum(1).mean()), steps)]
    for step in sorted({*range(6, steps, 4), steps}):
        for side, name in enumerate(("agents", "enemies")):
            real, ours = (float(lost[:, step - 1, side].mean()) for lost in (game, found))
            checks.append(Check(path.stem, f"hit points lost by {name} after {step} steps", ours, real))
    return checks
