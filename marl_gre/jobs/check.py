"""Check a params file: find what can go wrong before anything is run or deleted."""

from pathlib import Path

import marl_gre_envs
from marl_gre import metrics
from marl_gre.config import Params, load_params
from marl_gre.errors import EnvironmentFailed, NonFinite
from marl_gre.networks import build, pick_device
from marl_gre.rollout import BlamedOnEnv, opened
from marl_gre_envs.vector import VectorEnv


def check_params(path: Path) -> str:
    """Make every selected environment and network once; return one line about what would run.

    Raises:
        BadInput: the file, or something it selects, cannot be used.
        EnvironmentFailed, NonFinite: as in `check_runnable`.
    """
    params = load_params(path)
    check_runnable(params)
    run = params.run
    count = len(run.envs) * len(run.algorithms) * len(run.seeds)
    sizes = f"{len(run.envs)} envs x {len(run.algorithms)} algorithms x {len(run.seeds)} seeds"
    return f"{path}: sound; {sizes} = {count} runs."


def check_runnable(params: Params) -> None:
    """Make every selected environment and network once, take a step in those of third parties, import the metrics.

    Raises:
        BadInput: one of them cannot be made.
        EnvironmentFailed, NonFinite: an environment fails in its first step.
    """
    pick_device(params.train.device)
    metrics.find(params.metrics)
    for env_key in params.run.envs:
        with opened(env_key, params.envs[env_key], 1) as env:
            if params.envs[env_key].env not in marl_gre_envs.ENVS:  # ours are tested, and their kernels take a while
                try_env(env_key, env)
            for algorithm_key in params.run.algorithms:
                config = params.run_config(env_key, algorithm_key, params.run.seeds[0])
                config.results_versions()
                build(config, env)


def try_env(key: str, env: VectorEnv) -> None:
    """Take the first step of an episode.

    Raises:
        EnvironmentFailed, NonFinite: the environment raised, or returned numbers that are not finite.
    """
    try:
        with BlamedOnEnv([0]):
            env.reset(seed=[0])
            env.step(env.action_mask.argmax(-1))
    except (EnvironmentFailed, NonFinite) as error:
        raise type(error)(f"envs.{key}: {error}") from error
