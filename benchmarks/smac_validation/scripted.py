"""A scripted policy on the engine: its win rates, and whom the last enemy attacks when it plays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import marl_gre_envs
from benchmarks.smac_validation.battles import REACH
from benchmarks.smac_validation.checks import Check, Section
from benchmarks.smac_validation.game import real_game
from benchmarks.smac_validation.recordings import Battles
from marl_gre.seeding import Purpose, rng
from marl_gre_envs.smac.interface import EAST, FIRST_TARGET, NOOP, NORTH, SOUTH, STOP, WEST

EPISODES = 200
COUNTED_EPISODES = 1000
EXPLORATION = 0.3  # share of random actions, so that agents do not all attack the same enemy
TOLERANCE = 0.10  # of a share of switches, beside the game's 95% interval


def closest_kept(pos: np.ndarray, hp: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return each agent's target: the one it had while that lives, else the closest enemy.

    Args:
        pos, hp: of all units, agents first [E, A + N, 2], [E, A + N].
        targets: the enemy each agent had, -1 for none [E, A].

    Returns:
        indices of enemies [E, A].
    """
    agents = targets.shape[1]
    apart = np.linalg.norm(pos[:, :agents, None] - pos[:, None, agents:], axis=-1)  # [E, A, N]
    apart = np.where(hp[:, None, agents:] > 0, apart, np.inf)
    lives = (targets >= 0) & (np.take_along_axis(hp[:, agents:], np.maximum(targets, 0), 1) > 0)
    return np.where(lives, targets, apart.argmin(-1))


def attack_or_approach(pos: np.ndarray, targets: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the actions [E, A]: attack the target, where that is illegal walk towards it, else stop."""
    agents = targets.shape[1]
    way = np.take_along_axis(pos[:, agents:], targets[..., None], 1) - pos[:, :agents]
    along_x = np.abs(way[..., 0]) > np.abs(way[..., 1])
    move = np.where(along_x, np.where(way[..., 0] > 0, EAST, WEST), np.where(way[..., 1] > 0, NORTH, SOUTH))
    alternatives = np.stack([FIRST_TARGET + targets, move, np.full_like(move, STOP), np.full_like(move, NOOP)], -1)
    legal = np.take_along_axis(mask, alternatives, -1) > 0
    return np.take_along_axis(alternatives, legal.argmax(-1)[..., None], -1)[..., 0]


def play(
    map_name: str, episodes: int, exploration: float = 0.0, seed: int = 0, **options: Any
) -> tuple[Battles, np.ndarray]:
    """Return battles of the scripted policy on the engine, one in each copy, and which were won.

    Args:
        map_name: the map.
        episodes: how many.
        exploration: probability of a random legal action in the policy's place.
        seed: of the first copy.
        options: of the engine.
    """
    env = marl_gre_envs.make_vec("smac_v0", episodes, autoreset=False, map_name=map_name, **options)
    env.reset(seed=seed)
    limit, units = env.episode_limit, env.world["hp"].shape[1]
    pos, hp = np.zeros((episodes, limit + 1, units, 2)), np.zeros((episodes, limit + 1, units))
    cooldown = np.zeros((episodes, limit + 1, env.n_agents))
    actions = np.full((episodes, limit, env.n_agents), -1)
    length = np.zeros(episodes, int)
    won = np.zeros(episodes, bool)
    targets = np.full((episodes, env.n_agents), -1)
    draws = rng(0, Purpose.EVAL, 0)
    pos[:, 0], hp[:, 0] = env.world["pos"], env.world["hp"]
    for step in range(limit):
        playing = ~(env.terminated | env.truncated)
        if not playing.any():
            break
        targets = closest_kept(pos[:, step], hp[:, step], targets)
        chosen = attack_or_approach(pos[:, step], targets, env.action_mask)
        if exploration > 0:
            wish = draws.random(env.action_mask.shape) * env.action_mask
            chosen = np.where(draws.random(chosen.shape) < exploration, wish.argmax(-1), chosen)
        actions[playing, step] = chosen[playing]
        env.step(chosen)
        length += playing
        won |= playing & (env.info["battle_won"] > 0)
        pos[:, step + 1], hp[:, step + 1] = env.world["pos"], env.world["hp"]
        cooldown[:, step + 1] = env.world["cooldown"][:, : env.n_agents]
    return Battles(pos, hp, cooldown, actions, length, env.n_agents), won


def section(maps: Sequence[str], options: dict[str, Any], episodes: int = EPISODES) -> Section:
    """Return the scripted policy's win rate beside the game's, map by map; there is no criterion for it."""
    checks = []
    for name in maps:
        _, won = play(name, episodes, **options)
        error = float((won.mean() * (1 - won.mean()) / episodes) ** 0.5)
        game = real_game()["scripted"][name]
        checks.append(Check(name, "win rate", float(won.mean()), game, error, samples=episodes))
    note = (
        "Each agent attacks the closest enemy and keeps to it until it is dead. The game's figures are second-hand "
        "(a hint only: small differences decide these fights)."
    )
    return Section("scripted", "Scripted policy", note, checks, by_map=True)


def count_switches(battles: Battles) -> dict[tuple[bool, bool, bool], list[int]]:
    """Count how often the last living enemy keeps to whom it hit, by who attacks it.

    Counted are the steps in which one enemy is alive and hits one agent, the agent A that it hit last is alive and
    within its reach, and so is another agent B.

    Returns:
        (A attacks it now, A did in the step before, some B attacks it now): [kept, switched].
    """
    counts: dict[tuple[bool, bool, bool], list[int]] = {}
    agents = battles.n_agents
    for episode in range(len(battles.length)):
        pos, hp, actions = battles.pos[episode], battles.hp[episode], battles.actions[episode]
        last = None
        for t in range(battles.length[episode]):
            alive = np.flatnonzero(hp[t, agents:] > 0)
            if len(alive) != 1:
                last = None
                continue
            attack = FIRST_TARGET + alive[0]
            hurt = np.flatnonzero(hp[t, :agents] > hp[t + 1, :agents])
            if last is not None and hp[t, last] > 0 and len(hurt) == 1:
                apart = np.linalg.norm(pos[t, :agents] - pos[t, agents + alive[0]], axis=-1)
                reached = (hp[t, :agents] > 0) & (apart <= REACH)
                others = [b for b in np.flatnonzero(reached) if b != last]
                if reached[last] and others:
                    case = (
                        bool(actions[t, last] == attack),
                        bool(t > 0 and actions[t - 1, last] == attack),
                        any(bool(actions[t, b] == attack) for b in others),
                    )
                    counts.setdefault(case, [0, 0])[int(hurt[0] != last)] += 1
            if len(hurt) == 1:
                last = hurt[0]
    return counts


def attacked_section(options: dict[str, Any]) -> Section:
    """Return whom the engine's last enemy attacks on 3m beside the game's counts."""
    battles, _ = play("3m", COUNTED_EPISODES, EXPLORATION, **options)
    counts = count_switches(battles)
    checks = []
    for row in real_game()["attacked"]:
        case = (row["a_attacks"], row["a_attacked"], row["b_attacks"])
        kept, switched = counts.get(case, [0, 0])
        total = row["kept"] + row["switched"]
        share = row["switched"] / total
        low, high = wilson(row["switched"], total)
        checks.append(
            Check(
                where="3m",
                quantity=f"switches from A to B where {case_words(*case)}",
                engine=switched / (kept + switched) if kept + switched else None,
                game=share,
                allowed=(max(0.0, min(low, share - TOLERANCE)), min(1.0, max(high, share + TOLERANCE))),
                samples=kept + switched,
            )
        )
    note = (
        f"{COUNTED_EPISODES:,} episodes of 3m on the engine, the scripted policy with {EXPLORATION:.0%} random "
        "actions: the last enemy alive hit A, and another agent B is within its reach. Allowed: the game's 95% "
        f"interval, widened to at least {100 * TOLERANCE:.0f} percentage points either way."
    )
    return Section("attacked", "Whom enemies attack", note, checks)


def case_words(a_attacks: bool, a_attacked: bool, b_attacks: bool) -> str:
    """Return a case of count_switches in words."""
    now = {
        (True, True): "A attacks it",
        (True, False): "A begins to attack it",
        (False, True): "A stops attacking it",
        (False, False): "A does not attack it",
    }
    return f"{now[a_attacks, a_attacked]} and {'B attacks it' if b_attacks else 'no other does'}"


def wilson(count: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson, 1927)."""
    share, spread = count / total, z * z / total
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / total + spread / (4 * total)) ** 0.5
    return centre - half, centre + half
