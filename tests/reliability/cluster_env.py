"""What the cluster test's runs import on the nodes: short episodes, frequent checkpoints, and a trace of what happens.

Named as the environment in the test's params.yaml, so that it is imported in the training process and nowhere else.
"""

import fcntl
import os
import time
from pathlib import Path

import marl_gre.jobs.train as job
from marl_gre.storage.resume import Keeper
from marl_gre_envs import lumberjacks_v1

job.CHECKPOINT_STEPS = 200

_save, _resume = Keeper.save, Keeper.resume


def trace(keeper, event, env_steps):
    """Append a line to the file that CLUSTER_TRACE names: run, event, environment steps."""
    if "CLUSTER_TRACE" in os.environ:
        with Path(os.environ["CLUSTER_TRACE"]).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{keeper.run} {event} {env_steps}\n")


def save(keeper, trainer):
    """Save and mirror, then tell."""
    _save(keeper, trainer)
    trace(keeper, "saved", trainer.env_steps)


def resume(keeper, trainer):
    """Resume if there is a checkpoint, and tell where."""
    found = _resume(keeper, trainer)
    trace(keeper, "started", trainer.env_steps)
    return found


Keeper.save, Keeper.resume = save, resume


def parallel_env(**kwargs):
    """Lumberjacks, each episode of which takes as long as CLUSTER_EPISODE_S says: time to be killed in."""
    env = lumberjacks_v1.parallel_env(**kwargs)
    reset = env.reset

    def slow_reset(*arguments, **options):
        time.sleep(float(os.environ.get("CLUSTER_EPISODE_S", "0")))
        return reset(*arguments, **options)

    env.reset = slow_reset
    return env
