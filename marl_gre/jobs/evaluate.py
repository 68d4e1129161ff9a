"""Evaluate a run: play its final policy greedily on episodes that training never saw."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marl_gre.config import EVALUATION_RESULTS_VERSION, EvaluateConfig
from marl_gre.credit import credits, entropy_statistics, gradient_entropy
from marl_gre.data import Batch, collate
from marl_gre.metrics import QUANTILES
from marl_gre.networks import build, restore
from marl_gre.policy import Policy
from marl_gre.rollout import opened, play_greedily, win_rate
from marl_gre.seeding import Purpose, episode_seed, rng
from marl_gre.shares import by_agent, shares, shift, unevenness
from marl_gre.stats import iqm
from marl_gre.storage.files import publish_json, require_file_name
from marl_gre.storage.run_dir import SCHEMA, WORK, FinishedRun, load_run
from marl_gre.storage.weights import WEIGHTS
from marl_gre_envs.vector import VectorEnv

SHARE_DECIMALS = 5
"""Decimals of the three numbers on shares, which makes them equal on CPU types whose float32 sums differ."""


def evaluate(
    run: Path | str, out: Path | str | None, config: EvaluateConfig, work: Path | str = WORK
) -> dict[str, Any]:
    """Evaluate a published run, write one JSON file and return its content.

    Args:
        run: folder of the run.
        out: the JSON file, or None to write none.
        config: the `evaluate` section of params.yaml.
        work: folder of the weights that were not published.

    Raises:
        BadInput: the folder holds no intact run, its weights are missing, or `out` is a folder.
        EnvironmentFailed, NonFinite: the environment raised, or returned numbers that are not finite.
        StorageFailed: the file cannot be written.
    """
    out = None if out is None else Path(out)
    if out is not None:
        require_file_name(out)
    result = evaluate_run(load_run(run, work), config)
    if out is not None:
        publish_json(out, result)
    return result


def evaluate_run(run: FinishedRun, config: EvaluateConfig) -> dict[str, Any]:
    """Return the returns, credits and entropies of the run's final policy on `config.episodes` episodes."""
    with opened(run.config.env_key, run.config.env, min(config.episodes, run.config.env.test_copies)) as env:
        return _evaluated(run, config, env)


def _evaluated(run: FinishedRun, config: EvaluateConfig, env: VectorEnv) -> dict[str, Any]:
    networks = restore(run, env)
    device = next(networks.agent.parameters()).device
    seeds = [episode_seed(run.config.seed, Purpose.EVAL, i) for i in range(config.episodes)]
    episodes = play_greedily(env, Policy(networks.agent), seeds)
    returns = np.array([episode.episode_return for episode in episodes])

    batch = collate(episodes, env, run.config.train.timeout_is_terminal).to(device)
    gradient = credits(networks, batch).double()  # [Q, N]
    own = shares(gradient)  # [Q, N]
    entropy_mean, entropy_quantiles, untrained_mean, shuffled_mean, shift_mean = None, None, None, None, None
    if env.n_agents > 1:  # undefined for one agent
        entropy_mean, values = entropy_statistics(gradient_entropy(gradient))
        entropy_quantiles = {f"{q:g}": value for q, value in zip(QUANTILES, values, strict=True)}
        # What the entropy is without training, and without the state that belongs to the step.
        untrained = build(run.config, env, training=False).to(device)
        untrained_mean, _ = entropy_statistics(gradient_entropy(credits(untrained, batch).double()))
        order = rng(run.config.seed, Purpose.EVAL, config.episodes).permutation(len(batch.now))
        shuffled = credits(networks, _with_states(batch, order)).double()
        shuffled_mean, _ = entropy_statistics(gradient_entropy(shuffled))
        shift_mean = shift(own, shares(shuffled)).mean().item()
    return {
        "schema": SCHEMA,
        "results_version": EVALUATION_RESULTS_VERSION,
        "env": run.config.env_key,
        "algorithm": run.config.algorithm_key,
        "seed": run.config.seed,
        "config_hash": run.record["config_hash"],
        "weights_sha256": run.sums[WEIGHTS],
        "episodes": [
            {"seed": e.seed, "return": e.episode_return, "length": e.length, "terminated": e.terminated, "won": e.won}
            for e in episodes
        ],
        "episode_return_mean": float(returns.mean()),
        "win_rate": None if (wins := win_rate(episodes)) != wins else wins,
        "episode_return_iqm": float(iqm(returns)),
        "credit_share_mean": own.mean(0).tolist(),
        "entropy_mean": entropy_mean,
        "entropy_untrained_mean": untrained_mean,
        "entropy_shuffled_mean": shuffled_mean,
        "entropy_quantiles": entropy_quantiles,
        "share_unevenness_mean": _rounded(unevenness(own).mean().item()),
        "share_shift_shuffled_mean": _rounded(shift_mean),
        "share_unevenness_by_agent": _rounded(by_agent(own)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, SHARE_DECIMALS)


def _with_states(batch: Batch, order: np.ndarray) -> Batch:
    """Return the batch with the states of its Q steps in another order [Q]."""
    state = batch.state.clone()
    state[batch.now] = batch.state[batch.now[torch.from_numpy(order)]]
    return dataclasses.replace(batch, state=state)
