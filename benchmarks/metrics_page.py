"""Write docs/metrics.md from marl_gre/metrics.py: `python -m benchmarks.metrics_page`."""

from dataclasses import replace
from pathlib import Path

from marl_gre import metrics

PATH = Path(__file__).parents[1] / "docs" / "metrics.md"
HEADER = """# Metrics

<!-- Written by `python -m benchmarks.metrics_page` from marl_gre/metrics.py; not edited by hand. -->

A training run records its numbers in three CSV files beside `train.json`. Floats have nine significant digits, which is
exact for float32; an undefined value is an empty cell. Read columns by name: runs of older versions lack some columns,
the oldest published runs have no training.csv, and a column that an algorithm never fills is absent.

$Q$ is the number of steps in a batch, $N$ the number of agents, and $E$ the number of episodes averaged over.
$q_i$ is the value of agent $i$'s action, $q_{tot}$ the mixed value, $y$ the TD target, $w$ the weight of a step (1
unless `loss_weights` is named), $\\Omega$ the mixer's regulariser, $L$ the loss and $\\theta$ all parameters.

A cell that may be empty is empty where nothing can be won (`win_rate`), with a single agent (entropies), or before the
first update (means over updates).
"""
ABOUT = {
    metrics.TESTS: "One row for each greedy test: before any training, at each multiple of `test_interval_steps` that "
    "is reached, and at the end. All tests of a run play the same episodes.",
    metrics.ENTROPY: "The gradient entropy of the steps of a training batch, after its update, at every multiple of "
    "`entropy_interval_steps` that is reached.",
    metrics.TRAINING: "Means over the updates and training episodes since the previous row, written with each test "
    "except the first.",
}
EVALUATION = """## Evaluations

`marl-gre evaluate` plays the final policy greedily on episodes that training never saw. `--out` also writes each
episode and the quantiles of the entropy. $p_{q,i}$ is agent $i$'s share of the credit in step $q$. An undefined
number is null.
"""
EVALUATED = {
    "episode_return_mean": ("Mean undiscounted team return of the episodes.", "reward per episode"),
    "episode_return_iqm": ("Interquartile mean of those returns.", "reward per episode"),
    "win_rate": ("Share of the episodes won. *May be null.*", "0 to 1"),
    "credit_share_mean": ("Each agent's mean share of the credit.", "0 to 1"),
    "entropy_mean": (
        "Mean gradient entropy of the steps, as in entropy.csv. *May be null.*",
        "0 to 1, 1 = even credits",
    ),
    "entropy_untrained_mean": ("The same of the run's initial networks. *May be null.*", "0 to 1"),
    "entropy_shuffled_mean": ("The same where the mixer reads another step's state. *May be null.*", "0 to 1"),
    "share_unevenness_mean": (
        "Mean distance of the shares from even ones, $\\sum_i \\lvert p_{q,i} - 1/N \\rvert$.",
        "0 to 2 (N - 1) / N",
    ),
    "share_shift_shuffled_mean": (
        "Mean distance of the shares from those under another step's state. *May be null.*",
        "0 to 2",
    ),
    "share_unevenness_by_agent": (
        "Part of the squared unevenness that the agents' mean shares explain. *May be null.*",
        "0 to 1",
    ),
}
OWN = "A function of your own becomes a column of training.csv: [Record your own metric](how-to/own-metric.md).\n"


def page() -> str:
    """Return the page in Markdown."""
    parts = [HEADER]
    for file, about in ABOUT.items():
        lines = [f"## {file}", "", about, "", "| column | meaning | unit |", "| --- | --- | --- |"]
        lines += [
            f"| `{name}` | {metric.meaning}{f' ${metric.equation}$' if metric.equation else ''}"
            f"{' *May be empty.*' if metric.nullable else ''} | {metric.unit} |"
            for name, metric in _folded(metrics.declared(file))
        ]
        parts.append("\n".join(lines) + "\n")
    lines = [EVALUATION, "| key | meaning | range |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {meaning} | {unit} |" for name, (meaning, unit) in EVALUATED.items()]
    return "\n".join([*parts, *lines, "", OWN])


def _folded(declared: tuple[metrics.Metric, ...]) -> list[tuple[str, metrics.Metric]]:
    """Return (column, metric), the quantiles between the least and the greatest as one row."""
    names = [metrics.quantile_name(q) for q in metrics.QUANTILES]
    rows = []
    for metric in declared:
        prefix, _, last = metric.name.rpartition("q")
        if f"q{last}" not in names:
            rows.append((metric.name, metric))
        elif f"q{last}" == names[0]:
            meaning = metric.meaning.replace("The 0 quantile", "The 0, 0.05, ..., 1 quantiles")
            rows.append((f"{prefix}{names[0]}` to `{prefix}{names[-1]}", replace(metric, meaning=meaning)))
    return rows


if __name__ == "__main__":
    PATH.write_text(page())
    print(PATH)
