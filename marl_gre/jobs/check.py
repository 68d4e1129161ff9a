"""Check a params file: find what can go wrong before anything is run or deleted."""

from pathlib import Path

from marl_gre import metrics
from marl_gre.config import Params, load_params
from marl_gre.networks import build, pick_device
from marl_gre.rollout import opened


def check_params(path: Path) -> str:
    """Make every selected environment and network once; return one line about what would run.

    Raises:
        BadInput: the file, or something it selects, cannot be used.
    """
    params = load_params(path)
    check_runnable(params)
    run = params.run
    count = len(run.envs) * len(run.algorithms) * len(run.seeds)
    sizes = f"{len(run.envs)} envs x {len(run.algorithms)} algorithms x {len(run.seeds)} seeds"
    return f"{path}: sound; {sizes} = {count} runs."


def check_runnable(params: Params) -> None:
    """Make every selected environment and network once, and import the metrics.

    Raises:
        BadInput: one of them cannot be made.
    """
    pick_device(params.train.device)
    metrics.find(params.metrics)
    for env_key in params.run.envs:
        with opened(env_key, params.envs[env_key], 1) as env:
            for algorithm_key in params.run.algorithms:
                config = params.run_config(env_key, algorithm_key, params.run.seeds[0])
                config.results_versions()
                build(config, env)
