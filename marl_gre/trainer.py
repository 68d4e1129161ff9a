"""The schedule of training, as PyMARL's: one run of one algorithm on one environment with one seed.

A round is one episode, then one gradient step once the replay holds a batch (`train.episodes_per_round` and
`updates_per_round` make it more of either); a greedy test whenever a multiple of `test_interval_steps` is reached, the
first before any training.
"""

from collections.abc import Iterator

import numpy as np
import torch

from marl_gre.config import RunConfig
from marl_gre.credit import QUANTILES, entropy_statistics, gradient_entropies
from marl_gre.data import Batch, collate
from marl_gre.errors import NonFinite
from marl_gre.learner import Learner
from marl_gre.networks import build, pick_device
from marl_gre.policy import Policy, epsilon_at
from marl_gre.replay import Replay
from marl_gre.rollout import make_env, play, play_greedily, win_rate
from marl_gre.seeding import Purpose, episode_seed, rng
from marl_gre.storage.run_dir import SCHEMA, Row

LAST_TESTS = 5
"""`final_return` is the mean of this many last tests."""


class Trainer:
    """All state of a training run, advanced one round at a time."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.device = pick_device(config.train.device)
        self.env = make_env(config.env_key, config.env, config.train.episodes_per_round)
        copies = min(config.env.test_episodes, config.env.test_copies)
        self.test_env = make_env(config.env_key, config.env, copies)
        networks = build(config, self.env)
        self.learner = Learner(networks, config.train, self.device, config.algorithm.make_loss_weights())
        self.policy = Policy(networks.agent)
        self.replay = Replay(config.train.replay_episodes)
        self.env_steps = self.episodes = self.updates = 0
        self.test_due = self.entropy_due = 0
        self.tests: list[Row] = []
        self.entropies: list[Row] = []
        self.failed_batch: Batch | None = None  # what an update failed on

    def run(self) -> Iterator[str]:
        """Train to the end, from wherever it stands; yield a short note after every round."""
        if not self.tests:
            self.test_if_due()
        while self.env_steps < self.config.env.total_steps:
            self.play_round()
            if len(self.replay) >= self.config.train.batch_episodes:
                for _ in range(self.config.train.updates_per_round):
                    self.update()
            self.episodes += self.config.train.episodes_per_round
            self.test_if_due()
            yield self.note()

    def play_round(self) -> None:
        """Play the episodes of a round with exploration into the replay."""
        seed, env = self.config.seed, self.env
        numbers = range(self.episodes, self.episodes + env.num_envs)
        shape = (env.episode_limit, 2, 1, env.n_agents)
        noise = np.concatenate([rng(seed, Purpose.EXPLORE, number).random(shape) for number in numbers], axis=2)
        epsilon = epsilon_at(self.env_steps, self.config.train)  # fixed within an episode, as in PyMARL
        seeds = [episode_seed(seed, Purpose.ENV, number) for number in numbers]
        for episode in play(env, self.policy, seeds, epsilon, noise):
            self.replay.add(episode)
            self.env_steps += episode.length

    def update(self) -> None:
        """Take one gradient step; measure the entropy when due."""
        train = self.config.train
        sampled = self.replay.sample(train.batch_episodes, rng(self.config.seed, Purpose.REPLAY, self.updates))
        batch = collate(sampled, self.env, train.timeout_is_terminal).to(self.device)
        try:
            self.learner.update(batch)
        except NonFinite as error:
            self.failed_batch = batch
            inputs = {"observations": batch.obs, "state": batch.state, "reward": batch.reward}
            spoilt = [name for name, values in inputs.items() if not torch.isfinite(values).all()]
            side = f"the environment's {spoilt[0]}" if spoilt else "the model"
            raise NonFinite(f"found numbers that are not finite in {side}: {error}") from error
        self.learner.maybe_update_targets(self.episodes)
        self.updates += 1
        interval = self.config.env.entropy_interval_steps
        if self.env_steps >= self.entropy_due:
            due = self.env_steps // interval * interval
            statistics = {
                name: entropy_statistics(entropy)
                for name, entropy in gradient_entropies(self.learner.networks, batch).items()
            }
            self.entropies.append(entropy_row(due, self.env_steps, self.updates, statistics))
            self.entropy_due = due + interval

    def test_if_due(self) -> None:
        """Play the greedy test when a multiple of the interval, or the end, is reached."""
        total, interval = self.config.env.total_steps, self.config.env.test_interval_steps
        ended = self.env_steps >= total
        if self.env_steps < self.test_due and not ended:
            return
        due = total if ended else self.env_steps // interval * interval
        self.test_due = due + interval
        seeds = [episode_seed(self.config.seed, Purpose.TEST, i) for i in range(self.config.env.test_episodes)]
        played = play_greedily(self.test_env, self.policy, seeds, record=False)
        returns = np.array([episode.episode_return for episode in played])
        self.tests.append(
            {
                "due_steps": due,
                "env_steps": self.env_steps,
                "episodes": self.episodes,
                "updates": self.updates,
                "episode_return_mean": float(returns.mean()),
                "episode_return_std": float(returns.std()),
                "episode_length_mean": float(np.mean([episode.length for episode in played])),
                "win_rate": win_rate(played),
            }
        )

    def note(self) -> str:
        """Return the newest test in a few words."""
        test = self.tests[-1]
        wins = "" if test["win_rate"] != test["win_rate"] else f", win rate {test['win_rate']:.0%}"
        return f"test return {test['episode_return_mean']:.1f}{wins}"

    def record(self) -> dict:
        """Return the content of train.json; no times in it."""
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


def entropy_row(due: int, env_steps: int, updates: int, statistics: dict[str, tuple[float, list[float]]]) -> Row:
    """Return a row of entropy.csv; what is not defined is NaN, an empty cell."""
    row: dict[str, int | float] = {"due_steps": due, "env_steps": env_steps, "updates": updates}
    for gradient, prefix in (("exact", ""), ("released", "released_")):
        mean, quantiles = statistics.get(gradient, (float("nan"), [float("nan")] * len(QUANTILES)))
        row[f"{prefix}mean"] = mean
        row |= {f"{prefix}q{round(100 * q):03d}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
    return row
