"""Small hand-made battles for the tests of the SMAC engine: any units, anywhere, any settings."""

import numpy as np

from marl_gre_envs.smac import engine
from marl_gre_envs.smac.orders import SENT_NOWHERE
from marl_gre_envs.smac.pathing import terrain_named
from marl_gre_envs.smac.rewards import Rewards
from marl_gre_envs.smac.units import LIFE_REGEN, TYPE_ID, UNIT_TABLE
from smac_reference.engine import Battle

STOP, NORTH, SOUTH, EAST, WEST, FIRST_TARGET = 1, 2, 3, 4, 5, 6


class Skirmish:
    """Copies of one battle, played by the compiled engine (step) or by the reference (loops)."""

    def __init__(
        self,
        allies,
        enemies,
        *,
        copies=1,
        terrain="open",
        sent=SENT_NOWHERE,
        attack_point=(0.0, 0.0),
        life_regen=True,
        limit=10_000,
        medivac_rule=False,
        rewards=None,
        **options,
    ):
        """`allies`, `enemies`: lists of (name, x, y)."""
        table = UNIT_TABLE.copy()
        if not life_regen:
            table[:, LIFE_REGEN] = 0.0
        units = [*allies, *enemies]
        self.n_agents = agents = len(allies)
        count = len(units)
        self.setup = engine.Setup(
            n_agents=agents,
            table=table,
            terrain=terrain_named(terrain),
            options=engine.EngineOptions(**options),
            sent=sent,
            move_amount=2.0,
            episode_limit=limit,
            medivac_rule=medivac_rule,
            rewards=rewards or Rewards(),
            scale=1.0,
        )
        shapes = {
            "unit_type": ((count,), np.int8),
            "target": ((count,), np.int16),
            "engaged": ((count,), np.bool_),
            "order": ((agents,), np.int8),
            "order_point": ((agents, 2), float),
            "missile_target": ((count,), np.int16),
            "last_attacker": ((count,), np.int16),
            "help_timer": ((count,), np.int16),
            "leash_timer": ((count,), np.int16),
            "look_timer": ((count,), np.int16),
            "attack_point": ((2,), float),
            "seen": ((count, 6), np.float32),
            "last_actions": ((agents,), np.int16),
        } | dict.fromkeys(("pos", "velocity", "anchor", "post"), ((count, 2), float))
        self.world = {
            name: np.zeros((copies, *shapes.get(name, ((count,), float))[0]), shapes.get(name, (0, float))[1])
            for name in engine.Units._fields
        }
        self.world["unit_type"][:] = [TYPE_ID[name] for name, _, _ in units]
        self.world["pos"][:] = [(x, y) for _, x, y in units]
        self.clock = {
            "seed": np.arange(copies),
            "episode": np.zeros(copies, np.int64),
            "step": np.zeros(copies, np.int16),
            "ended": np.zeros(copies, np.int8),
        }
        self.results = engine.Results(
            np.zeros((copies, agents)),
            np.zeros(copies, bool),
            np.zeros(copies, np.int64),
            np.zeros(copies, np.int64),
            np.zeros(copies, bool),
        )
        which, target = np.ones(copies, bool), np.array([attack_point, attack_point], float)
        engine.begin(which, self.units, engine.Clock(**self.clock), self.setup, 0.0, target, True)
        engine.set_out(which, self.units, self.setup, True)

    @property
    def units(self):
        """The live arrays [copies, U, ...]."""
        return engine.units_of(self.world)

    def show(self):
        """Write `seen` after changes by hand."""
        engine.show_all(self.units)

    def step(self, actions):
        """Play eight loops; actions [N] or [copies, N]."""
        copies = self.clock["step"].size
        actions = np.ascontiguousarray(np.broadcast_to(np.asarray(actions, np.int64), (copies, self.n_agents)))
        running = np.ones(copies, bool)
        self.results.dead_allies[:] = 0
        self.results.dead_enemies[:] = 0
        engine.advance(0, copies, running, actions, self.units, engine.Clock(**self.clock), self.setup, self.results)

    def reference(self):
        """The first copy as a battle that can be played loop by loop."""
        return Battle.of_world({**self.world, **self.clock}, 0, self.setup)
