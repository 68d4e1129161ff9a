"""SMAC over the real StarCraft II: the same maps as the embedded engine, played by the game itself.

The 23 maps of SMAC are played through the package `smac`, the scenarios of SMACv2 through `smacv2`. Both
are imported on first use, in the process of their game (starcraft_worker.py); docs/starcraft.md says how to install
them. Observations, state, masks and the team's reward are the package's own; what is decided here:
- A win, a loss or a draw terminates, the time limit truncates (SMAC's option continuing_episode is always on).
- If the game crashes in mid-episode, SMAC starts another one; that episode is truncated with reward 0 and the outputs
  before the crash, and counted in info["game_restarts"].
- Seeds: a new game starts with the seed of its first episode, and SMACv2's units and places are a function of
  (seed, episode). The game keeps its own chance from episode to episode, so that later episodes depend on what was
  played before; with relaunch=True each reset with a seed starts a new game. StarCraft II itself promises no
  bit-for-bit repetition either way.
- smacv2 is refused for SMAC's maps: it observes them wrongly (IndexError on maps with Stalkers and Zealots, one type
  for all agents on MMM2, enemies that vanish from observations).

So far this has run against a stand-in for the packages only (tests/third_party/fake_smac.py), never against the game.
"""

import importlib.util
import math
import os
import platform
import time
import weakref
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from marl_gre_envs.checks import flag, number, one_of, whole
from marl_gre_envs.smac.maps import MAPS, RACE_AND_SIZE, RACES
from marl_gre_envs.starcraft_worker import Game, stop
from marl_gre_envs.stored import StoredOutputs

GAME_URL = "https://blzdistsc2-a.akamaihd.net/Linux/SC2.4.10.zip"
GAME_FOLDERS = {"Darwin": "/Applications/StarCraft II", "Windows": "C:/Program Files (x86)/StarCraft II"}
COUNTERS = ("battle_won", "dead_allies", "dead_enemies", "episode_limit", "game_restarts")


class Package(NamedTuple):
    """A package that plays StarCraft II: its class, where it and its maps come from, and one of these maps."""

    env_class: str
    url: str
    maps_url: str
    map_file: str


PACKAGES = {
    "smac": Package(
        "smac.env:StarCraft2Env",
        "git+https://github.com/oxwhirl/smac.git",
        "https://github.com/oxwhirl/smac/releases/download/v0.1-beta1/SMAC_Maps.zip",
        "3m",
    ),
    "smacv2": Package(
        "smacv2.env.starcraft2.wrapper:StarCraftCapabilityEnvWrapper",
        "git+https://github.com/oxwhirl/smacv2.git",
        "https://github.com/oxwhirl/smacv2/releases/download/maps/SMAC_Maps.zip",
        "32x32_flat",
    ),
}


def vector_env(
    map_name: str = "3s5z",
    num_envs: int = 1,
    autoreset: bool = True,
    *,
    env_class: str | None = None,
    strict: bool = False,
    relaunch: bool = False,
    step_timeout_s: float = 120.0,
    start_timeout_s: float = 300.0,
    **smac_options: Any,
) -> "StarCraft":
    """Return a batch of games on a SMAC map or SMACv2 scenario, each a StarCraft II process, stepped in parallel.

    The games start at the first reset.

    Args:
        map_name: one of SMAC's 23 maps or of SMACv2's scenarios (smac/maps.py).
        num_envs: number of games, 1 or more; each needs about 1 GB of memory.
        autoreset: whether an environment restarts by itself when its episode ends.
        env_class: "package.module:Class" with the interface of SMAC's StarCraft2Env, instead of the installed
            package's.
        strict: raise on illegal actions instead of replacing them by no-op or stop.
        relaunch: start a new game (many seconds) at each reset with a seed, not at the first one only.
        step_timeout_s: time limit of a step, including a new game after a crash [s].
        start_timeout_s: time limit of starting a process or an episode [s].
        smac_options: keyword arguments of StarCraft2Env, such as reward_sparse, obs_last_action, game_version.

    Raises:
        ValueError: unknown map or keyword, a value cannot be used, or the package cannot start.
        ImportError: the package, the game or maps are missing; the message lists them and how to install them.
    """
    package, options = _package_and_options(map_name, smac_options)
    if env_class is None:
        if lacking := missing(package, map_name if package == "smac" else None):
            raise ImportError(
                f"{map_name} over StarCraft II needs {'; '.join(lacking)}. See docs/starcraft.md, or use "
                'backend="embedded".'
            )
        env_class = PACKAGES[package].env_class
    _check_class(env_class, package, map_name)
    return StarCraft(
        map_name, env_class, options, num_envs, autoreset, strict, relaunch, step_timeout_s, start_timeout_s
    )


def missing(package: str, map_name: str | None = None) -> list[str]:
    """Return what a package ("smac", "smacv2") lacks to play, each with the step that installs it; [] means ready.

    Nothing is imported or started.

    Args:
        package: a key of PACKAGES.
        map_name: the map to look for; by default one that comes with the package.
    """
    found = PACKAGES[package]
    lacking = [problem] if (problem := _package_problem(package)) else []
    if importlib.util.find_spec("pysc2") is None:
        lacking.append("the package pysc2 (pip install pysc2)")
    folder = game_folder()
    if not (folder / "Versions").is_dir():
        lacking.append(
            f"StarCraft II in {folder} (Linux: unpack {GAME_URL} with Blizzard's licence as password, "
            "iagreetotheeula, and set SC2PATH to its folder StarCraftII; elsewhere: Battle.net)"
        )
    maps = folder / "Maps" / "SMAC_Maps"
    if not (maps / f"{map_name or found.map_file}.SC2Map").is_file():
        lacking.append(f"the map {map_name or found.map_file} in {maps} (from {found.maps_url})")
    return lacking


def game_folder() -> Path:
    """Return the folder of the game: SC2PATH, or the platform's usual folder."""
    return Path(os.environ.get("SC2PATH") or GAME_FOLDERS.get(platform.system(), "~/StarCraftII")).expanduser()


class StarCraft(StoredOutputs):
    """StarCraft II games behind the VectorEnv interface; see `vector_env`.

    Further info, each [E] and kept while an environment is frozen: battle_won, episode_limit, dead_allies, dead_enemies
    (-1 where the package does not count them), game_restarts.
    """

    backend: ClassVar[str] = "starcraft"
    shared_reward: ClassVar[bool] = True
    obs_low, obs_high = state_bounds = -math.inf, math.inf  # cooldowns exceed 1, SMACv2 has more of its own
    _members: list[Game]

    def __init__(
        self,
        map_name: str,
        env_class: str,
        options: dict[str, Any],
        num_envs: int,
        autoreset: bool,
        strict: bool,
        relaunch: bool,
        step_timeout_s: float,
        start_timeout_s: float,
    ):
        self.map_name = map_name
        self.num_envs = whole("num_envs", num_envs, 1, 2**10)
        self.autoreset = flag("autoreset", autoreset)
        self.strict = flag("strict", strict)
        self.relaunch = flag("relaunch", relaunch)
        self.step_timeout_s = number("step_timeout_s", step_timeout_s, 0.1)
        self.start_timeout_s = number("start_timeout_s", start_timeout_s, 0.1)
        self._members = []
        self._stop = weakref.finalize(self, stop, self._members)  # also when it is forgotten, and at exit
        try:
            for _ in range(self.num_envs):
                self._members.append(Game(env_class, options))
            sizes = list(self._exchange({}, set(range(self.num_envs)), self.start_timeout_s).values())
        except Refused as refused:
            raise ValueError(f"{map_name} cannot be played by {env_class}: {refused}.") from None
        self._take_sizes(sizes[0])
        self._allocate(COUNTERS)

    def reset(self, seed: Any = None, options: dict[str, Any] | None = None) -> None:
        """See VectorEnv.reset; the game cannot start from a given world."""
        if given := [name for name in ("ally", "enemy", "last_actions") if name in (options or {})]:
            raise ValueError(f'option {given[0]!r}: StarCraft II starts from its map only; use backend="embedded".')
        super().reset(seed, options)

    def close(self) -> None:
        """Close the games; safe to call twice."""
        self._stop()

    def __reduce__(self) -> Any:
        """Refuse to be pickled."""
        raise TypeError("StarCraft II games run in processes of their own and cannot be pickled or copied.")

    def _take_sizes(self, sizes: dict[str, int]) -> None:
        self.n_agents, self.n_actions = sizes["n_agents"], sizes["n_actions"]
        self.obs_dim, self.state_dim = sizes["obs_shape"], sizes["state_shape"]
        self.episode_limit = sizes["episode_limit"]
        self.agents = [f"agent_{i}" for i in range(self.n_agents)]
        moves = ["no-op", "stop", "north", "south", "east", "west"]
        attacks = [f"attack_{i}" for i in range(sizes["n_enemies"])]
        looks = [f"look_{i}" for i in range(self.n_actions - len(moves) - len(attacks))]  # SMACv2's conic_fov
        self.action_names = moves + looks + attacks

    def _begin(self, starts: dict[int, tuple[int, int]], options: dict[str, Any] | None) -> None:
        for index, (seed, episode) in starts.items():
            self._members[index].start(seed, episode)
        requests = {i: ("reset", *start, self.relaunch and start[1] == 0) for i, start in starts.items()}
        for index, answer in self._exchange(requests, set(requests), self.start_timeout_s).items():
            self._write(index, answer)

    def _play(self, running: list[int], actions: np.ndarray) -> None:
        requests = {index: ("step", actions[index].tolist()) for index in running}
        for index, answer in self._exchange(requests, set(requests), self.step_timeout_s).items():
            crashed = "restarted" in answer
            self.info["game_restarts"][index] = crashed
            if crashed:
                self.terminated[index], self.truncated[index] = False, True  # the episode before may have terminated
                self.info["battle_won"][index] = self.info["episode_limit"][index] = 0
                self.info["agent_done"][index] = True
            else:
                self._write(index, answer)
                self._write_step(index, answer)
            self._members[index].running = not (self.terminated[index] or self.truncated[index])

    def _write(self, index: int, answer: dict[str, Any]) -> None:
        """Put one environment's observations, state and masks into the buffers, if they are what they should be."""
        for name in self.observed:
            target, found = self.world[name][index], answer[name]
            if found.shape != target.shape or found.dtype.kind not in "biuf":
                self._fail(index, f"{name} is {found.dtype} {found.shape}, expected {target.shape}")
            if not np.isfinite(found).all():
                self._fail(index, f"{name} holds NaN or infinity", FloatingPointError)
            target[...] = found
        mask = answer["action_mask"]
        if not (np.isin(mask, (0, 1)).all() and mask.any(-1).all()):
            self._fail(index, "action_mask holds something else than 0 and 1, or leaves an agent no legal action")

    def _write_step(self, index: int, answer: dict[str, Any]) -> None:
        """Put reward, flags and info of one environment's step into the buffers."""
        if not math.isfinite(answer["reward"]):
            self._fail(index, f"the reward is {answer['reward']}", FloatingPointError)
        self.reward[index] = self.agent_reward[index] = answer["reward"]
        self.truncated[index] = answer["episode_limit"]
        self.terminated[index] = answer["terminated"] and not answer["episode_limit"]
        dead = self.action_mask[index, :, 0] == 1  # the no-op is for the dead
        self.info["agent_done"][index] = dead | answer["terminated"]
        self.info["dead_allies"][index] = dead.sum()
        for name in ("battle_won", "dead_enemies", "episode_limit"):
            self.info[name][index] = answer[name]

    def _exchange(self, requests: dict[int, tuple], expected: set[int], timeout_s: float) -> dict[int, dict[str, Any]]:
        """Send requests to games, then wait for the answers of all expected ones, together at most timeout_s."""
        if not self._stop.alive:
            raise RuntimeError("the StarCraft II games of this environment are closed: make it anew.")
        deadline = time.monotonic() + timeout_s
        try:
            for index, request in requests.items():
                self._send(index, request)
            return {index: self._answer(index, deadline, timeout_s) for index in sorted(expected)}
        except BaseException:  # also Ctrl-C: an answer that nobody waits for would be taken for the next one
            self._kill()
            raise

    def _send(self, index: int, request: tuple) -> None:
        try:
            self._members[index].channel.send(request)
        except OSError:
            self._fail(index, self._members[index].how_it_ended())

    def _answer(self, index: int, deadline: float, timeout_s: float) -> dict[str, Any]:
        game = self._members[index]
        try:
            kind, *content = game.channel.receive(deadline)
        except TimeoutError:
            self._fail(index, f"no answer within {timeout_s:g} s")
        except (EOFError, ConnectionError):
            # A new process imports the main script, and must not make an environment there.
            hint = "" if game.episode >= 0 else '; a script that makes it needs `if __name__ == "__main__":`'
            self._fail(index, game.how_it_ended() + hint)
        except Exception as error:  # what unpickling garbage raises is anybody's guess
            self._fail(index, f"its answer cannot be read ({type(error).__name__}: {error})")
        if kind == "failed":
            self._fail(index, content[0])
        return content[0]

    def _fail(self, index: int, reason: str, error: type[Exception] = RuntimeError) -> None:
        game = self._members[index]
        self._kill()
        if game.episode < 0:
            raise Refused(reason)
        where = f"seed {game.seed}, episode {game.episode}, step {game.steps}"
        raise error(f"StarCraft II worker {index} ({self.map_name}, {where}) failed: {reason}; all games are closed.")

    def _kill(self) -> None:
        if self._stop.detach():
            stop(self._members, grace_s=0.0)


class Refused(Exception):
    """A worker could not start."""


def _package_and_options(map_name: str, smac_options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the package that plays a map or scenario, and the keywords of its class."""
    if smac_options.pop("continuing_episode", True) is not True:
        raise ValueError("continuing_episode is always on here, to tell the time limit from a defeat: leave it out.")
    if "seed" in smac_options:
        raise ValueError("seed is not an option of the environment: pass it to reset().")
    if map_name in MAPS:
        return "smac", {"map_name": map_name, "continuing_episode": True, **smac_options}
    if map_name not in RACE_AND_SIZE:
        raise ValueError(one_of("map_name", map_name, [*MAPS, *RACE_AND_SIZE]))
    race, allies, enemies = RACE_AND_SIZE[map_name]
    weights, exceptions = RACES[race]
    capabilities = {
        "n_units": allies,
        "n_enemies": enemies,
        "team_gen": {
            "dist_type": "weighted_teams",
            "unit_types": list(weights),
            "weights": list(weights.values()),
            "exception_unit_types": list(exceptions),
            "observe": True,
        },
        "start_positions": {"dist_type": "surrounded_and_reflect", "p": 0.5, "map_x": 32, "map_y": 32},
    }
    defaults = {"obs_own_pos": True, "use_unit_ranges": True, "min_attack_range": 2, "capability_config": capabilities}
    return "smacv2", {"map_name": f"10gen_{race}", "continuing_episode": True, **defaults, **smac_options}


def _check_class(env_class: str, package: str, map_name: str) -> None:
    """Raise unless a class may play a map or scenario."""
    module, _, name = str(env_class).partition(":")
    if not (module and name):
        raise ValueError(f'env_class must be "package.module:Class", found {env_class!r}.')
    owner = module.partition(".")[0]
    if owner == "smacv2" and package == "smac":
        raise ValueError(f"smacv2 observes SMAC's maps wrongly: play {map_name} with smac, or a scenario of SMACv2.")
    if owner == "smac" and package == "smacv2":
        raise ValueError(f"smac has no random units: play {map_name} with smacv2, or a map of SMAC.")


def _package_problem(package: str) -> str | None:
    """Return why a package cannot be used, None where it can."""
    url = PACKAGES[package].url
    spec = importlib.util.find_spec(package)
    if spec is None:
        warning = "; the smac on PyPI is another project" if package == "smac" else ""
        return f"the package {package} (pip install {url}{warning})"
    folders = [Path(place) / "env" / "starcraft2" for place in spec.submodule_search_locations or []]
    if not any((folder / "starcraft2.py").is_file() for folder in folders):
        return (
            f"the StarCraft package {package}, but the one installed in {spec.origin} is another project (PyPI's smac "
            f"optimises hyperparameters): pip uninstall {package}, then pip install {url}"
        )
    if package == "smac" and any((folder / "distributions.py").is_file() for folder in folders):
        return (
            f"SMAC 1, but the smac installed in {spec.origin} is an early SMACv2, which observes SMAC's maps wrongly: "
            f"pip uninstall smac, then pip install {url}"
        )
    return None
