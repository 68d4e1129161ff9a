"""SMAC: a team of agents against the enemies of one of 23 maps, on a substitute for StarCraft II.

Observations, state, masks and reward are SMAC's (interface.py); battles run on the embedded engine (engine.py).
"""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from marl_gre_envs.checks import check_keywords, choice, flag, number, whole
from marl_gre_envs.core import MAX_STEPS, CoreEnv, Field
from marl_gre_envs.smac import engine
from marl_gre_envs.smac.combat import LEAST_HP
from marl_gre_envs.smac.interface import NOOP, STOP, Flags, Interface, make_flags
from marl_gre_envs.smac.maps import LAYOUTS, SIZE, map_named
from marl_gre_envs.smac.orders import SENT_NOWHERE, SENT_TO_POINT, SENT_TO_UNITS
from marl_gre_envs.smac.pathing import terrain_named
from marl_gre_envs.smac.rewards import Rewards, make_rewards, scale_of
from marl_gre_envs.smac.units import DAMAGE_POINT, HP, MAX_COOLDOWN, MAX_ENERGY, SHIELD, UNIT_TABLE
from marl_gre_envs.vector import World

SENT = {"point": SENT_TO_POINT, "segment": SENT_TO_POINT, "units": SENT_TO_UNITS, "none": SENT_NOWHERE}
LONGEST, LONGEST_COOLDOWN = float(engine.LONGEST_LOOPS), 100.0  # loops; no timer of a given world may be longer
OPTIONS: dict[str, Any] = Flags._field_defaults | Rewards._field_defaults | engine.EngineOptions._field_defaults


class SMAC(CoreEnv):
    """E parallel battles on one SMAC map.

    Agents and enemies are numbered as in SMAC. The episode terminates when one side is dead, or has only Medivacs left
    (info "battle_won" marks a victory), and is truncated at the map's time limit (info "episode_limit"). Every agent
    receives the team reward.

    World: observations are made from `unit_type`, `seen`, `last_actions` and `step`; engine.Units describes all fields.
    reset() accepts a world of "ally" [A, 8] and "enemy" [N, 8], whose rows are interface.FIELDS (hp 0 = dead), and
    "last_actions" [A] (-1 = none yet).
    """

    backend = "embedded"
    noops = (STOP, NOOP)
    observed = ("unit_type", "seen", "last_actions", "step")
    indices = ("unit_type", "last_actions")
    given = ("ally", "enemy")
    given_optional = ("last_actions",)
    step_counters = ("dead_allies", "dead_enemies")
    step_flags = ("battle_won", "episode_limit")
    shared_reward = True
    obs_low, obs_high = -1.0, 1.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset: bool = True,
        map_name: str = "8m",
        max_steps: int | None = None,
        move_amount: float = 2.0,
        spawn_layout: str = "rings",
        fresh_game: bool = False,
        threads: int = 1,
        strict: bool = False,
        **options: Any,
    ):
        """Make the environments; call reset() next.

        Args:
            num_envs: number of parallel environments.
            autoreset: whether an environment restarts by itself when its episode ends.
            map_name: name of a SMAC map, a key of maps.MAPS.
            max_steps: time limit in steps, 1 to 32767; the map's if None.
            move_amount: distance of a move in map units; SMAC's is 2.
            spawn_layout: "rings", always the same start, or "rings_jitter", with random shifts of up to 0.1 in x and y.
            fresh_game: whether every episode starts like the first of a game, with enemies at rest and numbered in
                creation order, or like later ones, one loop into the enemies' walk and with permuted numbers.
            threads: number of threads that share the environments; results do not depend on it.
            strict: whether an illegal action raises instead of being replaced by stop (no-op for the dead).
            options: fields of interface.Flags (observations), rewards.Rewards (reward) and engine.EngineOptions (rules
                of the engine).

        Raises:
            ValueError: a value is not allowed.
            TypeError: an unknown option.
        """
        check_keywords("SMAC", options, OPTIONS)
        flags = make_flags(**_of(Flags, options))
        rewards = make_rewards(**_of(Rewards, options))
        rules = engine.make_options(**_of(engine.EngineOptions, options))
        self.map = found = map_named(map_name)
        self.map_name = found.name
        limit = found.episode_limit if max_steps is None else whole("max_steps", max_steps, 1, MAX_STEPS)
        self.spawn_layout = choice("spawn_layout", spawn_layout, LAYOUTS)
        self.fresh_game = flag("fresh_game", fresh_game)
        self.threads = whole("threads", threads, 1, 64)
        self.interface = Interface(
            replace(found, episode_limit=limit),
            move_amount=number("move_amount", move_amount, 0.0, SIZE),
            flags=flags,
        )
        self.setup = engine.Setup(
            n_agents=found.n_agents,
            table=UNIT_TABLE.copy(),
            terrain=terrain_named(found.terrain),
            options=rules,
            sent=SENT[found.order],
            move_amount=float(move_amount),
            episode_limit=limit,
            medivac_rule=bool(found.has_medivacs),
            rewards=rewards,
            scale=float(scale_of(rewards, found.n_enemies, found.enemy_points)),
        )
        self.n_agents, self.n_enemies, self.n_actions = found.n_agents, found.n_enemies, found.n_actions
        self.agents = [f"agent_{i}" for i in range(self.n_agents)]
        self.action_names = list(self.interface.action_names)
        self.obs_dim, self.state_dim = self.interface.obs_dim, self.interface.state_dim
        self._pool: ThreadPoolExecutor | None = None
        super().__init__(num_envs, autoreset, self._engine_fields(), limit, "sum", strict)
        self.option_fields = self._option_fields()

    @property
    def state_bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the numbers in a state; cooldowns may exceed the constants that divide them."""
        return self.obs_low, LONGEST_COOLDOWN / UNIT_TABLE[self.map.unit_type[: self.n_agents], MAX_COOLDOWN].min()

    def render(self, index: int = 0, agent: int | None = None) -> np.ndarray:
        """Return a picture of environment `index`, [height, width, 3] uint8, with what `agent` sees if given."""
        from marl_gre_envs.smac.rendering import draw_smac

        if agent is not None:
            whole("agent", agent, 0, self.n_agents - 1)
        return draw_smac(self, whole("index", index, 0, self.num_envs - 1), agent)

    def close(self) -> None:
        """Release the threads; safe to call twice."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # threads stay where they were started

    def _engine_fields(self) -> dict[str, Field]:
        """Return the fields of engine.Units with the values that a given world may have."""
        agents, units = self.n_agents, self.n_agents + self.n_enemies
        kinds = self.map.unit_type
        someone = Field((units,), np.int16, -1, units - 1)
        return {
            "unit_type": Field((units,), np.int8, kinds, kinds),
            "pos": Field((units, 2), np.float64, 0.0, SIZE),
            "velocity": Field((units, 2), np.float64, -SIZE, SIZE),
            "hp": Field((units,), np.float64, 0.0, UNIT_TABLE[:, HP].max()),
            "shield": Field((units,), np.float64, 0.0, UNIT_TABLE[:, SHIELD].max()),
            "energy": Field((units,), np.float64, 0.0, UNIT_TABLE[:, MAX_ENERGY].max()),
            "cooldown": Field((units,), np.float64, -1.0, LONGEST_COOLDOWN),
            "windup": Field((units,), np.float64, -1.0, UNIT_TABLE[:, DAMAGE_POINT].max()),
            "shield_timer": Field((units,), np.float64, 0.0, LONGEST),
            "target": someone,
            "engaged": Field((units,), np.bool_, False, True),
            "order": Field((agents,), np.int8, 0, 2),
            "order_point": Field((agents, 2), np.float64, -SIZE, 2 * SIZE),
            "missile_target": someone,
            "missile_timer": Field((units,), np.float64, -LONGEST, LONGEST),
            "last_attacker": someone,
            "help_timer": Field((units,), np.int16, 0, LONGEST),
            "leash_timer": Field((units,), np.int16, 0, LONGEST),
            "look_timer": Field((units,), np.int16, 0, LONGEST),
            "rest_timer": Field((units,), np.float64, 0.0, LONGEST),
            "anchor": Field((units, 2), np.float64, 0.0, SIZE),
            "attack_point": Field((2,), np.float64, 0.0, SIZE),
            "post": Field((units, 2), np.float64, -SIZE, 2 * SIZE),
            "seen": Field((units, 6), np.float32, 0.0, np.finfo(np.float32).max),
            "last_actions": Field((agents,), np.int16, -1, self.n_actions - 1),
        }

    def _option_fields(self) -> dict[str, Field]:
        """Return the fields of a world given to reset(): hp_max and shield_max must be those of the units."""
        most = UNIT_TABLE[self.map.unit_type]
        hp, shield, zero = most[:, HP], most[:, SHIELD], np.zeros(len(most))
        size, cooldown = zero + SIZE, zero + LONGEST_COOLDOWN
        high = np.stack([size, size, hp, hp, shield, shield, cooldown, most[:, MAX_ENERGY]], -1)
        low = np.stack([zero, zero, zero, hp, zero, shield, zero, zero], -1)
        agents = self.n_agents
        return {
            "ally": Field((agents, 8), np.float64, low[:agents], high[:agents]),
            "enemy": Field((self.n_enemies, 8), np.float64, low[agents:], high[agents:]),
            "last_actions": self.fields["last_actions"],
        }

    def _buffers(self, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.interface.buffers(lead)

    def _place(self, which: np.ndarray) -> None:
        """Write the kinds and the start positions of the units in the environments flagged in which [E]."""
        self.world["unit_type"][which] = self.map.unit_type
        self.world["pos"][which] = self.map.starts

    def _start(self, which: np.ndarray) -> None:
        self._place(which)
        jitter = engine.JITTER_SIZE if self.spawn_layout == "rings_jitter" else 0.0
        targets = self.map.targets or ((0.0, 0.0),)
        ends = np.array([targets[0], targets[-1]])
        engine.begin(which, engine.units_of(self.world), self._clock(), self.setup, jitter, ends, self.fresh_game)
        self._send_enemies(which, self.fresh_game)

    def _send_enemies(self, which: np.ndarray, fresh: bool) -> None:
        """Let the enemies of the environments flagged in which [E] set out; fresh: from where they are."""
        engine.set_out(which, engine.units_of(self.world), self.setup, fresh)

    def _start_from(self, start: World) -> None:
        units = np.concatenate([start["ally"], start["enemy"]], 1)
        w = self.world
        w["pos"][:] = units[..., :2]
        for name, column in (("hp", 2), ("shield", 4), ("cooldown", 6), ("energy", 7)):
            w[name][:] = units[..., column]
        w["shield"][w["hp"] == 0.0] = 0.0
        if "last_actions" in start:
            w["last_actions"][:] = start["last_actions"]
        engine.forget_all(engine.units_of(w))
        self._send_enemies(self._every_env, True)

    def _clock(self) -> engine.Clock:
        w = self.world
        return engine.Clock(w["seed"], w["episode"], w["step"], w["ended"])

    def _advance(self, running: np.ndarray, actions: np.ndarray) -> None:
        results = engine.Results(self.agent_reward, *(self.info[name] for name in engine.Results._fields[1:]))
        world, clock = engine.units_of(self.world), self._clock()
        self._share(
            lambda first, last: engine.advance(first, last, running, actions, world, clock, self.setup, results)
        )

    def _observe_into(
        self, world: World, which: np.ndarray, obs: np.ndarray, state: np.ndarray, mask: np.ndarray
    ) -> None:
        self.interface.observe_into(world, which, obs, state, mask)

    def _share(self, work: Any) -> None:
        """Do work(first, last) for ranges of environments that together are all, one range per thread."""
        parts = min(self.threads, self.num_envs)
        if parts == 1:
            work(0, self.num_envs)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads)
        bounds = [self.num_envs * k // parts for k in range(parts + 1)]
        for done in [self._pool.submit(work, *ends) for ends in pairwise(bounds)]:
            done.result()

    def _write_agent_done(self, done: np.ndarray) -> None:
        super()._write_agent_done(done)
        np.logical_or(done, self.world["hp"][:, : self.n_agents] <= 0.0, out=done)

    def _check_world(self, world: World) -> None:
        rows = [world[name] for name in self.given if name in world]
        hp = np.concatenate(rows, 1)[..., 2] if rows else world["hp"]
        if ((hp > 0.0) & (hp < LEAST_HP)).any():
            raise ValueError(f"hp must be 0 (dead) or at least {LEAST_HP}, found {hp[(hp > 0) & (hp < LEAST_HP)][0]}.")
        if rows:
            return
        most = UNIT_TABLE[world["unit_type"]]
        for name, column in (("hp", HP), ("shield", SHIELD), ("energy", MAX_ENERGY)):
            if (wrong := world[name] > most[..., column]).any():
                found, allowed = world[name][wrong][0], most[..., column][wrong][0]
                raise ValueError(f"{name} must be from 0 to {allowed}, found {found}.")
        shown = {name: world[name].copy() for name in engine.Units._fields}
        engine.show_all(engine.Units(**shown))
        if not np.array_equal(shown["seen"], world["seen"]):
            raise ValueError("seen contradicts the units: it must be their x, y, hp, shield, cooldown and energy.")


def _of(kind: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return those of the options that are fields of a NamedTuple."""
    return {name: value for name, value in options.items() if name in kind._fields}


def _with_options(method: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a method whose last argument stands for OPTIONS, these spelled out."""
    signature = inspect.signature(method)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    given = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, default in OPTIONS.items()
    ]
    return signature.replace(parameters=[*own, *given])


SMAC.__init__.__signature__ = _with_options(SMAC.__init__)  # type: ignore[attr-defined]  # for help() and keyword checks
