"""The compiled engine of E battles, eight game loops per step.

One loop of a battle is, in this order: targets (orders.py), walking and pushing (movement.py), fighting and recovering
(combat.py). A battle reads and writes its own row of the world only, so results depend neither on the number of battles
nor on how threads share them. Arithmetic is float64 with + - * / sqrt min max only; the slow reference in
tests/smac_reference performs the same operations in the same order.
"""

from typing import Any, NamedTuple

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.checks import flag, number, row, whole
from marl_gre_envs.compiling import inner_kernel, kernel
from marl_gre_envs.core import RUNNING, TERMINATED, TRUNCATED
from marl_gre_envs.smac import combat, movement, orders
from marl_gre_envs.smac.interface import NOOP
from marl_gre_envs.smac.pathing import Terrain
from marl_gre_envs.smac.rewards import Rewards, battle_reward_of, step_reward
from marl_gre_envs.smac.units import ENERGY, HP, LOOPS_PER_STEP, MEDIVAC, SHIELD

LONGEST_LOOPS = 1000  # no timer may be longer
JITTER, SEGMENT, NUMBER = 0, 1, 2  # purposes of random draws
JITTER_SIZE = 0.1  # of "rings_jitter", to either side


class Units(NamedTuple):
    """The fields of the world that the rules read and write, each [E, ...] (or one battle's row); U = A + N units.

    Attributes:
        unit_type: [U] TYPE_ID, agents first.
        pos, velocity: [U, 2] (x, y) and its change in the last loop.
        hp, shield, energy: [U]; hp 0 is dead.
        cooldown: [U] loops until the weapon is ready; from -1 to 0 it has been for that part of a loop.
        windup: [U] loops until the attack that has begun takes effect; NO_WINDUP if none has.
        shield_timer: [U] loops until shields recover.
        target: [U] int16, the unit being attacked or healed, or approached for that; NOBODY.
        engaged: [U] bool, whether an attack on that target has begun.
        order: [A] int8, HOLD, MOVE (to order_point [A, 2]) or TARGET.
        missile_target, missile_timer: [U], whom a missile or the second blow will hit, and in how many loops.
        last_attacker: [U] int16, whom an enemy would pursue if it sees nobody.
        help_timer, leash_timer: [U] int16, loops until an enemy may call for help, or look for targets, again.
        look_timer: [U] int16, loops until an enemy looks for targets again.
        rest_timer: [U] loops until an enemy that has attacked may walk.
        anchor: [U, 2], where an enemy was when it last had no target.
        attack_point: [2], where the enemies were sent.
        post: [U, 2], each enemy's own place there.
        seen: [U, 6] float32, what the interface shows: x, y, hp, shield, cooldown, energy after the last step.
        last_actions: [A] int16, -1 before the first step.
    """

    unit_type: np.ndarray
    pos: np.ndarray
    velocity: np.ndarray
    hp: np.ndarray
    shield: np.ndarray
    energy: np.ndarray
    cooldown: np.ndarray
    windup: np.ndarray
    shield_timer: np.ndarray
    target: np.ndarray
    engaged: np.ndarray
    order: np.ndarray
    order_point: np.ndarray
    missile_target: np.ndarray
    missile_timer: np.ndarray
    last_attacker: np.ndarray
    help_timer: np.ndarray
    leash_timer: np.ndarray
    look_timer: np.ndarray
    rest_timer: np.ndarray
    anchor: np.ndarray
    attack_point: np.ndarray
    post: np.ndarray
    seen: np.ndarray
    last_actions: np.ndarray


class EngineOptions(NamedTuple):
    """Options of the engine's rules; docs/smac-engine.md has the evidence for the defaults.

    Attributes:
        scan_range: distance, edge to edge, up to which enemies notice agents, whatever the range of their weapons.
        alarm_range: the same while another enemy fights, and for an enemy that stands still.
        chase_range: distance, edge to edge, beyond which an enemy gives up its target.
        look_period: loops between two looks of an enemy for targets.
        backswing: loops for which an enemy stands still after an attack.
        leash: distance from where it noticed its target at which an enemy gives up a chase.
        retaliation: whether enemies pursue an attacker beyond their sight.
        call_for_help: whether other enemies nearby pursue it, too.
        random_delay: whether a random number of loops, -1 to 2, is added to each attack's period.
        missiles: whether missiles take time to arrive.
        death_burst: whether Banelings burst when killed.
        line_splash: whether a Colossus's beams also hit their target's neighbours.
        push_weights: how far attacking, idle and walking units yield when pushed, relative to each other.
    """

    scan_range: float = 5.0
    alarm_range: float = 6.9
    chase_range: float = 7.0
    look_period: int = 5
    backswing: float = 10.0
    leash: float = 21.0
    retaliation: bool = True
    call_for_help: bool = True
    random_delay: bool = True
    missiles: bool = True
    death_burst: bool = True
    line_splash: bool = True
    push_weights: tuple[float, float, float] = (0.3, 5.0, 1.0)


def make_options(**given: Any) -> EngineOptions:
    """Return EngineOptions after checking them: flags are true or false, numbers 0 or more.

    Raises:
        ValueError: a value cannot be used.
    """
    values = EngineOptions(**given)._asdict()
    for name, default in EngineOptions._field_defaults.items():
        if isinstance(default, bool):
            values[name] = flag(name, values[name])
        elif isinstance(default, int):
            values[name] = whole(name, values[name], 0, LONGEST_LOOPS)
        elif isinstance(default, float):
            values[name] = number(name, values[name], 0.0, LONGEST_LOOPS)
        else:
            values[name] = _weights(name, values[name])
    return EngineOptions(**values)


def _weights(name: str, given: Any) -> tuple[float, float, float]:
    """Return the weights of a push after checking them."""
    each = row(name, given, 3, "three numbers (attacking, idle, walking)")
    weights = [number(f"{name}[{i}]", w, 0.0, 1e6) for i, w in enumerate(each)]
    return weights[0], weights[1], weights[2]


class Setup(NamedTuple):
    """Constants during play.

    Attributes:
        n_agents: A.
        table: UNIT_TABLE.
        terrain: its tables.
        options: the options of the rules.
        sent: the enemies' order, SENT_TO_POINT, SENT_TO_UNITS or SENT_NOWHERE.
        move_amount: how far a move goes.
        episode_limit: steps.
        medivac_rule: whether a side of Medivacs alone has lost.
        rewards, scale: the reward options and the divisor of rewards.
    """

    n_agents: int
    table: np.ndarray
    terrain: Terrain
    options: EngineOptions
    sent: int
    move_amount: float
    episode_limit: int
    medivac_rule: bool
    rewards: Rewards
    scale: float


class Clock(NamedTuple):
    """The fields of the world that CoreEnv owns, [E]."""

    seed: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    ended: np.ndarray


class Results(NamedTuple):
    """Outputs of a step besides the world: agent_reward [E, A], the others [E]."""

    agent_reward: np.ndarray
    battle_won: np.ndarray
    dead_allies: np.ndarray
    dead_enemies: np.ndarray
    episode_limit: np.ndarray


def units_of(world: dict[str, Any]) -> Units:
    """Return the engine's fields of a world, shared, not copied."""
    return Units(*(world[name] for name in Units._fields))


@kernel
def battle(w, e):
    """Return the units of environment e."""
    return Units(
        w.unit_type[e],
        w.pos[e],
        w.velocity[e],
        w.hp[e],
        w.shield[e],
        w.energy[e],
        w.cooldown[e],
        w.windup[e],
        w.shield_timer[e],
        w.target[e],
        w.engaged[e],
        w.order[e],
        w.order_point[e],
        w.missile_target[e],
        w.missile_timer[e],
        w.last_attacker[e],
        w.help_timer[e],
        w.leash_timer[e],
        w.look_timer[e],
        w.rest_timer[e],
        w.anchor[e],
        w.attack_point[e],
        w.post[e],
        w.seen[e],
        w.last_actions[e],
    )


@kernel
def begin(which, world, clock, setup, jitter, targets, fresh):
    """Start an episode in the environments flagged in which, with all units unhurt at world.pos.

    Args:
        which: [E] bool.
        world: the units.
        clock: CoreEnv's fields.
        setup: the settings.
        jitter: greatest random shift of a unit's start.
        targets: [2, 2], the ends of the segment on which the enemies' attack point is drawn.
        fresh: whether the game is new: enemies are numbered as they were created and have not walked.
    """
    table, n_agents = setup.table, setup.n_agents
    for e in range(which.size):
        if not which[e]:
            continue
        u = battle(world, e)
        key = randomness.episode_key(clock.seed[e], clock.episode[e])
        part = randomness.uniform(key, 0, SEGMENT, 0)
        for axis in range(2):
            u.attack_point[axis] = targets[0, axis] + part * (targets[1, axis] - targets[0, axis])
        for i in range(u.hp.size):
            for axis in range(2):
                u.pos[i, axis] += jitter * (2.0 * randomness.uniform(key, 0, JITTER, 2 * i + axis) - 1.0)
            u.hp[i] = table[u.unit_type[i], HP]
            u.shield[i] = table[u.unit_type[i], SHIELD]
            u.energy[i] = table[u.unit_type[i], ENERGY]
        u.cooldown[:] = 0.0
        u.last_actions[:] = -1
        if not fresh:
            _renumber(u, n_agents, key)
        forget(u)


@inner_kernel
def _renumber(u, n_agents, key):
    """Permute the places of the enemies of each kind: in a game that goes on their numbers come in any order."""
    for i in range(u.hp.size - 1, n_agents, -1):
        same = 0
        for j in range(n_agents, i + 1):
            same += u.unit_type[j] == u.unit_type[i]
        pick = randomness.below(same, key, 0, NUMBER, i)
        for j in range(n_agents, i + 1):
            if u.unit_type[j] != u.unit_type[i]:
                continue
            if pick == 0:
                for axis in range(2):
                    u.pos[i, axis], u.pos[j, axis] = u.pos[j, axis], u.pos[i, axis]
            pick -= 1


@kernel
def set_out(which, world, setup, fresh):
    """Send the enemies of the environments flagged in which on their way, in formation.

    Args:
        which: [E] bool.
        world: the units.
        setup: the settings.
        fresh: whether they stand still, or have walked for one loop, as in later episodes of a game.
    """
    for e in range(which.size):
        if not which[e]:
            continue
        u = battle(world, e)
        orders.form_up(u, setup.n_agents)
        for i in range(setup.n_agents, u.hp.size):
            if fresh or u.hp[i] <= 0.0 or setup.sent == orders.SENT_NOWHERE:
                continue
            goal_x, goal_y = u.post[i, 0], u.post[i, 1]
            if setup.sent == orders.SENT_TO_UNITS:
                target = orders.nearest(u, i, setup.n_agents, setup.table, np.inf)
                if target < 0:
                    continue
                goal_x, goal_y = u.pos[target, 0], u.pos[target, 1]
            movement.head_for(u, i, setup.table, setup.terrain, goal_x, goal_y)
            u.pos[i, 0] += u.velocity[i, 0]
            u.pos[i, 1] += u.velocity[i, 1]
            u.anchor[i, 0], u.anchor[i, 1] = u.pos[i, 0], u.pos[i, 1]
        show(u)


@inner_kernel
def forget(u):
    """Clear what units are doing: orders, targets, attacks, missiles, timers."""
    u.velocity[:] = 0.0
    u.windup[:] = orders.NO_WINDUP
    u.shield_timer[:] = 0.0
    u.target[:] = orders.NOBODY
    u.engaged[:] = False
    u.order[:] = orders.HOLD
    u.order_point[:] = 0.0
    u.missile_target[:] = orders.NOBODY
    u.missile_timer[:] = 0.0
    u.last_attacker[:] = orders.NOBODY
    u.help_timer[:] = 0
    u.leash_timer[:] = 0
    u.look_timer[:] = 0
    u.rest_timer[:] = 0.0
    for i in range(u.hp.size):
        u.anchor[i, 0], u.anchor[i, 1] = u.pos[i, 0], u.pos[i, 1]


@inner_kernel
def show(u):
    """Write what the interface shows; a wind-up counts as cooldown."""
    for i in range(u.hp.size):
        u.seen[i, 0], u.seen[i, 1] = u.pos[i, 0], u.pos[i, 1]
        u.seen[i, 2], u.seen[i, 3] = u.hp[i], u.shield[i]
        u.seen[i, 4] = max(u.cooldown[i], 0.0) + max(u.windup[i], 0.0)
        u.seen[i, 5] = u.energy[i]


@kernel
def show_all(world):
    """Write what the interface shows in all environments."""
    for e in range(world.hp.shape[0]):
        show(battle(world, e))


@kernel
def forget_all(world):
    """Clear what units are doing in all environments."""
    for e in range(world.hp.shape[0]):
        forget(battle(world, e))


@kernel
def advance(first, last, running, actions, world, clock, setup, results):
    """Play one step in the running environments from first to last - 1.

    Args:
        first, last: the range of environments.
        running: [E] bool.
        actions: [E, A] legal actions.
        world: the units.
        clock: CoreEnv's fields.
        setup: the settings.
        results: where to write rewards and counts.
    """
    n_agents, units = setup.n_agents, world.hp.shape[1]
    mode, dying = np.zeros(units, np.int64), np.zeros(units + 1, np.int64)
    scratch, before, after = np.empty((6, units)), np.empty((2, units)), np.empty((2, units))
    lists = movement.Lists(
        np.empty((units, units), np.int32),
        np.empty(units, np.int32),
        np.empty((2, units * (units - 1) // 2), np.int32),
        np.empty(1, np.int32),
        np.empty(units, np.int32),
    )
    for e in range(first, last):
        if not running[e]:
            continue
        u = battle(world, e)
        key = randomness.episode_key(clock.seed[e], clock.episode[e])
        for i in range(units):
            before[0, i], before[1, i] = u.seen[i, 2], u.seen[i, 3]
        for i in range(n_agents):
            u.last_actions[i] = actions[e, i] if u.hp[i] > 0.0 else NOOP
        orders.take_orders(u, actions[e], n_agents, setup.move_amount, setup.table)
        for k in range(LOOPS_PER_STEP):
            play_loop(u, setup, key, clock.step[e] * LOOPS_PER_STEP + k, mode, dying, scratch, lists)
        show(u)
        clock.step[e] += 1

        for i in range(units):
            after[0, i], after[1, i] = u.seen[i, 2], u.seen[i, 3]
        outcome = _outcome(u, setup)
        worth = battle_reward_of(before[0], before[1], after[0], after[1], n_agents, setup.rewards)
        ended_as = DRAWN if outcome == GOES_ON else outcome
        results.agent_reward[e] = step_reward(worth, ended_as, setup.scale, setup.rewards)
        results.battle_won[e] = outcome == WON
        for i in range(units):
            if u.hp[i] <= 0.0:
                if i < n_agents:
                    results.dead_allies[e] += 1
                else:
                    results.dead_enemies[e] += 1
        if outcome != GOES_ON:
            clock.ended[e] = TERMINATED
        elif clock.step[e] >= setup.episode_limit:
            clock.ended[e] = TRUNCATED
            results.episode_limit[e] = True
        else:
            clock.ended[e] = RUNNING


@inner_kernel
def play_loop(u, setup, key, loop, mode, dying, scratch, lists):
    """Play one game loop of a battle."""
    table, options, n_agents = setup.table, setup.options, setup.n_agents
    orders.choose_targets(u, n_agents, table, options, setup.sent)
    movement.walk(u, n_agents, table, setup.sent, setup.terrain, mode, scratch, lists)
    movement.push_apart(u, table, options, setup.terrain, mode, scratch, lists)
    combat.fight(u, n_agents, table, options, key, loop, dying)
    combat.recover(u, table)


WON, LOST, DRAWN, GOES_ON = 1, -1, 0, 2  # the first three are step_reward's


@inner_kernel
def _outcome(u, setup):
    """Return how the battle stands; a loss is tested before a victory."""
    allies, enemies, ally_medivacs, enemy_medivacs = 0, 0, 0, 0
    for i in range(u.hp.size):
        if u.hp[i] <= 0.0:
            continue
        medivac = u.unit_type[i] == MEDIVAC
        if i < setup.n_agents:
            allies += 1
            ally_medivacs += medivac
        else:
            enemies += 1
            enemy_medivacs += medivac
    if allies == 0 and enemies == 0:
        return DRAWN
    if allies == 0 or (setup.medivac_rule and allies == ally_medivacs):
        return LOST
    if enemies == 0 or (setup.medivac_rule and enemies == enemy_medivacs):
        return WON
    return GOES_ON
