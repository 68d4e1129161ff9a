"""Where the pipeline's files lie, relative to the folder that holds params.yaml."""

import argparse
from pathlib import Path

from marl_gre.errors import Parser

WORK = Path("work")
RESULTS = Path("results")
REPORT = RESULTS / "report"


def run_folder(env: str, algorithm: str, seed: int) -> Path:
    """Return the folder of a training run's published files."""
    return RESULTS / "runs" / env / algorithm / str(seed)


def evaluation_file(env: str, algorithm: str, seed: int) -> Path:
    """Return the JSON file of a run's evaluation."""
    return RESULTS / "evaluation" / env / algorithm / f"{seed}.json"


def shapley_file(env: str, algorithm: str, seed: int) -> Path:
    """Return the JSON file of what a run's agents contribute, which `python -m benchmarks.shapley` writes."""
    return RESULTS / "evaluation" / env / algorithm / f"{seed}.shapley.json"


def item_arguments(description: str) -> argparse.Namespace:
    """Parse the command line of a stage that works on one (env, algorithm, seed)."""
    parser = Parser(description=description)
    parser.add_argument("--env", required=True, help="a key of `envs` in the params file")
    parser.add_argument("--algorithm", required=True, help="a key of `algorithms`")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--params", default="params.yaml", type=Path)
    return parser.parse_args()
