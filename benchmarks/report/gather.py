"""Read the runs that params.yaml names, and only those; say which are missing and refuse damaged files."""

import csv
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from benchmarks.layout import evaluation_file, run_folder, shapley_file
from marl_gre import metrics
from marl_gre.config import EVALUATION_RESULTS_VERSION, EnvConfig, Params
from marl_gre.errors import BadInput
from marl_gre.jobs.credits_shapley import Game
from marl_gre.metrics import ENTROPY, QUANTILES, TESTS, TRAINING
from marl_gre.shapley import Shapley
from marl_gre.storage.files import read_object
from marl_gre.storage.run_dir import RECORD, SCHEMA, SUMS, read_sums
from marl_gre.storage.weights import WEIGHTS

Key = tuple[str, str, int]
"""(env, algorithm, seed), the names as in params.yaml."""

Columns = dict[str, NDArray[np.float64]]
"""A CSV file of numbers; an empty cell is NaN."""

QUANTILE_COLUMNS = tuple(metrics.quantile_name(q) for q in QUANTILES)
NULL_WHERE_UNDEFINED = (  # evaluations
    *("win_rate", "entropy_mean", "entropy_untrained_mean", "entropy_shuffled_mean"),
    *("share_unevenness_mean", "share_shift_shuffled_mean", "share_unevenness_by_agent"),  # and before version 2
)
REFERENCE = Path(__file__).parents[1] / "reference"


@dataclass(frozen=True)
class Run:
    """What a finished and evaluated run left."""

    key: Key
    record: dict[str, Any]  # train.json
    tests: Columns
    entropy: Columns
    evaluation: dict[str, Any]
    training: Columns  # empty where the run did not record it
    games: tuple[Game, ...] = ()  # what its agents contribute, where `python -m benchmarks.shapley` measured it


@dataclass(frozen=True)
class Results:
    """All runs of params.yaml."""

    params: Params
    runs: dict[Key, Run]
    missing: dict[Key, str]  # with the reason
    plan: frozenset[Key] | None = None  # None: all that params.yaml's lists combine

    def seeds(self, env: str, algorithm: str) -> list[int]:
        """Return the seeds that are planned for one environment and algorithm."""
        wanted = self.params.run.seeds
        return [seed for seed in wanted if self.plan is None or (env, algorithm, seed) in self.plan]

    def select(self, env: str, algorithm: str) -> list[Run]:
        """Return the runs of one environment and algorithm in the order of params.yaml's seeds."""
        keys = [(env, algorithm, seed) for seed in self.params.run.seeds]
        return [self.runs[key] for key in keys if key in self.runs]

    def algorithms(self, mixers: tuple[str, ...] | None = None) -> list[str]:
        """Return the selected algorithms, or those of them that use one of these mixers."""
        selected = self.params.run.algorithms
        return [name for name in selected if mixers is None or self.params.algorithms[name].mixer in mixers]

    def first_algorithm(self, mixer: str) -> str | None:
        """Return the first selected algorithm that uses a mixer, None where none does."""
        return next(iter(self.algorithms((mixer,))), None)

    def title(self, key: str) -> str:
        """Return how people call an env or algorithm."""
        return self.params.report.title(key)

    def has_wins(self, env: str) -> bool:
        """Return whether an environment's episodes can be won, so that its score is the win rate."""
        here = [run for key, run in self.runs.items() if key[0] == env]
        if not here:  # by what is known of it
            return self.params.envs[env].env == "smac_v0"
        return all(np.isfinite(run.tests["win_rate"]).all() for run in here)

    def substitutes(self) -> str:
        """Return one sentence that names what was not played in the game itself, "" where nothing is.

        Raises:
            BadInput: runs of one environment were played on different backends, which one panel must not mix.
        """
        embedded = []
        for env in self.params.run.envs:
            backends = sorted({str(run.record.get("backend")) for key, run in self.runs.items() if key[0] == env})
            if len(backends) > 1:
                raise BadInput(
                    f"results/runs/{env}: found runs on the backends {', '.join(backends)}; train one again."
                )
            embedded += [self.title(env)] if backends == ["embedded"] else []
        return (
            f"Played on the embedded engine, a substitute for StarCraft II: {', '.join(embedded)}." if embedded else ""
        )

    def notes(self) -> list[str]:
        """Return what a reader must know about all numbers: params.yaml's note, substitutes, a smaller protocol."""
        return [text for text in (self.params.report.note, self.substitutes(), self.shortfall()) if text]

    def shortfall(self) -> str:
        """Return one sentence on what is smaller than in the paper's protocol, "" where nothing is."""
        found = {env: text for env in self.params.run.envs if (text := self._shortfall(env))}
        if not found:
            return ""
        if len(found) == len(self.params.run.envs) and len(set(found.values())) == 1:
            return f"Less than the paper's protocol: {next(iter(found.values()))}."
        parts = "; ".join(f"{self.title(env)} {text}" for env, text in found.items())
        return f"Less than the paper's protocol: {parts}."

    def _shortfall(self, env: str) -> str:
        paper = reference("paper")
        name = paper_name(self.params, env)
        steps = self.params.envs[env].total_steps
        seeds = max(len(self.seeds(env, algorithm)) for algorithm in self.params.run.algorithms)
        parts = []
        if name and steps < (wanted := paper["environments"][name]["total_steps"]):
            parts.append(f"{steps:,} of {wanted:,} environment steps")
        if seeds < (wanted := paper["protocol"]["seeds"]):
            parts.append(f"{seeds} of {wanted} seeds")
        return ", ".join(parts)


def gather(params: Params) -> Results:
    """Read all runs that params.yaml names.

    Raises:
        BadInput: a file that exists is damaged or is not what its place says.
    """
    runs, missing = {}, {}
    for key in _keys(params):
        found = _read_run(params, key)
        if isinstance(found, Run):
            runs[key] = found
        else:
            missing[key] = found
    return Results(params, runs, missing)


def together(*parts: Results) -> Results:
    """Return several projects' runs as one; what is planned and what is missing is each project's own.

    Raises:
        BadInput: two projects declare one environment, algorithm or training differently.
    """
    params = [part.params for part in parts]
    envs = {key: config for one in params for key, config in one.envs.items()}
    algorithms = {key: config for one in params for key, config in one.algorithms.items()}
    for one in params:
        differing = [f"envs.{key}" for key in one.envs if one.envs[key] != envs[key]]
        differing += [f"algorithms.{key}" for key in one.algorithms if one.algorithms[key] != algorithms[key]]
        differing += ["train"] if one.train != params[0].train else []
        if differing:
            raise BadInput(
                f"{differing[0]}: found two declarations in projects that are read together; make them equal."
            )
    selected = {
        "envs": [*dict.fromkeys(env for one in params for env in one.run.envs)],
        "algorithms": [*dict.fromkeys(name for one in params for name in one.run.algorithms)],
        "seeds": sorted({seed for one in params for seed in one.run.seeds}),
    }
    report = {"titles": {key: title for one in params for key, title in one.report.titles.items()}, "note": ""}
    changed = {
        "envs": envs,
        "algorithms": algorithms,
        "run": params[0].run.model_copy(update=selected),
        "report": params[0].report.model_copy(update=report),
    }
    return Results(
        params[0].model_copy(update=changed),
        {key: run for part in parts for key, run in part.runs.items()},
        {key: why for part in parts for key, why in part.missing.items()},
        frozenset(key for part in parts for key in _keys(part.params)),
    )


def seed_list(seeds: Iterable[int]) -> str:
    """Return seeds in order, three or more in a row as a range: "0, 2, 5 to 24"."""
    runs = [[seed for _, seed in group] for _, group in itertools.groupby(enumerate(sorted(seeds)), _offset)]
    parts = [[f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run) for run in runs]
    return ", ".join(itertools.chain.from_iterable(parts))


def _offset(placed: tuple[int, int]) -> int:
    """Return by how much a seed is ahead of its place, which is the same for seeds in a row."""
    place, seed = placed
    return seed - place


@functools.cache
def reference(name: Literal["paper", "released_code", "anchors", "real_game"]) -> dict[str, Any]:
    """Return a file of reference numbers."""
    return YAML(typ="safe", pure=True).load(REFERENCE / f"{name}.yaml")


def paper_name(params: Params, env: str) -> str | None:
    """Return how the paper calls an entry of `envs`, None if it has no such environment."""
    config = params.envs[env]
    for name, entry in reference("paper")["environments"].items():
        if any(same_env(match, config) for match in entry["matches"]):
            return name
    return None


def same_env(entry: dict[str, Any], config: EnvConfig) -> bool:
    """Return whether an entry of a reference file is about the same environment with the same options."""
    return (entry["env"], entry["kwargs"]) == (config.env, config.kwargs)


def _keys(params: Params) -> Iterator[Key]:
    run = params.run
    return ((env, algorithm, seed) for env in run.envs for algorithm in run.algorithms for seed in run.seeds)


def _read_run(params: Params, key: Key) -> Run | str:
    """Return a run, or why there is none."""
    folder, evaluation_path = run_folder(*key), evaluation_file(*key)
    if not (folder / RECORD).is_file():
        return "not trained"
    train_again = f"dvc repro -f -s train@{'-'.join(map(str, key))}"
    record = _read_json(folder / RECORD, key, train_again)
    config = params.run_config(*key)
    changed = _difference(record.get("config"), config.resolved())
    if changed is None and record.get("results_versions") != config.results_versions():
        changed = "the results versions"
    if changed is not None:
        return f"trained with another config or version ({changed}): run dvc repro"
    if not evaluation_path.is_file():
        return "trained, not evaluated"
    evaluate_again = train_again.replace("train@", "evaluate@")
    evaluation = _read_json(evaluation_path, key, evaluate_again)
    try:
        weights = read_sums(folder)[WEIGHTS]
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder / SUMS}: damaged ({error}); make it again: {train_again}") from error
    if evaluation.get("config_hash") != record.get("config_hash") or evaluation.get("weights_sha256") != weights:
        return "the evaluation is of another training: run dvc repro"
    if evaluation.get("results_version", 1) != EVALUATION_RESULTS_VERSION:
        return "evaluated with another results version: run dvc repro"
    _check_number(folder / RECORD, record, "final_return", train_again)
    _check_number(evaluation_path, evaluation, "episode_return_mean", evaluate_again)
    for name in NULL_WHERE_UNDEFINED:
        if evaluation.get(name) is not None:
            _check_number(evaluation_path, evaluation, name, evaluate_again)
    return Run(
        key=key,
        record=record,
        tests=_read_columns(folder / TESTS, train_again),
        entropy=_read_columns(folder / ENTROPY, train_again),
        evaluation=evaluation,
        training=_read_columns(folder / TRAINING, train_again) if (folder / TRAINING).exists() else {},
        games=_read_games(shapley_file(*key), key, evaluation.get("weights_sha256")),
    )


def _read_games(path: Path, key: Key, weights: Any) -> tuple[Game, ...]:
    """Return the games of a run, none where they were not measured or with other weights."""
    if not path.is_file():
        return ()
    again = f"rm {path}; make shapley"
    content = _read_json(path, key, again)
    if content.get("weights_sha256") != weights:
        return ()
    try:
        games = tuple(_game(entry) for entry in content["games"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: damaged ({type(error).__name__}: {error}); make it again: {again}") from error
    return games


def _game(entry: dict[str, Any]) -> Game:
    shares, values, errors = (np.array(entry[name], np.float64) for name in ("shares", "shapley", "errors"))
    if not (shares.shape == values.shape == errors.shape == (len(shares),)) or not np.isfinite([shares, values]).all():
        raise ValueError("one finite number per agent is needed")
    found = Shapley(values, errors, entry["exact"], entry["nobody"], entry["everybody"])
    return Game(entry["episode_seed"], entry["phase"], entry["step"], shares, found)


def _read_json(path: Path, key: Key, again: str) -> dict[str, Any]:
    try:
        content = read_object(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: damaged ({error}); make it again: {again}") from error
    if content.get("schema") != SCHEMA:
        raise BadInput(f"{path}: found another file layout, schema {SCHEMA} is read here; make it again: {again}")
    found = (content.get("env"), content.get("algorithm"), content.get("seed"))
    if found != key:
        raise BadInput(f"{path}: found the run {found}, which belongs elsewhere; make it again: {again}")
    return content


def _read_columns(path: Path, again: str) -> Columns:
    """Read a CSV file of numbers whose due_steps increase.

    Returns:
        Its columns, and all that are declared for it: one that is absent and may be empty is NaN.
    """
    declared = metrics.declared(path.name)
    needed = [metric.name for metric in declared if not metric.nullable]
    try:
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        if not {*needed} <= {*names} or len({*names}) < len(names):
            raise ValueError(f"the columns {', '.join(needed)} are needed, each column once")
        if not rows or any(len(row) != len(names) for row in rows):
            raise ValueError("rows are missing or cut short")
        table = np.array([[float(cell) if cell else math.nan for cell in row] for row in rows])
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path}: damaged ({error}); make it again: {again}") from error
    columns = {metric.name: np.full(len(rows), math.nan) for metric in declared}
    columns |= dict(zip(names, table.T, strict=True))
    if np.isinf(table).any() or any(np.isnan(columns[name]).any() for name in needed):
        raise BadInput(f"{path}: found a cell that is not a finite number; make it again: {again}")
    if (np.diff(columns["due_steps"]) <= 0).any():
        raise BadInput(f"{path}: due_steps must increase; make it again: {again}")
    return columns


def _check_number(path: Path, content: dict[str, Any], name: str, again: str) -> None:
    value = content.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise BadInput(f"{path}: {name}: found {value!r}, a finite number is needed; make it again: {again}")


def _difference(recorded: Any, current: dict[str, Any]) -> str | None:
    """Return the first setting whose recorded value is another than now; those that only one side knows do not count.

    A later version may know more settings: their defaults compute what was computed before, or a results version says
    that they do not.
    """
    if not isinstance(recorded, dict):
        return "config"
    for section, settings in current.items():
        then = recorded.get(section)
        if not (isinstance(settings, dict) and isinstance(then, dict)):
            settings, then = {"": settings}, {"": then}
        for name in sorted(settings.keys() & then.keys()):
            if settings[name] != then[name]:
                return f"{section}.{name}: {then[name]} then, {settings[name]} now"
    return None
