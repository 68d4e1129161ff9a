"""Write docs/metrics.md from marl_gre/metrics.py: `python -m benchmarks.metrics_page`."""

from dataclasses import replace
from pathlib import Path

from marl_gre import metrics

PATH = Path(__file__).parents[1] / "docs" / "metrics.md"
HEADER = """# Metrics

<!-- Written by `python -m benchmarks.metrics_page` from marl_gre/metrics.py; not edited by hand. -->

A training run records its numbers in three CSV files beside `train.json`. Floats have nine significant digits, which is
exact for float32; an undefined value is an empty cell. Read columns by name: runs of older versions lack some columns,
the oldest published ones training.csv as a whole, and a column that an algorithm never fills is absent.

There are $Q$ steps in a batch, $N$ agents, and $E$ episodes in a mean. $q_i$ is the value of agent $i$'s action,
$q_{tot}$ the mixed value, $y$ the TD target, $w$ the weight of a step (1 unless `loss_weights` is named), $\\Omega$ the
mixer's regulariser, $L$ the loss and $\\theta$ all parameters.

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
OWN = """## Metrics of your own

A function of an update and its batch, named in params.yaml, becomes a column of training.csv, and the report draws it:

```python
# my_metrics.py, on the path
def reward_per_step(update, batch):
    return batch.reward.mean()
```

```yaml
metrics: ["my_metrics:reward_per_step"]
```

`update` is a `marl_gre.learner.Update`, `batch` a `marl_gre.data.Batch`. Return a number or, better, a 0-dim
tensor, which does not wait for the device. Metrics are not part of a run's identity, so adding one makes no run stale.
"""


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
    return "\n".join([*parts, OWN])


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
