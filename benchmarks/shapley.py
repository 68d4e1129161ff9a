"""What the agents of the main results contribute, beside their credit: Shapley values of the first seed's policies.

No DVC stage, since it reads published weights and changes with nothing else: `make shapley` writes a file beside each
evaluation, with the weights' hash, and `aggregate` shows those whose weights are still the run's. A file that is up to
date is left alone.
"""

from pathlib import Path
from typing import Any

from benchmarks.layout import run_folder, shapley_file
from benchmarks.report.contributions import EPISODES, PERMUTATIONS, cells
from marl_gre.cli import one_thread
from marl_gre.config import load_params
from marl_gre.errors import Parser, run_cli
from marl_gre.jobs.credits_measured import measure
from marl_gre.jobs.credits_shapley import Game, contributions
from marl_gre.seeding import Purpose, episode_seed
from marl_gre.storage.files import publish_json, read_object
from marl_gre.storage.run_dir import SCHEMA, FinishedRun, load_run
from marl_gre.storage.weights import WEIGHTS


def content(run: FinishedRun) -> dict[str, Any]:
    """Return the games of a run with what they were made from."""
    config = run.config
    seeds = [episode_seed(config.seed, Purpose.EVAL, index) for index in range(EPISODES)]
    games = contributions(run, measure(run, seeds), PERMUTATIONS)
    return {
        **identity(run),
        "gamma": config.train.gamma,
        "made_by": "python -m benchmarks.shapley",
        "games": [_game(game) for game in games],
    }


def identity(run: FinishedRun) -> dict[str, Any]:
    """Return what a file of this run must say to be up to date."""
    config = run.config
    return {
        "schema": SCHEMA,
        "env": config.env_key,
        "algorithm": config.algorithm_key,
        "seed": config.seed,
        "weights_sha256": run.sums[WEIGHTS],
        "episodes": EPISODES,
        "permutations": PERMUTATIONS,
    }


def _game(game: Game) -> dict[str, Any]:
    found = game.shapley
    return {
        "episode_seed": game.episode_seed,
        "phase": game.phase,
        "step": game.step,
        "exact": found.exact,
        "nobody": _short(found.nobody),
        "everybody": _short(found.everybody),
        "shares": [_short(value) for value in game.shares],
        "shapley": [_short(value) for value in found.values],
        "errors": [_short(value) for value in found.errors],
    }


def _short(value: float) -> float:
    """Return six significant digits, without what summing in another order leaves of 0."""
    return 0.0 if abs(value) < 1e-9 else float(f"{value:.6g}")


def main() -> None:
    """Measure the cells of the params file that are not up to date."""
    parser = Parser(
        prog="python -m benchmarks.shapley", description="Measure what agents contribute, beside their credit."
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    params = load_params(parser.parse_args().params)
    one_thread()
    for key in cells(params):
        run, path = load_run(run_folder(*key)), shapley_file(*key)
        if not up_to_date(path, run):
            publish_json(path, content(run))
        print(path, flush=True)


def up_to_date(path: Path, run: FinishedRun) -> bool:
    """Return whether a file was made from the run's weights with today's settings."""
    try:
        return identity(run).items() <= read_object(path).items()
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    run_cli(main)
