"""A stand-in of the interface of SMAC's StarCraft2Env and SMACv2's wrapper, with their quirks and, on demand, faults.

Inside is a toy battle on a line. Its chance comes from one generator that is made when "the game" starts and goes on
from episode to episode, as StarCraft II's does.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# agents, enemies, limit, shield bits of allies and enemies, type bits (SMAC's own numbers)
MAPS = {
    "3m": (3, 3, 60, 0, 0, 0),
    "3s_vs_5z": (3, 5, 250, 1, 1, 0),
    "2s3z": (5, 5, 120, 1, 1, 2),
    "MMM2": (10, 12, 180, 0, 0, 3),
    "10gen_protoss": (10, 10, 200, 1, 1, 3),
    "10gen_terran": (10, 10, 200, 0, 0, 3),
}
STOP, NORTH, SOUTH, EAST, WEST = 1, 2, 3, 4, 5
REACH, LENGTH, HEALTH = 6, 10, 3


class StarCraft2Env:
    def __init__(
        self,
        map_name="8m",
        seed=None,
        continuing_episode=False,
        obs_timestep_number=False,
        reward_sparse=False,
        reward_win=200,
        n_units=None,
        limit=None,
        fault=None,  # what goes wrong, in the game made with fault_seed, from fault_step of fault_episode on
        fault_seed=None,
        fault_step=3,
        fault_episode=0,
        process_folder=None,  # start a process, as the game is one, and leave a file named after it
    ):
        self.n_agents, self.n_enemies, self.episode_limit, self.sa, self.se, self.u = MAPS[map_name]
        if n_units:
            self.n_agents, self.n_enemies = n_units
        self.episode_limit = limit or self.episode_limit
        self.n_actions = 6 + self.n_enemies
        self.continuing_episode = continuing_episode
        self.obs_timestep_number = obs_timestep_number
        self.reward_sparse, self.reward_win = reward_sparse, reward_win
        self.max_reward = self.n_enemies * 10 + reward_win
        self.fault = fault if fault_seed in (None, seed) else None
        self.fault_step, self.fault_episode = fault_step, fault_episode
        self.process_folder = process_folder
        self._seed = seed
        self._episode_count = self._episode_steps = 0
        self.force_restarts = 0
        self._rng = self._process = None
        if fault == "cannot start":
            raise KeyError("no such\nmap")

    def _launch(self):
        assert self._rng is None, "a second game is started, and the first one is lost"
        self._rng = np.random.default_rng(self._seed)
        if self.process_folder:
            self._process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            Path(self.process_folder, str(self._process.pid)).touch()

    def full_restart(self):
        self.close()
        self._launch()
        self.force_restarts += 1

    def reset(self):
        self._episode_steps = 0
        if self._episode_count == 0:
            self._launch()
        if self.fault == "crash at reset" and self._episode_count == self.fault_episode:
            self.full_restart()
        self.x = self._rng.integers(3, size=self.n_agents)
        self.y = np.zeros(self.n_agents, int)
        self.health = np.full(self.n_agents, HEALTH)
        self.enemy_health = np.full(self.n_enemies, HEALTH)
        if self._episode_count == 0:
            self.max_reward += int(self.enemy_health.sum())
        return self.get_obs(), self.get_state()

    def step(self, actions):
        if self._faulty() and (broken := self._break_down()):
            return broken
        for agent, action in enumerate(actions):
            assert self.get_avail_agent_actions(agent)[action] == 1, f"Agent {agent} cannot perform action {action}"
        self._episode_steps += 1
        reward = 0.0
        for agent, action in enumerate(actions):
            self.x[agent] += (action == EAST) - int(action == WEST)
            self.y[agent] += (action == NORTH) - int(action == SOUTH)
            if action > WEST and self.enemy_health[action - 6] > 0 and self._rng.random() < 0.3:
                self.enemy_health[action - 6] -= 1
                reward += 1 + 10 * int(self.enemy_health[action - 6] == 0)
        for _ in np.flatnonzero(self.enemy_health):
            living = np.flatnonzero(self.health)
            if living.size and self._rng.random() < 0.08:
                self.health[self._rng.choice(living)] -= 1
        won, lost = not self.enemy_health.any(), not self.health.any()
        info = {"battle_won": False, "dead_allies": int((self.health == 0).sum())}
        info["dead_enemies"] = int((self.enemy_health == 0).sum())
        terminated = won or lost
        if won and not lost:
            info["battle_won"] = True
            reward += self.reward_win
        elif not terminated and self._episode_steps >= self.episode_limit:
            terminated = True
            if self.continuing_episode:
                info["episode_limit"] = True
        self._episode_count += terminated
        return reward / (self.max_reward / 20), terminated, info

    def get_obs(self):
        size = self.get_obs_size() - self.obs_timestep_number
        rows = []
        for agent in range(self.n_agents):
            row = np.zeros(size, np.float32)
            if self.health[agent] > 0:
                mask = self.get_avail_agent_actions(agent)
                row[:4] = mask[2:6]
                row[4 : 4 + self.n_enemies] = mask[6:]
                row[-1] = self.health[agent] / HEALTH
            if self.obs_timestep_number:  # SMAC adds a zero of its own before the time
                row = np.append(row, [0, self._episode_steps / self.episode_limit]).astype(np.float32)
            rows.append(row)
        if self._faulty() and self.fault == "nan":
            rows[0][2] = np.nan
        return rows[:-1] if self._faulty() and self.fault == "agent lost" else rows

    def get_state(self):
        state = np.zeros(self.get_state_size(), np.float32)
        values = np.concatenate([self.health / HEALTH, self.x / LENGTH, self.y / LENGTH, self.enemy_health / HEALTH])
        state[: values.size] = values
        return state[:-1] if self._faulty() and self.fault == "short state" else state

    def get_obs_size(self):
        a, n, own = self.n_agents, self.n_enemies, 1 + self.sa + self.u
        return 4 + n * (5 + self.se + self.u) + (a - 1) * (4 + own) + own + self.obs_timestep_number

    def get_state_size(self):
        a, n = self.n_agents, self.n_enemies
        return a * (4 + self.sa + self.u) + n * (3 + self.se + self.u) + a * self.n_actions

    def get_avail_agent_actions(self, agent_id):
        if self._faulty() and self.fault == "no action":
            return [0] * self.n_actions
        if self.health[agent_id] == 0:
            return [1] + [0] * (self.n_actions - 1)
        x, y = self.x[agent_id], self.y[agent_id]
        attack = [int(health > 0 and LENGTH - x <= REACH) for health in self.enemy_health]
        return [0, 1, int(y < 2), int(y > -2), int(x < LENGTH), int(x > 0), *attack]

    def get_env_info(self):
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.n_actions,
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def close(self):
        if self.fault == "slow to close" and self._rng is not None:
            time.sleep(600)
        if self._process:
            self._process.kill()
            self._process.wait()
        self._rng = self._process = None

    def _faulty(self):
        return (
            self.fault is not None
            and (self._episode_count, self._episode_steps) >= (self.fault_episode, self.fault_step - 1)
            and self._rng is not None
        )

    def _break_down(self):
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.fault == "frozen":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.fault == "hangs":
            time.sleep(600)
        elif self.fault == "exits":
            sys.exit(3)
        elif self.fault == "raises":
            raise RuntimeError("something\nwent wrong")
        elif self.fault == "game crashes":
            self.fault = None
            self.full_restart()
            return 0, True, {}  # what SMAC gives then
        elif self.fault == "bad reward":
            return np.inf, False, {}
        return None


class TeamDistribution:
    """Draws the kind of each unit, half with a generator of its own, half with Python's."""

    def __init__(self, n_units):
        self.n_units = n_units
        self.rng = np.random.default_rng()

    def generate(self):
        team = list(self.rng.integers(3, size=self.n_units))
        random.shuffle(team)
        return team


class PlaceDistribution:
    """Draws places; its generator is one level down."""

    def __init__(self, n_units):
        self.inner = TeamDistribution(n_units)

    def generate(self):
        return self.inner.generate()


class StarCraftCapabilityEnvWrapper:
    def __init__(self, **kwargs):
        config = kwargs.pop("capability_config")
        config["team_gen"]["env_key"] = "team_gen"  # SMACv2 writes into what it was given
        self.config = config
        units = config["n_units"], config["n_enemies"]
        self.env_key_to_distribution_map = {
            "team_gen": TeamDistribution(units[0]),
            "start_positions": PlaceDistribution(units[0]),
        }
        for name in ("obs_own_pos", "use_unit_ranges", "min_attack_range"):
            kwargs.pop(name)
        self.env = StarCraft2Env(n_units=units, **kwargs)

    def reset(self):
        outputs = self.env.reset()
        for name, source in self.env_key_to_distribution_map.items():
            self.drawn = getattr(self, "drawn", {}) | {name: source.generate()}
        return outputs

    def get_state(self):
        state = self.env.get_state()
        drawn = [kind for kinds in self.drawn.values() for kind in kinds]
        state[-len(drawn) :] = drawn
        return state

    def __getattr__(self, name):
        return getattr(self.env, name)
