"""Every number that a training run records, declared once: the only list of its CSV columns.

docs/metrics.md is generated from it. An undefined value is NaN in memory and an empty cell in the file; a nullable
column that an algorithm never fills may be absent. A third party's metric is a function of an update and its batch,
named under `metrics` in params.yaml as package.module:name; it becomes a column of training.csv.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from marl_gre.errors import BadInput
from marl_gre.third_party import imported

Row = Mapping[str, int | float]
"""One row of a CSV file by column."""

TESTS, ENTROPY, TRAINING = "tests.csv", "entropy.csv", "training.csv"

QUANTILES = tuple(round(0.05 * k, 2) for k in range(21))
"""The quantiles of single-step entropies that a run records: 0, 0.05, ..., 1."""

UpdateMetric = Callable[[Any, Any], Tensor | Real | float]
"""A third party's metric: a function of a `learner.Update` and its `data.Batch` to a number or a 0-dim tensor."""


@dataclass(frozen=True)
class Metric:
    """A column of one of a run's CSV files."""

    file: str
    name: str
    meaning: str  # one sentence
    unit: str
    equation: str = ""  # in LaTeX
    nullable: bool = False  # its cells may be empty


CENTRAL_LOSS = "central_loss"
"""A column for algorithms with central networks only."""

COUNTERS = ("due_steps", "env_steps", "episodes", "updates")
"""Counters that say when a row was written."""


def _counters(file: str, *names: str) -> tuple[Metric, ...]:
    meanings = {
        "due_steps": "The multiple of the interval at which this row was due; the end of training for the last test.",
        "env_steps": "Environment steps of training so far.",
        "episodes": "Training episodes so far.",
        "updates": "Gradient steps so far.",
    }
    units = {"due_steps": "environment steps", "env_steps": "environment steps"}
    return tuple(Metric(file, name, meanings[name], units.get(name, name)) for name in names)


def quantile_name(q: float) -> str:
    """Return the column name of a quantile: q000, q005, ..., q100."""
    return f"q{round(100 * q):03d}"


def _entropies(prefix: str, derivative: str) -> tuple[Metric, ...]:
    """Return the columns of one reading of the gradient entropy; empty with one agent, where ln N = 0."""
    mean = Metric(
        ENTROPY,
        f"{prefix}mean",
        f"Mean over the steps of the batch of the normalised gradient entropy (Eq. 7), {derivative}.",
        "0 to 1, 1 = even credits",
        r"\bar H = \frac{1}{Q} \sum_q H_q,\quad H_q = -\frac{1}{\ln N} \sum_i p_{q,i} \ln p_{q,i},\quad "
        r"p_{q,i} = \frac{\lvert g_{q,i} \rvert + \epsilon}{\sum_j (\lvert g_{q,j} \rvert + \epsilon)},\quad "
        r"g_{q,i} = \frac{\partial q_{tot,q}}{\partial q_i},\quad \epsilon = 10^{-8}",
        nullable=True,
    )
    quantiles = (
        Metric(
            ENTROPY,
            f"{prefix}{quantile_name(q)}",
            f"The {q:g} quantile of $H_q$ over the steps of the batch, {derivative}.",
            "0 to 1",
            nullable=True,
        )
        for q in QUANTILES
    )
    return (mean, *quantiles)


METRICS: tuple[Metric, ...] = (
    *_counters(TESTS, *COUNTERS),
    Metric(
        TESTS,
        "episode_return_mean",
        "Mean undiscounted team return of the greedy test episodes.",
        "reward per episode",
        r"\bar R = \frac{1}{E} \sum_{e=1}^{E} R_e,\quad R_e = \sum_t r_{e,t}",
    ),
    Metric(
        TESTS,
        "episode_return_std",
        "Standard deviation of those returns.",
        "reward per episode",
        r"\sqrt{\frac{1}{E} \sum_e (R_e - \bar R)^2}",
    ),
    Metric(TESTS, "episode_length_mean", "Mean length of the test episodes.", "environment steps"),
    Metric(TESTS, "win_rate", "Share of the test episodes won.", "0 to 1", nullable=True),
    *_counters(ENTROPY, "due_steps", "env_steps", "updates"),
    *_entropies("", "credits by automatic differentiation"),
    *_entropies(
        "released_", "with the ELU derivative of the paper's released code; for QMIX, QMIX-equal and QMIX-GRE only"
    ),
    *_entropies("function_", "with the credits of the function, including what q_tot detaches; for QPLEX only"),
    *_counters(TRAINING, *COUNTERS),
    Metric(
        TRAINING,
        "td_loss",
        "Weighted mean squared TD error of an update.",
        "reward²",
        r"\frac{1}{Q} \sum_q w_q \delta_q^2,\quad \delta_q = q_{tot,q} - y_q",
        nullable=True,
    ),
    Metric(
        TRAINING,
        "regulariser",
        "The regulariser as added to the loss, including its weight (`gre_lambda`); 0 for most mixers.",
        "reward²",
        r"\frac{1}{Q} \sum_q \Omega_q",
        nullable=True,
    ),
    Metric(
        TRAINING,
        CENTRAL_LOSS,
        "Mean squared TD error of the central networks, for algorithms that have them; its weight is not included.",
        "reward²",
        r"\frac{1}{Q} \sum_q (q^*_q - y_q)^2",
        nullable=True,
    ),
    Metric(
        TRAINING,
        "grad_norm",
        "Norm of the gradient of all parameters together, before it is clipped to `train.grad_norm_clip`.",
        "reward² per unit of weight",
        r"\lVert \nabla_\theta L \rVert_2",
        nullable=True,
    ),
    Metric(
        TRAINING,
        "td_error_abs",
        "Mean absolute TD error.",
        "reward",
        r"\frac{1}{Q} \sum_q \lvert \delta_q \rvert",
        nullable=True,
    ),
    Metric(
        TRAINING,
        "q_tot_mean",
        "Mean mixed value of the actions taken.",
        "reward",
        r"\frac{1}{Q} \sum_q q_{tot,q}",
        nullable=True,
    ),
    Metric(TRAINING, "target_mean", "Mean TD target.", "reward", r"\frac{1}{Q} \sum_q y_q", nullable=True),
    Metric(TRAINING, "epsilon", "Probability of a random action, which is fixed within an episode.", "0 to 1"),
    Metric(
        TRAINING,
        "episode_return_mean",
        "Undiscounted team return of the training episodes, exploration included.",
        "reward per episode",
        r"\frac{1}{E} \sum_e R_e",
    ),
    Metric(TRAINING, "episode_length_mean", "Length of the training episodes.", "environment steps"),
    Metric(
        TRAINING,
        "win_rate",
        "Share of the training episodes won.",
        "0 to 1",
        nullable=True,
    ),
)


def declared(file: str) -> tuple[Metric, ...]:
    """Return the declared metrics of a file, in the order of its columns."""
    return tuple(metric for metric in METRICS if metric.file == file)


def columns(file: str) -> tuple[str, ...]:
    """Return the names of a file's declared columns."""
    return tuple(metric.name for metric in declared(file))


class Means:
    """Running means since the last row; adding a value costs one small operation and never waits for the device."""

    def __init__(self) -> None:
        self.totals: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Add one value of each metric: a number or a 0-dim tensor."""
        for name, value in values.items():
            total = self.totals.get(name, 0.0)
            if isinstance(value, Tensor):
                if not isinstance(total, Tensor):
                    total = torch.tensor(total, dtype=torch.float64, device=value.device)
                self.totals[name] = total.add_(value.detach())
            else:
                self.totals[name] = total + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, NaN where one is not finite, and reset them."""
        means = {name: float(total) / self.counts[name] for name, total in self.totals.items()}
        self.totals, self.counts = {}, {}
        return {name: mean if math.isfinite(mean) else math.nan for name, mean in means.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as plain numbers."""
        return {"totals": {name: float(total) for name, total in self.totals.items()}, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any], known: Collection[str]) -> None:
        """Restore sums that `state_dict` returned, but for metrics that are no longer known."""
        self.totals = {name: float(total) for name, total in state["totals"].items() if name in known}
        self.counts = {name: int(count) for name, count in state["counts"].items() if name in known}


def find(names: Sequence[str]) -> dict[str, UpdateMetric]:
    """Return third parties' metrics by column: the `name` of package.module:name.

    Raises:
        BadInput: a metric cannot be imported, or its column name is taken.
    """
    found: dict[str, UpdateMetric] = {}
    for name in names:
        column = name.partition(":")[2]
        if column in columns(TRAINING) or column in found:
            raise BadInput(f"metrics: found {name!r}, but there is a column {column} already; rename the function.")
        try:
            metric = imported(name, "package.module:name")
        except ValueError as error:
            raise BadInput(f"metrics: {error}.") from error
        if not callable(metric):
            raise BadInput(f"metrics: found {name!r}, which is not a function of an update and its batch.")
        found[column] = metric
    return found


def measure(metrics: Mapping[str, UpdateMetric], update: Any, batch: Any) -> dict[str, Tensor | float]:
    """Return the values of third parties' metrics for one update.

    Args:
        metrics: functions by column.
        update: a `learner.Update`.
        batch: its `data.Batch`.

    Raises:
        BadInput: a metric raised, or returned something other than a number.
    """
    values: dict[str, Tensor | float] = {}
    for name, metric in metrics.items():
        try:
            value = metric(update, batch)
        except Exception as error:  # a third party's function can raise anything
            raise BadInput(f"metrics: {name} failed: {type(error).__name__}: {error}") from error
        if isinstance(value, Tensor) and not value.ndim and not value.is_complex():
            values[name] = value
        elif isinstance(value, Real):  # NumPy's numbers are, too
            try:
                values[name] = float(value)
            except OverflowError as error:
                raise BadInput(f"metrics: {name} returned an integer beyond the range of a float.") from error
        else:
            found = type(value).__name__
            if isinstance(value, Tensor):
                found = f"{value.dtype} tensor of shape {list(value.shape)}"
            raise BadInput(f"metrics: {name} returned a {found}; a real number or a 0-dim tensor is needed.")
    return values
