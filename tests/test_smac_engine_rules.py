"""The rules of the SMAC engine, one by one, with numbers worked out by hand from the game's data."""

import math

import numpy as np
import pytest

from marl_gre_envs.smac.maps import ground_of
from marl_gre_envs.smac.orders import HOLD, SENT_TO_POINT, SENT_TO_UNITS
from marl_gre_envs.smac.units import UNITS
from smac_battles import EAST, FIRST_TARGET, NORTH, STOP, WEST, Skirmish

ATTACKERS = (
    "marine",
    "marauder",
    "stalker",
    "zealot",
    "colossus",
    "zergling",
    "baneling",
    "hydralisk",
    "spine_crawler",
)
VICTIMS = (
    "marine",
    "marauder",
    "medivac",
    "stalker",
    "zealot",
    "colossus",
    "zergling",
    "baneling",
    "hydralisk",
    "spine_crawler",
)
# Attacks that kill from full hp and shields, without regeneration; 0 = cannot hit. For example a Marine and a Stalker:
# 13 hits of 6 leave 2 of 80 shields, the next takes these and 6 - 2 - 1 (armor) = 3 of 80 hp, then 77 / (6 - 1) -> 16.
ATTACKS = {
    "marine": (8, 25, 30, 30, 29, 65, 6, 5, 14, 75),
    "marauder": (5, 7, 0, 9, 17, 19, 4, 3, 8, 17),
    "stalker": (4, 8, 9, 10, 13, 21, 3, 3, 7, 19),
    "zealot": (3, 9, 0, 11, 11, 24, 3, 2, 5, 25),
    "colossus": (2, 7, 0, 9, 6, 19, 2, 2, 3, 19),
    "zergling": (9, 32, 0, 36, 35, 80, 7, 6, 16, 100),
    "baneling": (2, 7, 0, 9, 5, 19, 1, 2, 3, 17),
    "hydralisk": (4, 12, 14, 14, 14, 31, 3, 3, 7, 30),
    "spine_crawler": (2, 5, 0, 6, 7, 12, 2, 2, 4, 11),
}


def _attacks_to_kill(attacker, victim):
    """Play a duel against a victim that cannot strike back; 0 if it is never hit."""
    reach = UNITS[attacker].radius + UNITS[victim].radius + 0.05
    duel = Skirmish([(attacker, 10, 10)], [(victim, 10 + reach, 10)], life_regen=False, death_burst=False)
    u = duel.units
    u.cooldown[0, 1] = 1e6
    attacks, before = 0, 0.0
    for _ in range(300):
        duel.step([FIRST_TARGET])
        if u.cooldown[0, 0] > max(before - 8, -1) + 1e-6:  # less than one attack per step: all periods exceed 8 loops
            attacks += 1
        if u.hp[0, 1] <= 0:
            return attacks
        if u.hp[0, 0] <= 0:  # the next Baneling
            u.hp[0, 0], u.cooldown[0, 0] = 30.0, 0.0
        before = u.cooldown[0, 0]
    return 0 if attacks == 0 else math.inf


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_attacks_to_kill(attacker):
    assert tuple(_attacks_to_kill(attacker, victim) for victim in VICTIMS) == ATTACKS[attacker]


def test_a_zergling_regenerates_past_the_seventh_bite():
    # 7 bites of 5 are 35, but in 6 periods of 11 loops it grew back more than 1 of 35 hp: the 8th kills.
    duel = Skirmish([("zergling", 10, 10)], [("zergling", 10.8, 10)], random_delay=False)
    duel.units.cooldown[0, 1] = 1e6
    bites, before = 0, 0.0
    while duel.units.hp[0, 1] > 0:
        duel.step([FIRST_TARGET])
        bites += duel.units.cooldown[0, 0] > max(before - 8, -1) + 1e-6
        before = duel.units.cooldown[0, 0]
    assert bites == 8


@pytest.mark.parametrize("attacker", [name for name in ATTACKERS if name != "baneling"])
def test_time_to_kill(attacker):
    # Without the random delay: (n - 1) periods + damage point + flight of the missile (or the Zealot's second blow).
    unit, weapon = UNITS[attacker], UNITS[attacker].weapon
    distance = unit.radius + UNITS["marauder"].radius + 0.05
    duel = Skirmish([(attacker, 10, 10)], [("marauder", 10 + distance, 10)], random_delay=False)
    duel.units.cooldown[0, 1] = 1e6
    battle = duel.reference()
    battle.take_order(battle.units[0], FIRST_TARGET)
    while battle.units[1].alive:
        battle.play_loop()
    attacks = ATTACKS[attacker][VICTIMS.index("marauder")]
    expected = (attacks - 1) * weapon.period + weapon.damage_point + weapon.hit_delay
    expected += distance / weapon.missile_speed if weapon.missile_speed else 0.0
    # Effects come in whole loops, counted when they are over; a missile arrives in a later loop than it was fired.
    assert expected <= battle.loop <= expected + (3 if weapon.missile_speed else 2)


def test_random_delay():
    copies = 400
    duel = Skirmish([("marine", 10, 10)], [("spine_crawler", 13, 10)], copies=copies)
    duel.units.cooldown[:, 1] = 1e6
    duel.step([FIRST_TARGET])
    # It fired in the second loop, 0.2 late (damage point 0.8): period + delay - 0.8 - 0.2, of which 7 loops are over.
    delay = duel.units.cooldown[:, 0] - (UNITS["marine"].weapon.period - 1.0) + 7
    assert -1 <= delay.min() < -0.9
    assert 1.9 < delay.max() <= 2
    assert abs(delay.mean() - 0.5) < 4 * 3 / math.sqrt(12 * copies)  # uniform on [-1, 2]: mean 0.5, sd 3 / sqrt(12)


@pytest.mark.parametrize(
    ("name", "distance"),
    [("marine", 1.125), ("stalker", 1.47655), ("zergling", 1.47655), ("baneling", 1.25), ("colossus", 1.125)],
)
def test_distance_of_a_step(name, distance):
    walk = Skirmish([(name, 10, 10)], [("spine_crawler", 30, 30)])
    walk.step([EAST])
    assert walk.units.pos[0, 0] == pytest.approx([10 + distance, 10], abs=1e-9)  # 8 loops of speed / 16


def test_a_move_ends_after_two_and_refused_attacks_keep_the_order():
    # Marauders cannot hit a Medivac: the order is refused and the move goes on, to exactly 2.
    walk = Skirmish([("marauder", 10, 10)], [("medivac", 10, 20)])
    walk.step([NORTH])
    assert walk.units.pos[0, 0, 1] == pytest.approx(11.125, abs=1e-9)
    walk.step([FIRST_TARGET])
    assert walk.units.pos[0, 0].tolist() == [10.0, 12.0]
    assert walk.units.order[0, 0] == HOLD
    walk.step([FIRST_TARGET])
    assert walk.units.pos[0, 0].tolist() == [10.0, 12.0]


def test_medivacs_need_time_to_get_up_to_speed():
    walk = Skirmish([("medivac", 5, 10)], [("spine_crawler", 30, 30)])
    walk.step([EAST])
    # Speed grows by 2.3125 / 256 each loop: (1 + 2 + ... + 8) of that.
    assert walk.units.pos[0, 0, 0] - 5 == pytest.approx(36 * 2.3125 / 256, abs=1e-9)
    covered = []
    for _ in range(4):
        before = walk.units.pos[0, 0, 0]
        walk.step([EAST])
        covered.append(walk.units.pos[0, 0, 0] - before)
    # (9 + ... + 16) of that; then it brakes for the point 2 away, which every order renews (recorded).
    assert covered[0] == pytest.approx(100 * 2.3125 / 256, abs=1e-9)
    assert covered[1:] == pytest.approx([1.210, 1.156, 1.156], abs=0.03)
    walk.step([STOP])
    assert walk.units.velocity[0, 0].tolist() == [0, 0]
    far = Skirmish([("marine", 2, 2)], [("medivac", 5, 10)], sent=SENT_TO_POINT, attack_point=(30, 10))
    for _ in range(4):
        before = far.units.pos[0, 1, 0]
        far.step([STOP])
    assert far.units.pos[0, 1, 0] - before == pytest.approx(1.25, abs=1e-9)  # 2.5 a second


def test_shields_recover_after_160_loops():
    # One hit at the start, then the Marine stops: 20 steps later nothing has come back, then 1.0 per step.
    duel = Skirmish([("marine", 10, 10)], [("stalker", 13, 10)])
    duel.units.cooldown[0, 1] = 1e6
    battle = duel.reference()
    battle.take_order(battle.units[0], FIRST_TARGET)
    stalker = battle.units[1]
    while stalker.shield == 80.0:
        battle.play_loop()
    battle.take_order(battle.units[0], STOP)
    assert stalker.shield == 74.0
    for _ in range(159):  # the loop of the hit is the first of 160
        battle.play_loop()
    assert stalker.shield == 74.0
    for _ in range(8):
        battle.play_loop()
    assert stalker.shield == 75.0
    for _ in range(200):
        battle.play_loop()
    assert stalker.shield == 80.0


def test_healing():
    team = Skirmish([("marine", 10, 10), ("medivac", 10, 11)], [("spine_crawler", 30, 30)])
    u = team.units
    u.hp[0, 0], u.energy[0, 1] = 20.0, 50.0
    team.step([STOP, FIRST_TARGET])
    # 8 loops of 9 / 16 hp, 0.33 energy each, while 8 / 16 * 0.5625 come back.
    assert u.hp[0, 0] == pytest.approx(24.5, abs=1e-9)
    assert u.energy[0, 1] == pytest.approx(50 - 1.485 + 0.28125, abs=1e-9)
    u.hp[0, 0] = 44.0
    team.step([STOP, FIRST_TARGET])
    assert u.hp[0, 0] == 45.0  # never more than all
    u.hp[0, 0], u.energy[0, 1] = 20.0, 0.0
    team.step([STOP, FIRST_TARGET])
    assert u.hp[0, 0] - 20 <= 0.28125 / 0.33  # without energy only what comes back meanwhile


def test_medivacs_heal_biological_units_only():
    team = Skirmish([("medivac", 10, 11), ("medivac", 11, 11)], [("medivac", 20, 20), ("medivac", 21, 20)])
    u = team.units
    u.hp[0] = 100.0
    team.step([FIRST_TARGET + 1, STOP])
    assert u.hp[0].tolist() == [100.0] * 4


def test_enemy_medivacs_choose_the_worst_off_within_six():
    team = Skirmish(
        [("marine", 1, 1)],
        [("marine", 20, 20), ("marine", 21, 20), ("marauder", 20, 21), ("marine", 29, 20), ("medivac", 20, 19)],
    )
    u = team.units
    u.hp[0, 1:5] = 40, 30, 60, 1  # 60 of 125 is the lowest share; the Marine at x = 29 is too far
    team.step([STOP])
    assert u.target[0, 5] == 3
    assert u.hp[0, 3] == pytest.approx(64.5)
    u.energy[0, 5], u.target[0, 5] = 4.0, -1
    team.step([STOP])
    assert u.target[0, 5] == -1  # it needs 5 energy to begin


def test_enemies_take_the_nearest_in_scan_range_and_stick_to_it():
    near = {"alarm_range": 5.0}
    team = Skirmish([("marine", 10, 10), ("marine", 10, 13)], [("zealot", 15.8, 10), ("zealot", 15.9, 30)], **near)
    u = team.units
    team.step([STOP, STOP])
    assert u.target[0, 2:].tolist() == [0, -1]  # 15.8 - 10 - 0.375 - 0.5 = 4.925 away; the other sees nobody
    duel = Skirmish([("marine", 10, 10), ("marine", 18, 10)], [("marine", 14, 10)])
    duel.step([STOP, STOP])
    assert duel.units.target[0, 2] == 0  # both are 3.25 away: the lower index
    duel.units.pos[0, 1, 0] = 15.5
    duel.step([STOP, STOP])
    assert duel.units.target[0, 2] == 0  # a target in range is kept though another comes nearer
    far = Skirmish([("marine", 10, 10)], [("zealot", 15.9, 10)], **near)
    far.step([STOP])
    assert far.units.target[0, 1] == -1  # 5.025 away


@pytest.mark.parametrize(("distance", "seen"), [(6.8, True), (7.0, False)])
def test_enemies_that_stand_look_further(distance, seen):
    duel = Skirmish([("stalker", 10, 10)], [("zealot", 10 + 0.625 + 0.5 + distance, 10)])
    duel.step([STOP])
    assert (duel.units.target[0, 1] == 0) == seen


@pytest.mark.parametrize("friend", ["marine", "zealot"])
def test_enemies_on_their_way_look_further_while_a_friend_fights(friend):
    # The Marine at the agent's side fights, a Zealot there needs to walk first; the other Zealot walks by, 6.3 away.
    fight = Skirmish(
        [("marauder", 10, 10)],
        [(friend, 13, 10), ("zealot", 17.3, 10)],
        sent=SENT_TO_POINT,
        attack_point=(17.0, 30),
    )
    fight.units.pos[0, 2] = 17.3, 8.0
    fight.units.post[0, 2] = 17.3, 30.0
    fight.units.velocity[0, 1:] = 0.0, 0.1  # they are on their way
    battle = fight.reference()
    for _ in range(6):
        battle.play_loop()
    assert (battle.units[2].target is not None) == (friend == "marine")


def test_enemies_turn_on_whoever_attacks_them():
    # Both agents are in reach, the first is nearer; the second is told to attack: within five loops it is the target.
    fight = Skirmish([("marine", 10, 10), ("marine", 9, 12)], [("marine", 13, 10)])
    u = fight.units
    fight.step([STOP, STOP])
    assert u.target[0, 2] == 0
    fight.step([STOP, FIRST_TARGET])
    assert u.target[0, 2] == 1
    fight.step([FIRST_TARGET, FIRST_TARGET])
    assert u.target[0, 2] == 1  # who is attacked by its target keeps it
    fight.step([FIRST_TARGET, STOP])
    assert u.target[0, 2] == 0


@pytest.mark.parametrize(("gap", "follows"), [(6.9, True), (7.1, False)])
def test_a_chase_ends_at_seven(gap, follows):
    chase = Skirmish([("stalker", 10, 10)], [("zealot", 14, 10)], sent=SENT_TO_POINT, attack_point=(30, 10))
    chase.step([STOP])
    assert chase.units.target[0, 1] == 0
    chase.units.pos[0, 0, 0] = chase.units.pos[0, 1, 0] - 0.625 - 0.5 - gap
    before = chase.units.pos[0, 1, 0]
    chase.step([STOP])
    assert (chase.units.pos[0, 1, 0] < before) == follows  # otherwise back to where it was sent


def test_enemies_stand_for_ten_loops_after_an_attack():
    duel = Skirmish([("marine", 10, 10)], [("marine", 14, 10)], sent=SENT_TO_POINT, attack_point=(30, 10))
    battle = duel.reference()
    agent, enemy = battle.units
    while agent.hp == 45.0:
        battle.play_loop()
    agent.x, stood = 8.0, 0  # out of range: 6 - 0.75 = 5.25
    x = enemy.x
    while enemy.x == x:
        battle.play_loop()
        stood += 1
    # The shot came in the loop that is over, up to one late; the loop in which it walks again counts, too.
    assert 9 <= stood <= 10


def test_agents_need_not_stand_after_an_attack():
    duel = Skirmish([("marine", 10, 10)], [("spine_crawler", 14, 10)])
    duel.step([FIRST_TARGET])
    duel.step([5])
    assert duel.units.pos[0, 0, 0] == pytest.approx(10 - 1.125)


def test_there_is_no_slop():
    duel = Skirmish([("zealot", 10, 10)], [("marauder", 11.1, 10)], push_weights=(0.0, 0.0, 0.0))
    u = duel.units
    u.cooldown[0, 1] = 1e6
    duel.step([FIRST_TARGET])
    assert u.engaged[0, 0]
    assert u.pos[0, 0, 0] == 10.0
    u.pos[0, 1, 0] = 10 + 0.5 + 0.5625 + 0.2  # reach is 0.1
    duel.step([FIRST_TARGET])
    assert u.pos[0, 0, 0] > 10.0


@pytest.mark.parametrize(("action", "blows"), [(FIRST_TARGET, 2), (5, 1)])
def test_the_second_blow_of_a_zealot_is_channeled(action, blows):
    # The first comes at once, the second 4.48 loops later unless the Zealot is told something else.
    duel = Skirmish([("zealot", 10, 10)], [("spine_crawler", 11.4, 10)], life_regen=False)
    battle = duel.reference()
    battle.take_order(battle.units[0], FIRST_TARGET)
    for _ in range(3):
        battle.play_loop()
    battle.take_order(battle.units[0], action)
    for _ in range(4):
        battle.play_loop()
    assert battle.units[1].hp == pytest.approx(300 - 6 * blows, abs=0.2)  # 8 less armor 2; it regenerates a little


@pytest.mark.parametrize("retaliation", [True, False])
def test_retaliation_and_call_for_help(retaliation):
    # The Stalker fires from 6; the victim and the Zealot within 4 come, the one further away stays.
    zealots = [("zealot", 17.1, 10), ("zealot", 18.05, 10), ("zealot", 25, 10)]
    fight = Skirmish([("stalker", 10, 10)], zealots, retaliation=retaliation, alarm_range=5.0)
    fight.step([FIRST_TARGET])
    fight.step([STOP])
    u = fight.units
    assert (u.hp[0, 1:] + u.shield[0, 1:]).tolist() == [137, 150, 150]
    assert u.target[0, 1:].tolist() == ([0, 0, -1] if retaliation else [-1, -1, -1])
    alone = Skirmish([("stalker", 10, 10)], zealots, call_for_help=False, alarm_range=5.0)
    alone.step([FIRST_TARGET])
    alone.step([STOP])
    assert alone.units.target[0, 1:].tolist() == [0, -1, -1]


def test_enemies_keep_their_formation():
    # Places at the attack point are those around the centre (20, 10) of the three.
    march = Skirmish(
        [("marine", 1, 31)],
        [("marine", 19, 10), ("marine", 20, 11), ("marine", 21, 9)],
        sent=SENT_TO_POINT,
        attack_point=(15, 12),
    )
    for _ in range(6):
        march.step([STOP])
    assert march.units.pos[0, 1:] == pytest.approx(np.array([[14, 12], [15, 13], [16, 11]]), abs=0.02)


def test_walkers_go_around_those_who_fight():
    # The second Zealot wants to the far agent; the first stands in its way and fights. Contact is 1 - 1/16 + 0.001.
    fight = Skirmish(
        [("marauder", 10, 10), ("marauder", 6, 10)],
        [("zealot", 11.1, 10), ("zealot", 13, 10)],
    )
    u = fight.units
    u.cooldown[0, :2] = 1e6
    u.target[0, 3] = 1
    u.hp[0, 0] = 1e6
    ways, apart = [], []
    battle = fight.reference()
    battle.units[2].hp = 1e6
    zealot = battle.units[3]
    for _ in range(8):
        zealot.target = battle.units[1]
        battle.play_loop()
        ways.append((zealot.vx, zealot.vy))
        apart.append(math.hypot(zealot.x - battle.units[2].x, zealot.y - battle.units[2].y))
    assert all(math.hypot(*way) == pytest.approx(1.125 / 8) for way in ways)  # at full speed
    assert max(abs(y) for _, y in ways) > 0.03  # aside
    assert min(apart) > 0.9385 - 1e-3
    assert battle.units[2].x == pytest.approx(11.1, abs=0.01)  # who fights is hardly pushed


def test_a_walker_does_not_push_the_walker_ahead():
    # A Stalker makes 1.4766 a step, a Zealot ahead of it 1.125: the Stalker falls in behind.
    walk = Skirmish([("stalker", 10, 10), ("zealot", 11.1, 10)], [("spine_crawler", 30, 30)])
    walk.step([EAST, EAST])
    assert walk.units.pos[0, 1, 0] == pytest.approx(11.1 + 1.125, abs=1e-6)
    assert walk.units.pos[0, 0, 0] == pytest.approx(11.1 + 1.125 - 1.0635, abs=2e-3)


def test_colossi_walk_over_everybody():
    walk = Skirmish([("colossus", 10, 10), ("zealot", 10.2, 10)], [("spine_crawler", 30, 30)])
    walk.step([EAST, STOP])
    assert walk.units.pos[0, :2].tolist() == [[pytest.approx(11.125), 10.0], [10.2, 10.0]]


def test_the_leash_ends_a_chase():
    # A Zealot pursues a Stalker that walks away; 3 from where it began it gives up and goes where it was sent.
    chase = Skirmish([("stalker", 10, 10)], [("zealot", 14, 10)], sent=SENT_TO_POINT, attack_point=(30, 10), leash=3.0)
    u = chase.units
    gave_up = False
    for _ in range(6):
        chase.step([5])  # west
        gave_up |= u.leash_timer[0, 1] > 0 and u.target[0, 1] == -1
    assert gave_up
    assert u.pos[0, 1, 0] > 10.5
    assert u.velocity[0, 1, 0] > 0


def test_missiles_fly_and_can_come_too_late():
    # Two Stalkers at a Zealot with 1 hp, 6 away: 7.1 / 1.17 loops of flight, both have fired, one in vain.
    fight = Skirmish([("stalker", 10, 10), ("stalker", 10, 12)], [("zealot", 16.9, 11)])
    u = fight.units
    u.hp[0, 2], u.shield[0, 2] = 1.0, 0.0
    battle = fight.reference()
    for agent in battle.agents:
        battle.take_order(agent, FIRST_TARGET)
    fired = {}
    while battle.units[2].alive:
        battle.play_loop()
        for agent in battle.agents:
            if agent.missile_target is not None:
                fired.setdefault(agent.index, battle.loop)
    # Wind-up of 2.67 loops, so fired in loop 4 (1.5 units of 23 in the air), flight 7.0 / 1.17 = 5.9 loops.
    assert fired == {0: 4, 1: 4}
    assert battle.loop == 10
    assert min(agent.cooldown for agent in battle.agents) > 10


def test_banelings_burst_when_killed_and_set_off_others():
    # Marines kill the first Baneling of an enemy chain; the agents' own chain 2.5 apart (2.2 + 0.375 reach) is hit.
    fight = Skirmish(
        [("marine", 5, 10), ("baneling", 10, 10), ("marine", 11, 11)],
        [("baneling", 12, 10), ("zergling", 10, 12), ("zergling", 20, 20)],
    )
    u = fight.units
    u.hp[0, 3], u.hp[0, 1] = 1.0, 15.0
    fight.step([STOP, STOP, FIRST_TARGET])
    assert u.hp[0, 3] == 0  # shot
    assert u.hp[0, 1] == 0  # 20 damage: the agents' Baneling dies of the burst, and bursts itself
    assert u.hp[0, 2] == pytest.approx(10.0)  # 45 - 35 against light, of the enemy's burst only
    assert u.hp[0, 4] == 0  # 35 of the agents' burst
    assert u.hp[0, 5] == 35


def test_banelings_burst_on_the_ground_only():
    # One bursts 0.8 from a Marine with a Medivac above it: 20 + 15 against light, nothing in the air.
    fight = Skirmish([("marine", 10.8, 10), ("medivac", 10.8, 10)], [("baneling", 10, 10)])
    fight.step([STOP, STOP])
    assert fight.units.hp[0].tolist() == [10, 150, 0]


def test_colossi_hit_a_line_across_the_line_of_fire():
    # The beams run north-south through the target, 1.25 to either side, and reach 0.15 + radius 0.375 beyond.
    marines = [
        ("marine", 15, 10),
        ("marine", 15, 11.7),
        ("marine", 15, 12.3),
        ("marine", 15.9, 10),
        ("marine", 15.5, 9),
    ]
    fight = Skirmish([("colossus", 10, 10)], marines)
    fight.units.cooldown[0, 1:] = 1e6
    fight.step([FIRST_TARGET])
    assert fight.units.hp[0, 1:].tolist() == [15, 15, 45, 45, 15]  # two beams of 10 + 5


def test_overlapping_units_are_pushed_apart():
    pair = Skirmish([("zealot", 10, 10), ("zealot", 10.5, 10)], [("spine_crawler", 30, 30)])
    pair.step([STOP, STOP])
    # Radii 0.5: contact at 1 - 1/16 + 0.001 = 0.9385, each has yielded half of what is missing.
    assert pair.units.pos[0, :2, 0] == pytest.approx([9.78075, 10.71925])
    same = Skirmish([("zealot", 10, 10), ("zealot", 10, 10)], [("spine_crawler", 30, 30)])
    same.step([STOP, STOP])
    assert same.units.pos[0, 1, 0] - same.units.pos[0, 0, 0] == pytest.approx(0.9385)
    air = Skirmish([("marine", 10, 10), ("medivac", 10, 10)], [("spine_crawler", 30, 30)])
    air.step([STOP, STOP])
    assert air.units.pos[0, :2].tolist() == [[10, 10], [10, 10]]


def test_spine_crawlers_stay_where_they_are():
    crowd = Skirmish([("zealot", 10, 10)], [("spine_crawler", 10.4, 10)])
    crowd.step([STOP])
    assert crowd.units.pos[0, 1].tolist() == [10.4, 10]
    assert crowd.units.pos[0, 0, 0] == pytest.approx(10.4 - 0.5 - 0.875 + 0.0615)


@pytest.mark.parametrize(
    ("terrain", "goal"), [("corridor", (4.47, 4.33)), ("valley", (4.47, 4.33)), ("ravine", (16, 16))]
)
def test_walkers_find_their_way_from_everywhere(terrain, goal):
    cells = np.argwhere(ground_of(terrain))
    hidden = [("marine", 0.5, 31.5)]  # agents that nobody sees: they stand in a wall far away
    walk = Skirmish(
        hidden,
        [("zergling", 5, 5)],
        copies=len(cells),
        terrain=terrain,
        sent=SENT_TO_POINT,
        attack_point=goal,
        scan_range=0.0,
    )
    u = walk.units
    u.pos[:, 1] = cells + 0.5
    for _ in range(60):
        walk.step([STOP])
        inside = u.pos[:, 1].astype(int)
        assert ground_of(terrain)[inside[:, 0], inside[:, 1]].all()
    # 60 steps are 88 of way, more than any detour here.
    assert np.hypot(*(u.pos[:, 1] - goal).T).max() < 0.3 + 1e-9


def test_enemies_sent_against_units_go_around_the_cliff():
    climb = Skirmish([("colossus", 16, 16)], [("zergling", 16, 9)], terrain="ravine", sent=SENT_TO_UNITS)
    u = climb.units
    u.cooldown[0, 0] = 1e6
    for _ in range(40):
        climb.step([STOP])
    assert u.hp[0, 0] + u.shield[0, 0] < 350  # it got there and bites


def test_colossi_step_over_cliffs_and_others_do_not():
    for name, crosses in (("colossus", True), ("zealot", False)):
        walk = Skirmish([(name, 16, 11)], [("spine_crawler", 30, 9)], terrain="ravine")
        for _ in range(4):
            walk.step([NORTH])
        assert (walk.units.pos[0, 0, 1] > 14) == crosses


def test_walkers_whose_ways_cross_leave_each_other_alone():
    # As recorded on 3m: two go north, the third west behind them, and nobody turns (1,037 cases).
    marines = [("marine", 10.125, 15.31), ("marine", 9.255, 15.53), ("marine", 8.675, 16.22)]
    walk = Skirmish(marines, [("zealot", 30, 30)])
    start = walk.units.pos[0, :3].copy()
    walk.step([WEST, NORTH, NORTH])
    moved = walk.units.pos[0, :3] - start
    assert moved == pytest.approx(np.array([[-1.125, 0.0], [0.0, 1.125], [0.0, 1.125]]), abs=1e-6)


def test_walkers_turn_right_before_contact():
    # From 1.904 away with 0.45 aside a step leads straight on, as recorded on 3m; from 1.016 away it leads around.
    for x, y, aside in ((1.85, -0.45, 0.0), (0.86, 0.54, -0.2)):
        walk = Skirmish([("marine", 10, 10), ("marine", 10 + x, 10 + y)], [("zealot", 14 + x, 10 + y)])
        walk.units.cooldown[0, 1] = 1e6
        walk.units.hp[0, 2] = 1e6
        walk.step([EAST, FIRST_TARGET])
        assert walk.units.pos[0, 0, 1] - 10 == pytest.approx(aside, abs=0.05)
