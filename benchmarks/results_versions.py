"""DVC stage: check params.yaml and write results_versions.yaml, the version of each part that shapes the numbers.

Runs are stale when their own config or one of these versions changed, not when a source file did. A matrix item of
dvc.yaml is only a key, so the file lists the versions by the keys of params.yaml. Checking comes first and nothing is
written after a mistake: the stages that would delete and remake results come after this one.
"""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import marl_gre_envs
from marl_gre.config import (
    EVALUATION_RESULTS_VERSION,
    TESTING_RESULTS_VERSION,
    TRAINER_RESULTS_VERSION,
    AlgorithmConfig,
    Params,
    load_params,
)
from marl_gre.errors import BadInput, Parser, run_cli
from marl_gre.jobs.check import check_runnable
from marl_gre.storage.files import publish_file

HEADER = "# Written by `python -m benchmarks.results_versions` (the DVC stage `versions`); not edited by hand.\n"
PATH = Path("results_versions.yaml")


def results_versions(params: Params) -> dict[str, Any]:
    """Return the results versions of everything declared in params.yaml.

    Raises:
        BadInput: an environment cannot be found.
    """
    try:
        env_versions = {key: marl_gre_envs.results_version(config.env) for key, config in params.envs.items()}
    except ValueError as error:
        raise BadInput(f"envs: {error}") from error
    return {
        "trainer": TRAINER_RESULTS_VERSION,
        "testing": TESTING_RESULTS_VERSION,
        "evaluation": EVALUATION_RESULTS_VERSION,
        "envs": env_versions,
        "algorithms": {key: _versions(config) for key, config in params.algorithms.items()},
    }


def _versions(config: AlgorithmConfig) -> int | dict[str, int]:
    """Return the versions of an algorithm's parts: one number where only the mixer is named."""
    versions = config.results_versions()
    return versions if len(versions) > 1 else versions["mixer"]


def write(params: Params, path: Path = PATH) -> None:
    """Write the file, all at once.

    Raises:
        BadInput: as `results_versions`.
        StorageFailed: the file cannot be written.
    """
    text = io.StringIO()
    YAML().dump(results_versions(params), text)
    publish_file(path, (HEADER + text.getvalue()).encode())


def main() -> None:
    """Check the params file, down to making each selected environment and network once, and write the versions."""
    parser = Parser(
        prog="python -m benchmarks.results_versions", description="Check params.yaml and write results_versions.yaml."
    )
    parser.add_argument("--params", default="params.yaml", type=Path)
    params = load_params(parser.parse_args().params)
    check_runnable(params)
    write(params)


if __name__ == "__main__":
    run_cli(main)
