"""Recordings of the real game: their format, where they come from, and the engine set to a recorded moment.

The recordings are not part of this repository. Whoever wants the comparisons that need them gets the sources from the
public repositories named in benchmarks/reference/real_game.yaml (`sources`), converts them to the NumPy files described
here, and names their folder with --recordings:

    git clone https://github.com/LAMDA-RL/ODIS && cd ODIS && git checkout 5f943fa          # dataset/3m/medium
    git clone https://github.com/miruyoun/PyMARL_RL_Project && git checkout b901bde        # replays/*.SC2Replay
    git clone https://github.com/Togmm/pymarl-monotone-qmix && git checkout 4bc1799        # analysis_data/smacv1

Battles (`3m_episodes.npz`, `5m_vs_6m_*.npz`), K episodes of up to T steps, in SMAC's numbering; a single episode has no
axis K. Index t is the moment before action t, positions are map units, cooldowns game loops; ODIS's datasets hold
them in SMAC's observations and states, scaled:

| array | shape | holds |
|---|---|---|
| `ally_pos`, `enemy_pos` | [K, T+1, A or N, 2] | x and y; anything where a unit is dead |
| `ally_hp`, `enemy_hp` | [K, T+1, A or N] | hit points, 0 = dead |
| `ally_cd` | [K, T+1, A] | cooldowns; may be missing |
| `actions` | [K, T, A] | SMAC's ids, -1 past the end |
| `length` | [K] | steps played; T where it is missing |

Replays (`MAP_replay_*.npz`), decoded from .SC2Replay files, in creation order:

| array | shape | holds |
|---|---|---|
| `order` | [K, T, A] | 0 none, 1 stop, 2 to 5 move north, south, east, west, 6 attack, 7 heal, 9 unresolved |
| `target` | [K, T, A] | index of the enemy (6) or ally (7) |
| `loops` | [K, T] | the game loop of each step |
| `length` | [K] | steps played |
| `ally_pos`, `enemy_pos` | [K, T+1, A or N, 2] | positions where an order reveals them, else NaN |
| `ally_death_loop`, `enemy_death_loop` | [K, A or N] | the loop of a unit's death, -1 = it lives |
| `ally_birth_cell`, `enemy_birth_cell` | [K, A or N, 2] | whole x and y of where a unit was created |
| `ally_type`, `enemy_type` | [A or N] | "Marine", "Zealot", ... |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from marl_gre.errors import BadInput
from marl_gre_envs.smac.interface import NOOP, STOP
from marl_gre_envs.vector import VectorEnv, World

ATTACK = 6
HEAL = 7


@dataclass(frozen=True)
class Battles:
    """K episodes of up to T steps; units are agents first, then enemies, index t is the moment before action t."""

    pos: np.ndarray  # [K, T+1, A+N, 2]
    hp: np.ndarray  # [K, T+1, A+N], 0 = dead
    cooldown: np.ndarray | None  # the agents' [K, T+1, A], in loops
    actions: np.ndarray  # [K, T, A], -1 past the end
    length: np.ndarray  # [K]
    n_agents: int

    def repeated(self, times: int) -> "Battles":
        """Return every episode `times` times."""
        return self.mapped(lambda values: np.repeat(values, times, 0))

    def first(self, count: int) -> "Battles":
        """Return the first `count` episodes."""
        return self.mapped(lambda values: values[:count])

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> "Battles":
        """Return the episodes with every array changed."""
        return Battles(
            pos=change(self.pos),
            hp=change(self.hp),
            cooldown=None if self.cooldown is None else change(self.cooldown),
            actions=change(self.actions),
            length=change(self.length),
            n_agents=self.n_agents,
        )


@dataclass(frozen=True)
class Replay:
    """K episodes of a replay file, in creation order; fields as in the module's description."""

    map_name: str
    order: np.ndarray
    target: np.ndarray
    loops: np.ndarray
    length: np.ndarray
    ally_pos: np.ndarray
    enemy_pos: np.ndarray
    ally_death_loop: np.ndarray
    enemy_death_loop: np.ndarray
    ally_birth_cell: np.ndarray
    enemy_birth_cell: np.ndarray
    ally_type: np.ndarray
    enemy_type: np.ndarray

    def repeated(self, times: int) -> "Replay":
        """Return every episode `times` times."""
        same = ("map_name", "ally_type", "enemy_type")
        again: dict[str, Any] = {name: np.repeat(v, times, 0) for name, v in vars(self).items() if name not in same}
        return replace(self, **again)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a NumPy file.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name != "meta"}
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); a file of NumPy arrays (.npz) is needed.") from error


def load_battles(path: Path) -> Battles:
    """Return the episodes of a file.

    Raises:
        BadInput: it cannot be read or an array is missing.
    """
    found = arrays_of(path)
    _need(path, found, ("ally_pos", "enemy_pos", "ally_hp", "enemy_hp", "actions"))
    if found["actions"].ndim == 2:
        found = {name: values[None] for name, values in found.items()}
    hp = np.concatenate([found["ally_hp"], found["enemy_hp"]], 2).astype(float)
    return Battles(
        pos=np.nan_to_num(np.concatenate([found["ally_pos"], found["enemy_pos"]], 2).astype(float)),
        hp=np.maximum(np.nan_to_num(hp), 0.0),
        cooldown=np.nan_to_num(found["ally_cd"].astype(float)) if "ally_cd" in found else None,
        actions=found["actions"].astype(np.int64),
        length=found["length"].astype(int) if "length" in found else np.full(len(hp), found["actions"].shape[1]),
        n_agents=found["ally_hp"].shape[2],
    )


def load_replay(path: Path) -> Replay:
    """Return a replay file; its name begins with the map's.

    Raises:
        BadInput: it cannot be read or an array is missing.
    """
    found = arrays_of(path)
    names = [name for name in Replay.__dataclass_fields__ if name != "map_name"]
    _need(path, found, names)
    return Replay(map_name=path.name.partition("_replay_")[0], **{name: found[name] for name in names})


def _need(path: Path, found: dict[str, np.ndarray], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in found]:
        raise BadInput(f"{path}: lacks the array {missing[0]!r}; benchmarks/smac_validation/recordings.py lists them.")


def numbered_as(battles: Battles, starts: np.ndarray) -> Battles:
    """Return the episodes with their enemies numbered as the engine's: each as the one that starts nearest.

    The game permutes the numbers of equal enemies from episode to episode, and the engine's formation goes with them.

    Args:
        battles: K episodes with enemies of one kind.
        starts: where the engine's enemies start in each episode [K, N, 2].
    """
    agents, pos, hp, actions = battles.n_agents, battles.pos.copy(), battles.hp.copy(), battles.actions.copy()
    for k, wanted in enumerate(starts):
        apart = np.linalg.norm(wanted[:, None] - pos[k, 0, agents:][None], axis=-1)  # [engine's, recorded]
        _, recorded = linear_sum_assignment(apart)
        pos[k, :, agents:] = battles.pos[k][:, agents + recorded]
        hp[k, :, agents:] = battles.hp[k][:, agents + recorded]
        attacks = battles.actions[k] >= ATTACK
        actions[k][attacks] = ATTACK + np.argsort(recorded)[battles.actions[k][attacks] - ATTACK]
    return replace(battles, pos=pos, hp=hp, actions=actions)


def put_units(
    env: VectorEnv,
    pos: np.ndarray,
    hp: np.ndarray,
    cooldown: np.ndarray | None,
    which: np.ndarray,
    step: np.ndarray | None = None,
) -> None:
    """Set the units of the copies `which` [E] to recorded places, hit points and cooldowns.

    What units aim at, the enemies' cooldowns and all else stays the engine's, but for targets that are dead.

    Args:
        env: E copies of a map.
        pos, hp: of all units [E, U, 2], [E, U].
        cooldown: the agents' in loops [E, A]; None leaves the engine's.
        which: the copies that are set; units aim at nobody in the others.
        step: the moment of each copy [E]; units aim at nobody then. None goes on with the episode.
    """
    world: World = env.get_world()
    alive = which[:, None] & (hp > 0)
    world["pos"] = np.where(alive[..., None], pos, world["pos"])
    world["hp"] = np.where(which[:, None], hp, world["hp"])
    if cooldown is not None:
        agents = cooldown.shape[1]
        world["cooldown"][:, :agents] = np.where(alive[:, :agents], cooldown, world["cooldown"][:, :agents])
    lost = np.take_along_axis(world["hp"], np.maximum(world["target"], 0).astype(np.int64), 1) <= 0
    world["target"][lost | ~which[:, None] | (step is not None)] = -1
    world["windup"][world["target"] < 0] = -1.0
    if step is not None:
        world["step"][:] = step
    ready_in = np.maximum(world["cooldown"], 0.0) + np.maximum(world["windup"], 0.0)  # as agents see it
    shown = (world["pos"][..., 0], world["pos"][..., 1], world["hp"], world["shield"], ready_in, world["energy"])
    world["seen"] = np.stack(shown, -1).astype(np.float32)
    env.set_world(world)


def legal_or_idle(wanted: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return actions [E, A] and whether each was legal: stop in an illegal one's place, no-op for the dead."""
    wanted = np.maximum(wanted, 0)
    legal = np.take_along_axis(mask, wanted[..., None], 2)[..., 0] > 0
    return np.where(legal, wanted, np.where(mask[..., NOOP] > 0, NOOP, STOP)), legal
