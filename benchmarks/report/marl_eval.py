"""The results in the JSON layout of marl-eval (https://github.com/instadeepai/marl-eval), for other plotting programs.

environment -> task -> algorithm -> run -> step_k -> {step_count, metric: [value]} and absolute_metrics. A value is the
mean over the episodes of a test. `absolute_metrics` are the final policy's on episodes that training never saw
(marl-eval's protocol would take the best policy's, which looks at the tests).
"""

import math
from typing import Any

from benchmarks.report.gather import Results, Run
from marl_gre.config import EnvConfig


def as_json(results: Results) -> dict[str, Any]:
    """Return all runs that are there; tasks are the entries of `envs`, grouped by the kind of environment."""
    content: dict[str, Any] = {}
    for (env, algorithm, seed), run in results.runs.items():
        tasks = content.setdefault(_suite(results.params.envs[env]), {})
        tasks.setdefault(env, {}).setdefault(algorithm, {})[f"seed_{seed}"] = _run(run)
    return content


def _suite(config: EnvConfig) -> str:
    """Return what marl-eval calls the environment: it aggregates over the tasks of one."""
    if ":" in config.env:
        return config.env.partition(":")[0]
    return "smac" if config.env.startswith("smac") else "gridworlds"


def _run(run: Run) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    tests = run.tests
    for k, (due, value, wins) in enumerate(
        zip(tests["due_steps"], tests["episode_return_mean"], tests["win_rate"], strict=True)
    ):
        steps[f"step_{k}"] = {"step_count": int(due), **_metrics(float(value), float(wins))}
    final = run.evaluation
    rate = final.get("win_rate")
    return {**steps, "absolute_metrics": _metrics(final["episode_return_mean"], math.nan if rate is None else rate)}


def _metrics(value: float, wins: float) -> dict[str, list[float]]:
    return {"return": [value], **({} if math.isnan(wins) else {"win_rate": [wins]})}
