"""Fighting: attacks, missiles, damage, bursts, healing, and recovery over time."""

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.compiling import inner_kernel
from marl_gre_envs.smac.orders import NO_WINDUP, NOBODY, drop_target, square_distance, within
from marl_gre_envs.smac.units import (
    ARMOR,
    ARMORED,
    BIOLOGICAL,
    BONUS,
    BONUS_ARMORED,
    BONUS_LIGHT,
    BURST,
    CALL_FOR_HELP_PERIOD,
    CALL_FOR_HELP_RANGE,
    DAMAGE,
    DAMAGE_POINT,
    DELAY_HIGH,
    DELAY_LOW,
    ENERGY_REGEN,
    FLIES,
    HAS_HEAL,
    HAS_WEAPON,
    HEAL_COST,
    HEAL_RANGE,
    HEAL_RATE,
    HIT_DELAY,
    HITS,
    HP,
    LEAST_DAMAGE,
    LIFE_REGEN,
    LIGHT,
    LINE,
    MAX_ENERGY,
    MISSILE_SPEED,
    PERIOD,
    RADIUS,
    SHIELD,
    SHIELD_DELAY,
    SHIELD_REGEN,
    SPLASH_SIZE,
    SPLASH_WIDTH,
)

FIRST, DELAY = 10, 11  # purposes of random draws
LEAST_HP = 2.0**-10  # a unit with less is dead, so that it is dead in float32 too


@inner_kernel
def fight(u, n_agents, table, options, key, loop, dying):
    """Let missiles arrive, attacks take effect and Medivacs heal, unit by unit from a random first one.

    Args:
        u: the units.
        n_agents: number of agents, which come first.
        table: UNIT_TABLE.
        options: the engine's options.
        key: key of the episode's random draws.
        loop: number of this loop in the episode.
        dying: [U + 1] int64, overwritten: the number of units that will burst, then these units.
    """
    units = u.hp.size
    first = int(randomness.uniform(key, loop, FIRST, 0) * units)
    dying[0] = 0
    for k in range(units):
        i = (first + k) % units
        kind = u.unit_type[i]
        target = u.missile_target[i]
        if target >= 0 and u.missile_timer[i] <= 0.0:
            u.missile_target[i] = NOBODY
            hit(u, i, target, n_agents, table, options, dying)
        target = u.target[i]
        if u.hp[i] > 0.0 and target >= 0:
            if NO_WINDUP < u.windup[i] <= 0.0:
                if u.hp[target] > 0.0:
                    _attack(u, i, target, n_agents, table, options, key, loop, dying)
                else:
                    u.windup[i] = NO_WINDUP
            elif table[kind, HAS_HEAL] > 0.0 and u.hp[target] > 0.0:
                _heal(u, i, target, table)
        if dying[0] > 0:
            _burst_all(u, n_agents, table, options, dying)


@inner_kernel
def _attack(u, i, target, n_agents, table, options, key, loop, dying):
    """Carry out the attack that unit i has wound up."""
    kind = u.unit_type[i]
    late = -u.windup[i]  # by this fraction of a loop the attack was due earlier
    delay = 0.0
    if options.random_delay:
        delay = DELAY_LOW + (DELAY_HIGH - DELAY_LOW) * randomness.uniform(key, loop, DELAY, i)
    u.cooldown[i] = table[kind, PERIOD] + delay - table[kind, DAMAGE_POINT] - late
    u.windup[i] = NO_WINDUP
    if i >= n_agents:
        u.rest_timer[i] = max(options.backswing - late, 0.0)
    if table[kind, BURST] > 0.0:
        _die(u, i, table, options, dying, True)
    elif table[kind, LINE] > 0.0:
        for _ in range(int(table[kind, HITS])):
            _line(u, i, target, n_agents, table, options, dying)
    elif table[kind, MISSILE_SPEED] > 0.0 and options.missiles:
        u.missile_target[i] = target
        u.missile_timer[i] = np.sqrt(square_distance(u, i, target)) / table[kind, MISSILE_SPEED] - late
    else:
        hit(u, i, target, n_agents, table, options, dying)
        if table[kind, HITS] > 1.0:
            u.missile_target[i] = target
            u.missile_timer[i] = table[kind, HIT_DELAY] - late


@inner_kernel
def hit(u, i, target, n_agents, table, options, dying):
    """Damage a unit once with the weapon of unit i, if it still lives."""
    if u.hp[target] <= 0.0:
        return
    kind, other = u.unit_type[i], u.unit_type[target]
    damage = table[kind, DAMAGE]
    if table[kind, BONUS_LIGHT] * table[other, LIGHT] + table[kind, BONUS_ARMORED] * table[other, ARMORED] > 0.0:
        damage += table[kind, BONUS]
    u.shield_timer[target] = SHIELD_DELAY
    if damage <= u.shield[target]:
        u.shield[target] -= damage
    else:
        u.hp[target] -= max(damage - u.shield[target] - table[other, ARMOR], LEAST_DAMAGE)
        u.shield[target] = 0.0
    if target >= n_agents > i and options.retaliation:
        u.last_attacker[target] = i
        if options.call_for_help and u.help_timer[target] == 0:
            u.help_timer[target] = CALL_FOR_HELP_PERIOD
            _call_for_help(u, target, i, n_agents, table)
    if u.hp[target] < LEAST_HP:
        _die(u, target, table, options, dying, False)


@inner_kernel
def _call_for_help(u, victim, attacker, n_agents, table):
    """Tell the friends around an enemy that was hit who did it; they answer if they have nobody else."""
    for j in range(n_agents, u.hp.size):
        if u.hp[j] <= 0.0 or u.last_attacker[j] >= 0 or table[u.unit_type[j], HAS_WEAPON] == 0.0:
            continue
        if square_distance(u, victim, j) <= CALL_FOR_HELP_RANGE * CALL_FOR_HELP_RANGE:
            u.last_attacker[j] = attacker


@inner_kernel
def _die(u, i, table, options, dying, attacking):
    """Let unit i die; a Baneling will burst."""
    u.hp[i] = u.shield[i] = 0.0
    u.velocity[i] = 0.0
    drop_target(u, table, i)
    if table[u.unit_type[i], BURST] > 0.0 and (attacking or options.death_burst):
        dying[0] += 1
        dying[dying[0]] = i


@inner_kernel
def _burst_all(u, n_agents, table, options, dying):
    """Let the dying Banelings burst, and those that die of it too."""
    k = 1
    while k <= dying[0]:
        i = dying[k]
        k += 1
        size = table[u.unit_type[i], SPLASH_SIZE]
        start, stop = (n_agents, u.hp.size) if i < n_agents else (0, n_agents)
        for j in range(start, stop):
            reach = size + table[u.unit_type[j], RADIUS]
            if table[u.unit_type[j], FLIES] == 0.0 and square_distance(u, i, j) <= reach * reach:
                hit(u, i, j, n_agents, table, options, dying)
    dying[0] = 0


@inner_kernel
def _line(u, i, target, n_agents, table, options, dying):
    """Let one beam of a Colossus sweep across the line of fire, to both sides of its target."""
    if not options.line_splash:
        hit(u, i, target, n_agents, table, options, dying)
        return
    kind = u.unit_type[i]
    at_x, at_y = u.pos[target, 0], u.pos[target, 1]
    dx, dy = at_x - u.pos[i, 0], at_y - u.pos[i, 1]
    distance = np.sqrt(dx * dx + dy * dy)
    along_x, along_y = (-dy / distance, dx / distance) if distance > 0.0 else (0.0, 1.0)
    size, width = table[kind, SPLASH_SIZE], table[kind, SPLASH_WIDTH]
    start, stop = (n_agents, u.hp.size) if i < n_agents else (0, n_agents)
    for j in range(start, stop):
        if table[u.unit_type[j], FLIES] > 0.0:
            continue
        off_x, off_y = u.pos[j, 0] - at_x, u.pos[j, 1] - at_y
        along = min(max(off_x * along_x + off_y * along_y, -size), size)
        off_x, off_y = off_x - along * along_x, off_y - along * along_y
        reach = width + table[u.unit_type[j], RADIUS]
        if off_x * off_x + off_y * off_y <= reach * reach:
            hit(u, i, j, n_agents, table, options, dying)


@inner_kernel
def _heal(u, i, target, table):
    """Let Medivac i heal its target for one loop."""
    kind, other = u.unit_type[i], u.unit_type[target]
    missing = table[other, HP] - u.hp[target]
    if missing <= 0.0 or table[other, BIOLOGICAL] == 0.0 or not within(u, table, i, target, table[kind, HEAL_RANGE]):
        return
    healed = min(min(table[kind, HEAL_RATE], missing), u.energy[i] / table[kind, HEAL_COST])
    u.hp[target] = min(u.hp[target] + healed, table[other, HP])
    u.energy[i] = max(u.energy[i] - healed * table[kind, HEAL_COST], 0.0)


@inner_kernel
def recover(u, table):
    """Let one loop of time pass: cooldowns, missiles, shields, regeneration, energy."""
    for i in range(u.hp.size):
        if u.missile_target[i] >= 0:
            u.missile_timer[i] -= 1.0
        if u.hp[i] <= 0.0:
            continue
        kind = u.unit_type[i]
        u.cooldown[i] = max(u.cooldown[i] - 1.0, -1.0)
        if u.windup[i] > NO_WINDUP:
            u.windup[i] -= 1.0
        if u.help_timer[i] > 0:
            u.help_timer[i] -= 1
        if u.leash_timer[i] > 0:
            u.leash_timer[i] -= 1
        if u.look_timer[i] > 0:
            u.look_timer[i] -= 1
        u.rest_timer[i] = max(u.rest_timer[i] - 1.0, 0.0)
        if u.shield_timer[i] > 0.0:
            u.shield_timer[i] -= 1.0
        else:
            u.shield[i] = min(u.shield[i] + SHIELD_REGEN, table[kind, SHIELD])
        u.hp[i] = min(u.hp[i] + table[kind, LIFE_REGEN], table[kind, HP])
        u.energy[i] = min(u.energy[i] + table[kind, ENERGY_REGEN], table[kind, MAX_ENERGY])
