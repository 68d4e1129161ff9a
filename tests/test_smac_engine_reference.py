"""The compiled engine against its plain-Python reference: the same bits, on every map."""

import numpy as np
import pytest

from marl_gre_envs.smac.core import SMAC
from marl_gre_envs.smac.maps import MAPS, SIZE
from marl_gre_envs.smac.units import HP, MAX_ENERGY, SHIELD, UNIT_TABLE
from smac_reference.engine import Battle
from smac_reference.units import write_world


def _actions(env, rng, greedy):
    """Legal actions: uniform, or where `greedy` an attack wherever one is legal."""
    wish = rng.random(env.action_mask.shape) + (np.arange(env.n_actions) >= 6) * greedy
    return (wish * env.action_mask).argmax(-1)


def _assert_same_play(env, rng, steps):
    """Play both; autoreset off, so that the world after the last step of an episode is still there."""
    for _ in range(steps):
        actions = _actions(env, rng, greedy=rng.random() < 0.5)
        expected = []
        for copy in range(env.num_envs):
            battle = Battle.of_world(env.world, copy, env.setup)
            battle.play_step(actions[copy].tolist())
            expected.append(write_world(battle.units))
        running = env.world["ended"] == 0
        env.step(actions)
        for copy in np.flatnonzero(running):
            for name, value in expected[copy].items():
                assert np.array_equal(env.world[name][copy], value), (name, copy)
        if not (env.world["ended"] == 0).any():
            env.reset()


def maps_and_steps(steps):
    """All maps, each played for so many steps; those of more than 30 units as long nightly, else a fifth of it."""
    large = [name for name, found in MAPS.items() if found.n_agents + found.n_enemies > 30]
    cases = [pytest.param(name, steps // 5 if name in large else steps, id=name) for name in MAPS]
    return cases + [pytest.param(name, steps, id=f"{name} in full", marks=pytest.mark.slow) for name in large]


@pytest.mark.parametrize(("name", "steps"), maps_and_steps(60))
def test_play_from_the_start(name, steps):
    env = SMAC(1, map_name=name, autoreset=False, spawn_layout="rings_jitter")
    env.reset(seed=1)
    _assert_same_play(env, np.random.default_rng(1), steps)


@pytest.mark.parametrize(("name", "steps"), maps_and_steps(12))
def test_play_from_anywhere(name, steps):
    # Units anywhere (inside walls and each other too), half hurt and half dead: situations that play seldom meets.
    env = SMAC(4, map_name=name, autoreset=False, leash=6.0)
    env.reset(seed=2, options=random_world(env, np.random.default_rng(2)))
    _assert_same_play(env, np.random.default_rng(3), steps)


def random_world(env, rng):
    """Return options of reset: units around random centres, hurt, some dead, with some of their energy."""
    lead, kinds = (env.num_envs, env.n_agents + env.n_enemies), env.map.unit_type
    spread = rng.uniform(0.5, 12.0, (env.num_envs, 1, 1))
    pos = np.clip(rng.uniform(4, 28, (env.num_envs, 1, 2)) + spread * rng.uniform(-1, 1, (*lead, 2)), 0, SIZE)
    hp_max, shield_max, energy_max = (UNIT_TABLE[kinds, column] for column in (HP, SHIELD, MAX_ENERGY))
    hp = np.where(rng.random(lead) < 0.7, np.ceil(hp_max * rng.random(lead)), 0.0)
    shield, energy = shield_max * rng.random(lead), energy_max * rng.random(lead)
    full = np.broadcast_to
    cooldown = 20.0 * rng.random(lead)
    rows = np.stack(
        [*np.moveaxis(pos, -1, 0), hp, full(hp_max, lead), shield, full(shield_max, lead), cooldown, energy], -1
    )
    return {"ally": rows[:, : env.n_agents], "enemy": rows[:, env.n_agents :]}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MMM2", {"retaliation": False, "random_delay": False, "scan_range": 3.0, "chase_range": 5.0}),
        ("bane_vs_bane", {"death_burst": False, "call_for_help": False, "push_weights": (1.0, 1.0, 0.0)}),
        ("1c3s5z", {"line_splash": False, "missiles": False, "backswing": 2.5, "look_period": 2, "move_amount": 0.5}),
    ],
)
def test_play_with_other_settings(name, options):
    env = SMAC(1, map_name=name, autoreset=False, **options)
    env.reset(seed=3)
    _assert_same_play(env, np.random.default_rng(4), 40)
