"""The training schedule, PyMARL's: one run of one algorithm on one environment with one seed.

A round is one episode, then one gradient step once the replay holds a batch (`train.episodes_per_round` and
`updates_per_round` raise either number); a greedy test whenever a multiple of `test_interval_steps` is reached, the
first before any training.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from marl_gre import metrics
from marl_gre.config import RunConfig
from marl_gre.credit import entropy_statistics, gradient_entropies
from marl_gre.data import Batch, Episode, collate
from marl_gre.errors import NonFinite
from marl_gre.learner import Learner, Update
from marl_gre.metrics import ENTROPY, QUANTILES, TESTS, TRAINING, Means, Row
from marl_gre.networks import Networks, blamed_on, build, pick_device
from marl_gre.policy import Policy, epsilon_at
from marl_gre.replay import Replay
from marl_gre.rollout import close, make_env, play, play_greedily, win_rate
from marl_gre.seeding import Purpose, episode_seed, rng
from marl_gre.storage.run_dir import SCHEMA
from marl_gre.storage.weights import tensors_of
from marl_gre_envs.vector import VectorEnv

LAST_TESTS = 5
"""Number of last tests whose mean is `final_return`."""


class Trainer:
    """The complete state of a training run, advanced one round at a time."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.device = pick_device(config.train.device)
        with contextlib.ExitStack() as opened:  # environments are closed if the rest cannot be made
            self.env = make_env(config.env_key, config.env, config.train.episodes_per_round)
            opened.callback(close, self.env)
            copies = min(config.env.test_episodes, config.env.test_copies)
            self.test_env = make_env(config.env_key, config.env, copies)
            opened.callback(close, self.test_env)
            networks = build(config, self.env)
            self.learner = make_learner(config, networks, self.device)
            self.more_metrics = metrics.find(config.metrics)
            self._environments = opened.pop_all()
        self.policy = Policy(networks.agent)
        self.replay = Replay(config.train.replay_episodes)
        self.env_steps = self.episodes = self.updates = 0
        self.test_due = self.entropy_due = 0
        self.tests: list[Row] = []
        self.entropies: list[Row] = []
        self.training: list[Row] = []
        self.means = Means()  # of what happened since the last row of `training`
        self.failed_batch: Batch | None = None  # what an update failed on

    def close(self) -> None:
        """Close the environments."""
        self._environments.close()

    def run(self) -> Iterator[str]:
        """Train from the current state to the end; yield a short note after every round."""
        parts = self.config.algorithm.third_parties
        if not self.tests:
            with blamed_on(parts):
                self.test_if_due()
        while self.env_steps < self.config.env.total_steps:
            with blamed_on(parts):
                self.round()
            yield self.note()

    def round(self) -> None:
        """Play the episodes of a round, update, and test when due."""
        self.play_round()
        if len(self.replay) >= self.config.train.batch_episodes:
            for _ in range(self.config.train.updates_per_round):
                self.update()
        self.episodes += self.config.train.episodes_per_round
        self.test_if_due()

    def play_round(self) -> None:
        """Play the episodes of a round with exploration and add them to the replay."""
        seed, env = self.config.seed, self.env
        numbers = range(self.episodes, self.episodes + env.num_envs)
        shape = (env.episode_limit, 2, 1, env.n_agents)
        noise = np.concatenate([rng(seed, Purpose.EXPLORE, number).random(shape) for number in numbers], axis=2)
        epsilon = epsilon_at(self.env_steps, self.config.train)  # fixed within an episode, as in PyMARL
        seeds = [episode_seed(seed, Purpose.ENV, number) for number in numbers]
        for episode in play(env, self.policy, seeds, epsilon, noise):
            self.replay.add(episode)
            self.env_steps += episode.length
            self.means.add(of_episode(episode, epsilon))

    def update(self) -> None:
        """Take one gradient step, and measure the entropy when due."""
        train = self.config.train
        sampled = self.replay.sample(train.batch_episodes, rng(self.config.seed, Purpose.REPLAY, self.updates))
        batch = collate(sampled, self.env, train.timeout_is_terminal).to(self.device)
        try:
            update = self.learner.update(batch)
        except NonFinite as error:
            self.failed_batch = batch
            inputs = {"observations": batch.obs, "state": batch.state, "reward": batch.reward}
            spoilt = [name for name, values in inputs.items() if not torch.isfinite(values).all()]
            side = f"the environment's {spoilt[0]}" if spoilt else "the model"
            raise NonFinite(f"found numbers that are not finite in {side}: {error}") from error
        self.learner.maybe_update_targets(self.episodes)
        self.updates += 1
        self.means.add(of_update(update))
        if self.config.algorithm.central is not None:
            self.means.add({metrics.CENTRAL_LOSS: update.central_loss})
        interval = self.config.env.entropy_interval_steps
        if self.env_steps >= self.entropy_due:
            due = self.env_steps // interval * interval
            statistics = {
                name: entropy_statistics(entropy)
                for name, entropy in gradient_entropies(self.learner.networks, batch).items()
            }
            self.entropies.append(entropy_row(due, self.env_steps, self.updates, statistics))
            self.entropy_due = due + interval
        # last: a metric of a third party may write into the batch
        self.means.add(metrics.measure(self.more_metrics, update, batch))

    def test_if_due(self) -> None:
        """Play the greedy test at every multiple of the interval and at the end, and record the training up to it."""
        total, interval = self.config.env.total_steps, self.config.env.test_interval_steps
        ended = self.env_steps >= total
        if self.env_steps < self.test_due and not ended:
            return
        due = total if ended else self.env_steps // interval * interval
        self.test_due = due + interval
        counters: dict[str, int | float] = {
            "due_steps": due,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
        }
        self.tests.append(counters | greedy_test(self.config, self.test_env, self.policy))
        if self.episodes:
            names = [*metrics.columns(TRAINING), *self.more_metrics]
            if self.config.algorithm.central is None:
                names.remove(metrics.CENTRAL_LOSS)
            self.training.append(dict.fromkeys(names, math.nan) | counters | self.means.take())

    def state_dict(self) -> dict[str, Any]:
        """Return all state except the replay, which is stored in segments of its own.

        Returns:
            "tensors": of the learner, by name; "numbers": counters and measurements as nested lists and dicts.
        """
        learner = self.learner
        parts = {
            "agent": learner.agent.state_dict(),
            "mixer": learner.mixer.state_dict(),
            "target_agent": learner.target_agent.state_dict(),
            "target_mixer": learner.target_mixer.state_dict(),
            "square_avgs": {str(index): average for index, average in enumerate(learner.square_avgs)},
        }
        if learner.networks.central is not None:
            parts["central"] = learner.networks.central.state_dict()
        if learner.avgs:
            parts["avgs"] = {str(index): average for index, average in enumerate(learner.avgs)}
        numbers = {
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "test_due": self.test_due,
            "entropy_due": self.entropy_due,
            "last_target_update": learner.last_target_update,
            "tests": self.tests,
            "entropies": self.entropies,
            "training": self.training,
            "means": self.means.state_dict(),
        }
        return {"tensors": tensors_of(parts), "numbers": numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        learner = self.learner
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in state["tensors"].items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        learner.agent.load_state_dict(parts["agent"])
        learner.mixer.load_state_dict(parts.get("mixer", {}))  # VDN's has no weights
        learner.target_agent.load_state_dict(parts["target_agent"])
        learner.target_mixer.load_state_dict(parts.get("target_mixer", {}))
        for index, average in enumerate(learner.square_avgs):
            average.copy_(parts["square_avgs"][str(index)])
        for index, average in enumerate(learner.avgs):
            average.copy_(parts["avgs"][str(index)])
        if learner.networks.central is not None:
            learner.networks.central.load_state_dict(parts["central"])
        numbers = state["numbers"]
        self.env_steps, self.episodes = int(numbers["env_steps"]), int(numbers["episodes"])
        self.updates = learner.steps = int(numbers["updates"])
        self.test_due, self.entropy_due = int(numbers["test_due"]), int(numbers["entropy_due"])
        learner.last_target_update = int(numbers["last_target_update"])
        self.tests = [dict(row) for row in numbers["tests"]]
        self.entropies = [dict(row) for row in numbers["entropies"]]
        self.training = [dict(row) for row in numbers["training"]]
        known = {*metrics.columns(TRAINING), *self.more_metrics}
        self.means.load_state_dict(numbers["means"], known)

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows so far of each CSV file."""
        return {ENTROPY: self.entropies, TRAINING: self.training, TESTS: self.tests}

    def note(self) -> str:
        """Return the latest test result in a few words."""
        test = self.tests[-1]
        wins = "" if test["win_rate"] != test["win_rate"] else f", win rate {test['win_rate']:.0%}"
        return f"test return {test['episode_return_mean']:.1f}{wins}"

    def record(self) -> dict:
        """Return the content of train.json, which contains no times."""
        returns = [float(row["episode_return_mean"]) for row in self.tests]
        return {
            "schema": SCHEMA,
            "env": self.config.env_key,
            "algorithm": self.config.algorithm_key,
            "seed": self.config.seed,
            "backend": self.env.backend,
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "final_return": float(np.mean(returns[-LAST_TESTS:])),
            "last_return": returns[-1],
            "config": self.config.resolved(),
            "config_hash": self.config.identity(),
            "results_versions": self.config.results_versions(),
        }


def make_learner(config: RunConfig, networks: Networks, device: torch.device) -> Learner:
    """Return the learner of a run."""
    algorithm = config.algorithm
    return Learner(
        networks,
        config.train,
        device,
        algorithm.make_loss_weights(),
        algorithm.regularise,
        1.0 if algorithm.central is None else algorithm.central.loss_weight,
    )


def greedy_test(config: RunConfig, env: VectorEnv, policy: Policy) -> dict[str, float]:
    """Return the results of the run's test episodes, played greedily."""
    seeds = [episode_seed(config.seed, Purpose.TEST, i) for i in range(config.env.test_episodes)]
    played = play_greedily(env, policy, seeds, record=False)
    returns = np.array([episode.episode_return for episode in played])
    return {
        "episode_return_mean": float(returns.mean()),
        "episode_return_std": float(returns.std()),
        "episode_length_mean": float(np.mean([episode.length for episode in played])),
        "win_rate": win_rate(played),
    }


def of_episode(episode: Episode, epsilon: float) -> dict[str, float]:
    """Return the values that a training episode contributes to training.csv."""
    return {
        "epsilon": epsilon,
        "episode_return_mean": episode.episode_return,
        "episode_length_mean": float(episode.length),
        "win_rate": win_rate([episode]),
    }


def of_update(update: Update) -> dict[str, torch.Tensor]:
    """Return the values that an update contributes to training.csv, without reading from the device."""
    return {
        "td_loss": update.td_loss,
        "regulariser": update.regulariser,
        "grad_norm": update.grad_norm,
        "td_error_abs": update.td_error_abs,
        "q_tot_mean": update.q_tot_mean,
        "target_mean": update.target_mean,
    }


def entropy_row(due: int, env_steps: int, updates: int, statistics: dict[str, tuple[float, list[float]]]) -> Row:
    """Return a row of entropy.csv: NaN where the exact gradient is undefined."""
    row: dict[str, int | float] = {"due_steps": due, "env_steps": env_steps, "updates": updates}
    undefined = (math.nan, [math.nan] * len(QUANTILES))
    for gradient, (mean, quantiles) in ({"exact": undefined} | statistics).items():
        prefix = "" if gradient == "exact" else f"{gradient}_"
        row[f"{prefix}mean"] = mean
        row |= {prefix + metrics.quantile_name(q): value for q, value in zip(QUANTILES, quantiles, strict=True)}
    return row
