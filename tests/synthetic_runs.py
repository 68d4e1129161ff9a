"""Made-up runs in the layout of real ones, for the tests of the report."""

import csv
import json
from pathlib import Path

import numpy as np

from marl_gre import metrics
from marl_gre.config import Params
from marl_gre.metrics import QUANTILES
from marl_gre.storage.run_dir import PUBLISHED, SUMS
from marl_gre.storage.weights import WEIGHTS


def write_runs(params: Params, results: Path) -> None:
    """Write every run that params names: returns that rise to -50 + seed, entropies around 0.98."""
    for env in params.run.envs:
        for place, algorithm in enumerate(params.run.algorithms):
            for seed in params.run.seeds:
                end = -50.0 + seed - 3 * place
                write_run(params, results, env, algorithm, seed, end)
                write_evaluation(params, results, env, algorithm, seed, value=end)


def write_run(params: Params, results: Path, env: str, algorithm: str, seed: int, end: float) -> None:
    """Write a run; on SMAC it wins as often as `win_rate` says, and has a training.csv."""
    config = params.run_config(env, algorithm, seed)
    folder = results / "runs" / env / algorithm / str(seed)
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, len(env), len(algorithm)])
    total, interval = config.env.total_steps, config.env.test_interval_steps
    smac = config.env.env == "smac_v0"
    tests = []
    for due in range(0, total + 1, interval):
        mean = end - 150 * np.exp(-4 * due / total) + 3 * generator.normal()
        wins = win_rate(due, seed) if smac else ""
        tests.append([due, due, due // 100, due // 100, mean, 5.0, 100.0, wins])
    write_csv(folder / "tests.csv", metrics.columns("tests.csv"), tests)
    if smac:
        names = metrics.columns("training.csv")
        made_up = {"td_loss": 0.05, "grad_norm": 2.0, "td_error_abs": 0.15, "q_tot_mean": 10.0}
        training = [[due if name.endswith("_steps") else made_up.get(name, 1.0) for name in names]
                    for due in range(interval, total + 1, interval)]  # fmt: skip
        write_csv(folder / "training.csv", names, training)
    spread = {"qmix": 0.02, "qmix_gre": 0.06}.get(config.algorithm.mixer, 0.0)
    has_function = config.algorithm.mixer == "qplex"
    rows = []
    for due in range(min(3000, total), total + 1, config.env.entropy_interval_steps):
        low = 1 - spread * (1 + 0.1 * generator.normal())
        quantiles = [min(1.0, low + (1 - low) * q) for q in QUANTILES]
        released = [""] * 22 if spread == 0 else [np.mean(quantiles) + 0.001, *quantiles]
        function = [np.mean(quantiles) - 0.1, *(q - 0.1 for q in quantiles)] if has_function else []
        rows.append([due, due, due // 100, np.mean(quantiles), *quantiles, *released, *function])
    names = [name for name in metrics.columns("entropy.csv") if has_function or not name.startswith("function_")]
    write_csv(folder / "entropy.csv", names, rows)
    returns = [row[4] for row in tests]
    write_json(
        folder / "train.json",
        {
            "schema": 1,
            "env": env,
            "algorithm": algorithm,
            "seed": seed,
            "backend": "embedded" if smac else "native",
            "env_steps": total,
            "episodes": total // 100,
            "updates": total // 100,
            "final_return": float(np.mean(returns[-5:])),
            "last_return": returns[-1],
            "config": config.resolved(),
            "config_hash": config.identity(),
            "results_versions": config.results_versions(),
        },
    )
    sums = "".join(f"{'made up' if name == WEIGHTS else 64 * '0'}  {name}\n" for name in PUBLISHED)
    (folder / SUMS).write_text(sums)


def win_rate(due: int, seed: int) -> float:
    """Half of the battles after 500,000 steps with seed 0, a step of 1/32 more with each further seed."""
    return min(1.0, round(16 * due / 500_000 + seed) / 32)


def write_evaluation(params: Params, results: Path, env: str, algorithm: str, seed: int, value: float) -> None:
    config = params.run_config(env, algorithm, seed)
    write_json(
        results / "evaluation" / env / algorithm / f"{seed}.json",
        {
            "schema": 1,
            "env": env,
            "algorithm": algorithm,
            "seed": seed,
            "config_hash": config.identity(),
            "weights_sha256": "made up",
            "episodes": [{"seed": 1, "return": value, "length": 100, "terminated": False}],
            "episode_return_mean": value,
            "episode_return_iqm": value,
            "win_rate": win_rate(config.env.total_steps, seed) if config.env.env == "smac_v0" else None,
            "credit_share_mean": [0.5, 0.5],
            "entropy_mean": 0.98,
            "entropy_untrained_mean": 0.985,
            "entropy_shuffled_mean": 0.98,
            "share_unevenness_mean": 0.05,
            "share_shift_shuffled_mean": 0.06,
            "share_unevenness_by_agent": 0.2,
            "entropy_quantiles": {f"{q:g}": 0.98 for q in QUANTILES},
        },
    )


def write_games(results: Path, env: str, algorithm: str, seed: int, games: list[dict], weights="made up") -> None:
    """Write what `python -m benchmarks.shapley` does, for games with phase, shares and Shapley values."""
    filled = [
        {"episode_seed": place, "step": 0, "exact": True, "nobody": 0.0, "everybody": sum(game["shapley"]),
         "errors": [0.0] * len(game["shares"]), **game}
        for place, game in enumerate(games)
    ]  # fmt: skip
    write_json(
        results / "evaluation" / env / algorithm / f"{seed}.shapley.json",
        {"schema": 1, "env": env, "algorithm": algorithm, "seed": seed, "weights_sha256": weights, "games": filled},
    )


def write_csv(path: Path, names, rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
