"""The training job: a trainer with its checkpoints, from a config to published files."""

import sys
import time
from pathlib import Path

import safetensors.torch
import torch

from marl_gre import signals
from marl_gre.config import RunConfig
from marl_gre.errors import NonFinite
from marl_gre.progress import Progress
from marl_gre.storage import checkpoint
from marl_gre.storage.resume import Keeper
from marl_gre.storage.run_dir import (
    lock,
    prepare,
    provenance,
    publishing,
    tensors_of,
    weights_bytes,
    write_run,
)
from marl_gre.trainer import Trainer, entropy_row

CHECKPOINT_STEPS = 10_000
"""Environment steps between checkpoints; no result depends on it."""


def train(config: RunConfig, out: Path, work: Path) -> None:
    """Train one run and publish its files; go on from its newest checkpoint if it was stopped.

    Args:
        config: what to train.
        out: folder of the published files: tests.csv, entropy.csv, train.json, provenance.json, weights.safetensors,
            SHA256SUMS.
        work: where runs keep lock and checkpoints, in a folder named by the run's identity.

    Raises:
        BadInput: the environment or mixer cannot be made from the config.
        EnvironmentFailed, NonFinite, RunInUse, StorageFailed, Stopped: see marl_gre.errors.
    """
    started = time.monotonic()
    torch.set_num_threads(1)  # two threads on two busy cores are several times slower than one
    identity = config.identity()
    folder = work / identity[:12]
    with signals.noted() as received, lock(folder):
        prepare(out)
        trainer = Trainer(config)
        keeper = Keeper(folder, identity)
        if keeper.resume(trainer):
            print(f"resumed at {trainer.env_steps} env steps", file=sys.stderr)
        saved = trainer.env_steps
        title = f"train {config.env_key} {config.algorithm_key} seed {config.seed}"
        progress = Progress(config.env.total_steps, title, "env steps")
        try:
            for note in trainer.run():
                progress.update(trainer.env_steps, note)
                if received or trainer.env_steps >= saved + CHECKPOINT_STEPS:
                    keeper.save(trainer)
                    saved = trainer.env_steps
                signals.stop_if(received, "run the same command to go on.")
        except NonFinite as error:
            raise NonFinite(f"{error} {_keep_failure(folder, trainer)}") from error
        finally:
            progress.close()
        weights = weights_bytes(trainer.learner.agent, trainer.learner.mixer)
        entropies = trainer.entropies or [entropy_row(0, 0, 0, {})]
        with publishing(out) as target:
            write_run(target, trainer.tests, entropies, weights, trainer.record(), provenance(trainer.device, started))
        checkpoint.remove_all(folder)


def _keep_failure(folder: Path, trainer: Trainer) -> str:
    """Keep the batch on which an update failed, and the weights before it; return a sentence that says where."""
    if trainer.failed_batch is None:
        return "The newest checkpoint holds finite numbers only."
    batch = trainer.failed_batch
    tensors = {f"batch.{name}": value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    tensors["batch.episodes"] = torch.tensor(batch.episodes)
    weights = {"agent": trainer.learner.agent.state_dict(), "mixer": trainer.learner.mixer.state_dict()}
    content = safetensors.torch.save({name: v.cpu().contiguous() for name, v in tensors.items()} | tensors_of(weights))
    path = folder / "failure" / f"update-{trainer.updates:07d}.safetensors"
    try:
        path.parent.mkdir(exist_ok=True)
        checkpoint.write_durably(path, content)
    except OSError as error:
        return f"Its batch could not be kept ({error})."
    return f"Its batch and the weights are in {path}; the newest checkpoint holds finite numbers only."
