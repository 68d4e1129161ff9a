"""Replays of trained policies: their orders played on the engine, beside when units died in the game.

A replay tells what agents were ordered to do and when units died, not their hit points. The recorded orders are played
on from the start; where one is illegal on the engine the agent attacks the first enemy that it may attack, else it
stops.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

import marl_gre_envs
from benchmarks.smac_validation.checks import Check, Section
from benchmarks.smac_validation.game import real_game
from benchmarks.smac_validation.recordings import ATTACK, HEAL, Replay, legal_or_idle, load_replay, put_units
from marl_gre_envs.smac.interface import NOOP, STOP
from marl_gre_envs.smac.units import LOOPS_PER_STEP, MEDIVAC, TYPE_ID
from marl_gre_envs.vector import VectorEnv

FILES = "*_replay_*.npz"
REPEATS = 4  # of every episode, each with other random delays
EAST_OF_AGENTS = 14.0  # the enemies of a symmetric map [map units]
JUDGED = "2s3z"
WITHIN_STEPS = 2.5  # of the game's first deaths
SWARM_MAP, SWARM_STEPS = "2c_vs_64zg", (3, 9, 12, 18)


def slots_of(env: VectorEnv, replay: Replay) -> np.ndarray:
    """Return where each recorded unit stands in the engine's numbering, [K, A + N]: of its kind, the nearest."""
    places, kinds = env.world["pos"], env.world["unit_type"]
    names = [str(name).lower() for name in (*replay.ally_type, *replay.enemy_type)]
    wanted = np.array([TYPE_ID[name.replace("_", "")] for name in names])
    agents = len(replay.ally_type)
    cells = np.concatenate([replay.ally_birth_cell, replay.enemy_birth_cell], 1) + 0.5
    first = np.concatenate([replay.ally_pos[:, 0], replay.enemy_pos[:, 0]], 1)
    exact, rows = starts_of(replay), np.arange(len(names))
    slots = np.zeros((len(places), len(names)), np.int64)
    for k in range(len(places)):
        # a place within the cell is as good as any other there
        apart = np.maximum(np.abs(cells[k, :, None] - places[k]) - 0.5, 0.0).sum(-1)
        known = np.isfinite(first[k, :, 0]) & (rows < agents)
        apart[known] = np.linalg.norm(first[k, known, None] - places[k], axis=-1)
        if exact is not None:
            apart = np.linalg.norm(exact[:, None] - places[k], axis=-1)
        apart += 1e-3 * np.abs(rows[:, None] - rows)  # among equals, in the order of creation
        apart += 1000.0 * (wanted[:, None] != kinds[k]) + 1e6 * ((rows[:, None] < agents) != (rows < agents))
        slots[k] = linear_sum_assignment(apart)[1]
    return slots


def starts_of(replay: Replay) -> np.ndarray | None:
    """Return where a map's units stand at the start, in creation order [A + N, 2]; None where that is not known."""
    starts = real_game()["starts"].get(replay.map_name)
    return None if starts is None else np.concatenate([starts, np.add(starts, (EAST_OF_AGENTS, 0.0))])


def actions_at(replay: Replay, slots: np.ndarray, step: int, n_agents: int) -> np.ndarray:
    """Return SMAC's actions of a recorded step in the engine's numbering [K, A]."""
    actions = np.full((len(replay.length), n_agents), STOP)
    if step >= replay.order.shape[1]:
        return actions
    order, target = replay.order[:, step].astype(int), replay.target[:, step].astype(int)
    rows = np.arange(len(order))
    for unit in range(n_agents):
        o, aimed = order[:, unit], np.maximum(target[:, unit], 0)
        attacked = ATTACK + slots[rows, n_agents + np.minimum(aimed, slots.shape[1] - n_agents - 1)] - n_agents
        healed = ATTACK + slots[rows, np.minimum(aimed, n_agents - 1)]  # a Medivac's target is an agent
        ordered = np.where(o == ATTACK, attacked, np.where(o == HEAL, healed, np.where((o >= 1) & (o <= 5), o, STOP)))
        actions[rows, slots[:, unit]] = ordered
    return actions


def play_orders(replay: Replay, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """Play the recorded orders on the engine.

    Returns:
        "deaths" [K, A + N] in steps, NaN for who lives; "contact" [K], the first step in which any agent may attack;
        "won" [K]; "illegal", the share of recorded orders that were illegal; "pos" [K, T+1, A + N, 2] and "alive";
        units in the recording's creation order.
    """
    count, n_agents = len(replay.length), len(replay.ally_type)
    env = marl_gre_envs.make_vec("smac_v0", count, autoreset=False, map_name=replay.map_name, **options)
    env.reset(seed=5)
    slots = slots_of(env, replay)
    rows = np.arange(count)[:, None]
    starts = starts_of(replay)
    if starts is not None:
        pos = env.world["pos"].copy()
        pos[rows, slots] = starts
        put_units(env, pos, env.world["hp"].copy(), None, np.ones(count, bool))
    fights = env.world["unit_type"][:, :n_agents] != MEDIVAC  # a Medivac heals by the same actions
    limit = env.episode_limit
    deaths, contact = np.full(slots.shape, np.nan), np.full(count, np.nan)
    won, illegal, orders = np.zeros(count, bool), 0, 0
    places, living = [env.world["pos"][rows, slots]], [env.world["hp"][rows, slots] > 0]
    for step in range(limit):
        playing = ~(env.terminated | env.truncated)
        if not playing.any():
            break
        mask = env.action_mask
        attacks = (mask[..., ATTACK:] > 0).any(-1)
        contact = np.where(np.isnan(contact) & (attacks & fights).any(1), step, contact)
        actions, legal = legal_or_idle(actions_at(replay, slots, step, n_agents), mask)
        commanded = playing[:, None] & (mask[..., NOOP] == 0)
        illegal, orders = illegal + int((~legal & commanded).sum()), orders + int(commanded.sum())
        actions = np.where(~legal & attacks, ATTACK + mask[..., ATTACK:].argmax(-1), actions)
        env.step(actions)
        alive = env.world["hp"][rows, slots] > 0
        deaths = np.where(playing[:, None] & ~alive & np.isnan(deaths), step + 1, deaths)
        won |= playing & (env.info["battle_won"] > 0)
        places.append(env.world["pos"][rows, slots])
        living.append(alive)
    return {
        "deaths": deaths,
        "contact": contact,
        "won": won,
        "illegal": np.array(illegal / max(orders, 1)),
        "pos": np.stack(places, 1),
        "alive": np.stack(living, 1),
    }


def first_deaths(deaths: np.ndarray) -> tuple[float | None, int]:
    """Return the mean first death [steps] of the episodes with any, and how many those are; deaths [K, units]."""
    some = deaths[~np.isnan(deaths).all(1)]
    return (float(np.nanmin(some, 1).mean()), len(some)) if len(some) else (None, 0)


def recorded_deaths(replay: Replay) -> np.ndarray:
    """Return when units died in the game, in steps since the first order, NaN for who lives [K, A + N]."""
    loops = np.concatenate([replay.ally_death_loop, replay.enemy_death_loop], 1).astype(float)
    return np.where(loops >= 0, (loops - replay.loops[:, :1]) / LOOPS_PER_STEP, np.nan)


def section(folder: Path, options: dict[str, Any]) -> Section:
    """Return the replays beside the same orders on the engine, file by file."""
    checks: list[Check] = []
    for path in sorted(folder.glob(FILES)):
        replay = load_replay(path).repeated(REPEATS)
        checks += file_checks(where_of(path), replay, play_orders(replay, options))
    note = (
        "The recorded orders of trained policies, played on the engine; times in steps, means over the episodes of a "
        "file (first deaths: over those in which anybody of that side dies). Contact: the first step in which an agent "
        "may attack, in the game the first ordered attack."
    )
    return Section("replays", "Replays", note, checks, by_map=True)


def swarm_section(folder: Path, options: dict[str, Any]) -> Section:
    """Return where Zerglings of 2c_vs_64zg are beside the game's."""
    checks: list[Check] = []
    for path in sorted(folder.glob(f"{SWARM_MAP}{FILES}")):
        replay = load_replay(path).repeated(REPEATS)
        checks += swarm_checks(where_of(path), replay, play_orders(replay, options))
    note = (
        "Medians over the Zerglings targeted by recorded orders, whose positions the replay gives, and over the same "
        "ones here."
    )
    return Section("swarm", "Where Zerglings run", note, checks)


def where_of(path: Path) -> str:
    """Return how tables call a file: by its map, and what tells several of one map apart."""
    name, _, rest = path.stem.partition("_replay_")
    return f"{name} {rest}"


def file_checks(where: str, replay: Replay, ours: dict[str, np.ndarray]) -> list[Check]:
    """Return one file's quantities on the engine and in the game."""
    agents = len(replay.ally_type)
    game = recorded_deaths(replay)
    checks = []
    for words, units in (("first enemy dies", slice(agents, None)), ("first agent dies", slice(0, agents))):
        (found, samples), (real, _) = first_deaths(ours["deaths"][:, units]), first_deaths(game[:, units])
        allowed = (real - WITHIN_STEPS, real + WITHIN_STEPS) if replay.map_name == JUDGED and real is not None else None
        checks.append(Check(where, words, found, real, allowed=allowed, samples=samples))
    attacks = (replay.order == ATTACK).any(-1)
    first_attack = attacks[attacks.any(1)].argmax(1)
    contact = float(np.nanmean(ours["contact"])) if (~np.isnan(ours["contact"])).any() else None
    checks.append(Check(where, "contact", contact, float(first_attack.mean()) if len(first_attack) else None))
    won = float((~np.isnan(game[:, agents:])).all(1).mean())
    checks.append(Check(where, "share won", float(ours["won"].mean()), won))
    checks.append(Check(where, "orders that are illegal", float(ours["illegal"])))
    return checks


def swarm_checks(where: str, replay: Replay, ours: dict[str, np.ndarray]) -> list[Check]:
    """Return the median places of the Zerglings that recorded orders reveal, beside the same ones on the engine."""
    checks, agents = [], len(replay.ally_type)
    axes: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("x", lambda p: p[..., 0]),
        ("y", lambda p: p[..., 1]),
    )
    for step in (s for s in SWARM_STEPS if s < min(ours["pos"].shape[1], replay.enemy_pos.shape[1])):
        seen = np.isfinite(replay.enemy_pos[:, step, :, 0])
        both = seen & ours["alive"][:, step, agents:]
        for axis, of in axes:
            real = of(replay.enemy_pos[:, step])[seen]
            found = of(ours["pos"][:, step, agents:])[both]
            words = f"median {axis} of targeted Zerglings at step {step}"
            game, engine = (float(np.median(x)) if len(x) else None for x in (real, found))
            checks.append(Check(where, words, engine, game, samples=len(found)))
    return checks
