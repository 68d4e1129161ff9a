"""The tables: each a declaration in `TABLES` (what is shown, from which runs, beside which published values).

Numbers come from gather.Results and marl_gre.stats; every table is written as CSV and as Markdown with the same cells.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.report.gather import QUANTILE_COLUMNS, Results, Run, paper_name, reference, same_env, seed_list
from marl_gre import stats
from marl_gre.credit import differentiate
from marl_gre.metrics import QUANTILES
from marl_gre.mixers import AgentValues, EnvSizes
from marl_gre.stats import Array
from marl_gre.trainer import LAST_TESTS

Cell = str | float | int | None
Reading = Literal["single steps", "batch means"]
Derivative = Literal["exact", "released", "function"]
"""Which credits: by automatic differentiation, with the released code's ELU derivative, or the function's (QPLEX)."""

BASELINE_MIXER = "qmix"
"""The algorithm that the others are compared with: the first of the run that uses this mixer."""

SEED = 0
"""Of everything drawn at random, so that the same runs give the same tables and figures."""


@dataclass(frozen=True)
class Column:
    """A column's title and the format of its numbers in Markdown (CSV keeps six digits)."""

    title: str
    format: str = ""


@dataclass(frozen=True)
class Content:
    """What a table holds."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """A table's declaration."""

    name: str  # of the files
    title: str
    fill: Callable[[Results], Content]


@dataclass(frozen=True)
class Score:
    """One number per run."""

    name: str
    title: str
    read: Callable[[Run], float]
    released_code: str | None = None  # section of reference/released_code.yaml
    of_wins: bool = False  # 0 to 1, and only where there is something to win


FINAL_RETURN = Score(
    "final_return",
    "mean of the last five greedy tests during training; undiscounted team return per episode",
    lambda run: run.record["final_return"],
    released_code="final_return",
)
EVALUATION_RETURN = Score(
    "evaluation_return",
    "final policy, greedy, on episodes that training never saw; undiscounted team return per episode",
    lambda run: run.evaluation["episode_return_mean"],
)
FINAL_WIN_RATE = Score(
    "final_win_rate",
    "mean of the last five greedy tests during training; share of episodes won",
    lambda run: float(run.tests["win_rate"][-LAST_TESTS:].mean()),
    of_wins=True,
)
EVALUATION_WIN_RATE = Score(
    "evaluation_win_rate",
    "final policy, greedy, on episodes that training never saw; share of episodes won",
    lambda run: run.evaluation["win_rate"],
    of_wins=True,
)


@dataclass(frozen=True)
class Summary:
    """A score of one algorithm on one environment over its seeds; None is what cannot be computed."""

    seeds: int
    iqm: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    better: float | None = None  # probability of improvement over the baseline
    better_low: float | None = None
    better_high: float | None = None


def summarise(results: Results, score: Score, env: str, algorithm: str) -> Summary:
    """Return a score's summary over the seeds that are there."""
    runs = results.select(env, algorithm)
    if not runs:
        return Summary(0)
    values = [score.read(run) for run in runs]
    report = results.params.report
    resampling: dict[str, Any] = {
        "resamples": report.bootstrap_resamples,
        "confidence": report.confidence,
        "seed": SEED,
    }
    low, high = stats.bootstrap_interval(values, **resampling) if len(values) > 1 else (None, None)
    better = better_low = better_high = None
    baseline = results.first_algorithm(BASELINE_MIXER)
    base_runs = results.select(env, baseline) if baseline not in (None, algorithm) else []
    if base_runs:
        base_values = [score.read(run) for run in base_runs]
        better = stats.probability_of_improvement(values, base_values)
        if min(len(values), len(base_values)) > 1:
            # Runs of the same seed are tested on the same episodes.
            paired = [run.key[2] for run in runs] == [run.key[2] for run in base_runs]
            better_low, better_high = stats.probability_of_improvement_interval(
                values, base_values, paired=paired, **resampling
            )
    return Summary(
        seeds=len(values),
        iqm=float(stats.iqm(values)),
        low=low,
        high=high,
        mean=float(stats.mean(values)),
        least=min(values),
        most=max(values),
        better=better,
        better_low=better_low,
        better_high=better_high,
    )


def entropy_percentiles(
    runs: Sequence[Run], reading: Reading, derivative: Derivative, percents: Sequence[float]
) -> Array | None:
    """Return percentiles of the gradient entropy over the whole training, pooled over runs; None where undefined.

    Args:
        runs: of one algorithm on one environment.
        reading: of single steps (from the 21 quantiles logged for each batch), or of batch means.
        derivative: of which credits.
        percents: 0 to 100.
    """
    prefix = {"exact": "", "released": "released_", "function": "function_"}[derivative]
    levels = np.asarray(percents, float) / 100
    means = np.concatenate([run.entropy[f"{prefix}mean"] for run in runs]) if runs else np.empty(0)
    defined = np.isfinite(means)
    if not defined.any():
        return None
    if reading == "batch means":
        return np.quantile(means[defined], levels)
    sketches = np.concatenate(
        [np.stack([run.entropy[f"{prefix}{name}"] for name in QUANTILE_COLUMNS], axis=1) for run in runs]
    )
    return stats.pooled_quantiles(sketches[defined], QUANTILES, levels)


def credit_rows(results: Results, *, n_agents: int, state_dim: int, tolerance: float) -> Content:
    """Fill Table 1: measured on random mixers, values and states instead of typed in."""
    generator = torch.Generator().manual_seed(SEED)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    qs, states, others = normal(64, 4, n_agents), normal(64, 4, state_dim), normal(64, 4, state_dim)
    sizes = EnvSizes(n_agents, n_actions=1, obs_dim=1, state_dim=state_dim)
    values = AgentValues(chosen=qs, greedy=qs, actions=torch.zeros_like(qs, dtype=torch.int64))
    rows = []
    for name in dict.fromkeys(results.params.algorithms[key].mixer for key in results.params.run.algorithms):
        users = results.algorithms((name,))
        config = results.params.algorithms[users[0]]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            mixer = config.mixer_class(sizes, config.mixer_config).double()
        here, there = differentiate(mixer, values, states), differentiate(mixer, values, others)
        scale = (here.mean(-1).abs() + there.mean(-1).abs()) / 2
        spread = ((here.amax(-1) - here.amin(-1)) / scale).max().item()
        moved = ((here - there).abs().amax(-1) / scale).max().item()
        with torch.no_grad():
            value_moved = (mixer(values, states) - mixer(values, others)).abs().max().item()
        rows.append(
            [
                name,
                ", ".join(results.title(user) for user in users),
                "yes" if spread <= tolerance else "no",
                spread,
                "yes" if max(moved, value_moved) > tolerance else "no",
                value_moved,
                moved,
            ]
        )
    columns = [
        Column("Mixer"),
        Column("Used by"),
        Column("Equal credits"),
        Column("largest difference between agents", ".1e"),
        Column("Uses the state"),
        Column("largest change of q_tot with the state", ".1e"),
        Column("largest change of the credits with the state", ".1e"),
    ]
    note = (
        f"Measured at random initial weights in float64 on 256 random values and pairs of states, {n_agents} agents; "
        f"a difference up to {tolerance:g} counts as none. Credits are dq_tot/dq_i; differences are relative to their "
        "mean, the change of q_tot is absolute."
    )
    return Content(columns, rows, [note])


def percentile_rows(results: Results, *, mixer: str, readings: Sequence[tuple[Reading, Derivative]]) -> Content:
    """Fill Tables 2 and 3: percentiles of the entropy, ours and the paper's."""
    paper = reference("paper")["entropy_percentiles"]
    percents = paper["percents"]
    rows: list[list[Cell]] = []
    shown: dict[str, list[str]] = {}
    for env in results.params.run.envs:
        shown.setdefault(paper_name(results.params, env) or env, []).append(env)
    for name in [*paper["values"], *(name for name in shown if name not in paper["values"])]:
        printed = paper["values"].get(name)
        if printed:
            rows.append([name, "paper", *printed, f"{reference('paper')['protocol']['seeds']}"])
        if name not in shown:
            rows.append([name, "ours: not run", *(None for _ in percents), ""])
        for env in shown.get(name, []):
            for algorithm in _planned(results, env, (mixer,)):
                rows += _percentiles_beside(results, env, algorithm, readings, percents, printed)
    columns = [Column("Environment"), Column("Values"), *(Column(f"{p}%", "z.3f") for p in percents), Column("Seeds")]
    notes = [
        "Normalised gradient entropy of QMIX (1 = even credits) over the whole training, all seeds together. The paper "
        "does not say whether these are percentiles of single steps or of batch means, nor with which ELU derivative "
        "(its released code uses a different one from the formula's). Our first reading is single steps, because "
        "on Lumberjacks no batch mean reaches the paper's 95% value of 1.000, but single steps do "
        "(benchmarks/deviations.md, row 17), with the exact derivative, which is the paper's equation. It remains an "
        "inference, and the other readings follow. (The claims about SMAC's rows were declared for the released "
        "derivative, which the authors' program computed, with the exact one as a control.) "
        "'released code' was measured by running that code.",
        "How even that is: between two agents, as on Lumberjacks, an entropy of 0.99 is a split of 56% to 44%, 0.9 "
        "one of 68% to 32%; among n agents an entropy H is that of n to the power of H agents with equal shares (0.9 "
        "among ten: 7.9).",
        *bold_notes(results),
    ]
    return Content(columns, rows, notes)


def _percentiles_beside(
    results: Results,
    env: str,
    algorithm: str,
    readings: Sequence[tuple[Reading, Derivative]],
    percents: Sequence[float],
    printed: Sequence[float] | None,
) -> list[list[Cell]]:
    """Return the rows of one environment: each reading, its difference from the paper, the released code's values."""
    title, seeds = results.title(env), _seeds(results, env, algorithm)
    runs = results.select(env, algorithm)
    rows: list[list[Cell]] = []
    for reading, derivative in readings:
        name = f"{results.title(algorithm)}, {reading}, {derivative} derivative"
        values = entropy_percentiles(runs, reading, derivative, percents)
        if values is None:
            rows.append([title, f"{name}: missing", *(None for _ in percents), seeds])
            continue
        rows.append([title, name, *values.tolist(), seeds])
        if printed:
            rows.append([title, "difference from the paper", *(values - printed).tolist(), ""])
        if len(runs) > 1 and (reading, derivative) == readings[0]:
            each = [
                found
                for run in runs
                if (found := entropy_percentiles([run], reading, derivative, percents)) is not None
            ]
            rows.append([title, "lowest seed of these", *np.min(each, axis=0).tolist(), ""])
            rows.append([title, "highest seed of these", *np.max(each, axis=0).tolist(), ""])
    released = reference("released_code")
    config = results.params.envs[env]
    for entry in released["entropy_percentiles"]["values"]:
        if same_env(entry, config):
            name = f"released code, batch means, {entry['derivative']} derivative"
            rows.append([title, name, *entry["value"], str(released["seeds"])])
    return rows


def score_rows(results: Results, *, score: Score) -> Content:
    """Fill a table of one score: every algorithm on every environment."""
    rows: list[list[Cell]] = []
    for env in results.params.run.envs:
        if score.of_wins and not results.has_wins(env):
            continue
        for algorithm in _planned(results, env):
            found = summarise(results, score, env, algorithm)
            missing = "missing" if found.seeds == 0 else None
            rows.append(
                [
                    results.title(env),
                    results.title(algorithm),
                    _seeds(results, env, algorithm),
                    *(found.iqm if missing is None else missing, found.low, found.high),
                    *(found.mean, found.least, found.most),
                    *(found.better, found.better_low, found.better_high),
                    *([_released_code(results, score, env, algorithm)] if score.released_code else []),
                ]
            )
    report = results.params.report
    level = f"{report.confidence:.0%} CI"
    digits = ".3f" if score.of_wins else ".1f"
    baseline = results.first_algorithm(BASELINE_MIXER)
    against = results.title(baseline) if baseline else "QMIX (not run)"
    columns = [
        *(Column("Environment"), Column("Algorithm"), Column("Seeds")),
        *(Column("IQM", digits), Column(f"IQM {level} low", digits), Column(f"IQM {level} high", digits)),
        *(Column("Mean", digits), Column("Min", digits), Column("Max", digits)),
        *(
            Column(f"P(better than {against})", ".2f"),
            Column(f"P {level} low", ".2f"),
            Column(f"P {level} high", ".2f"),
        ),
        *([Column("Released code, 1 seed", ".1f")] if score.released_code else []),
    ]
    notes = [
        f"{score.title[0].upper()}{score.title[1:]}. IQM: interquartile mean over seeds. CI: percentile bootstrap over "
        f"seeds, {report.bootstrap_resamples:,} resamples; with five seeds or fewer such intervals are too narrow "
        "(marl_gre/stats.py says how much). P: probability that a run beats one of the other algorithm, ties 1/2.",
        *bold_notes(results),
    ]
    return Content(columns, rows, notes)


TABLES = (
    Table(
        "table_1",
        "Table 1: credit assignment of the mixers",
        partial(credit_rows, n_agents=5, state_dim=12, tolerance=1e-9),
    ),
    Table(
        "tables_2_3",
        "Tables 2 and 3: percentiles of QMIX's gradient entropy",
        partial(
            percentile_rows,
            mixer="qmix",
            readings=[
                ("single steps", "exact"),
                ("single steps", "released"),
                ("batch means", "exact"),
                ("batch means", "released"),
            ],
        ),
    ),
    Table("final_return", "Return at the end of training", partial(score_rows, score=FINAL_RETURN)),
    Table("evaluation_return", "Return of the final policy", partial(score_rows, score=EVALUATION_RETURN)),
    Table("final_win_rate", "Win rate at the end of training", partial(score_rows, score=FINAL_WIN_RATE)),
    Table("evaluation_win_rate", "Win rate of the final policy", partial(score_rows, score=EVALUATION_WIN_RATE)),
)


def to_csv(content: Content) -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.title for column in content.columns])
    for row in content.rows:
        writer.writerow([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()


def to_markdown(title: str, content: Content) -> str:
    """Return the table as Markdown, with title and notes."""
    return f"# {title}\n\n{markdown_table(content)}"


def markdown_table(content: Content) -> str:
    """Return the table as Markdown, with its notes below."""
    lines = [
        _markdown_row([column.title for column in content.columns]),
        _markdown_row([":---" if not column.format else "---:" for column in content.columns]),
    ]
    for row in content.rows:
        lines.append(_markdown_row([shown(cell, col) for cell, col in zip(row, content.columns, strict=True)]))
    for note in content.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def shown(cell: Cell, column: Column) -> str:
    """Return a cell's text: numbers in the column's format, "-" for what there is not."""
    if cell is None:
        return "-"
    return f"{cell:{column.format}}" if isinstance(cell, float) else str(cell)


def _planned(results: Results, env: str, mixers: tuple[str, ...] | None = None) -> list[str]:
    """Return the selected algorithms of these mixers that are planned on an environment."""
    return [name for name in results.algorithms(mixers) if results.seeds(env, name)]


def _seeds(results: Results, env: str, algorithm: str) -> str:
    """Return how many runs there are of how many, as in "4 of 5, missing 3"."""
    wanted = results.seeds(env, algorithm)
    missing = [seed for seed in wanted if (env, algorithm, seed) not in results.runs]
    text = f"{len(wanted) - len(missing)} of {len(wanted)}"
    return f"{text}, missing {seed_list(missing)}" if missing else text


def bold_notes(results: Results) -> list[str]:
    """Return what a reader must know about all numbers, as Markdown."""
    return [f"**{text}**" for text in results.notes()]


def _released_code(results: Results, score: Score, env: str, algorithm: str) -> float | None:
    """Return the released code's value where it ran the same environment and algorithm."""
    env_config = results.params.envs[env]
    algorithm_config = results.params.algorithms[algorithm]
    if algorithm_config.agent or algorithm_config.loss_weights:
        return None
    ours = algorithm_config.resolved()
    for entry in reference("released_code")[score.released_code or ""]:
        theirs = {name: value for name, value in entry.items() if name not in ("env", "kwargs", "value")}
        if same_env(entry, env_config) and all(ours.get(name) == value for name, value in theirs.items()):
            return float(entry["value"])
    return None
