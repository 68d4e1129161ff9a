"""Train a run, from its config to its published files, with checkpoints on the way."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch

from marl_gre import signals, trackers
from marl_gre.config import RunConfig
from marl_gre.errors import NonFinite
from marl_gre.metrics import ENTROPY, TESTS, TRAINING
from marl_gre.progress import Progress
from marl_gre.storage import checkpoint
from marl_gre.storage.files import csv_text, json_text, publish_file, publishing, write_durably
from marl_gre.storage.mirror import Mirror
from marl_gre.storage.provenance import provenance
from marl_gre.storage.resume import Keeper
from marl_gre.storage.run_dir import PROVENANCE, RECORD, lock, prepare, work_folder, write_run
from marl_gre.storage.weights import WEIGHTS, on_cpu, weights_bytes
from marl_gre.trackers import Trackers
from marl_gre.trainer import Trainer, entropy_row

CHECKPOINT_STEPS = 10_000
"""Environment steps between checkpoints; results do not depend on it."""


def train(
    config: RunConfig,
    out: Path | str,
    work: Path | str,
    publish_weights: bool = True,
    log: Sequence[str] = (),
    mirror: str | None = None,
) -> None:
    """Train one run and publish its files, resuming from its newest checkpoint if there is one.

    Args:
        config: the run's config.
        out: folder of the published files (storage/run_dir.py lists them).
        work: parent of the folders, named by identity, in which runs keep their lock and checkpoints.
        publish_weights: False publishes only their hash and leaves them in the run's folder in `work`.
        log: names of trackers (`trackers.find`), which see each row when it is written.
        mirror: URL of a folder for copies of checkpoints (storage/mirror.py); they stay there when the run is done.

    Raises:
        BadInput: a part of the config, a metric, tracker or mirror cannot be made, or `out` is not to be replaced.
        EnvironmentFailed, NonFinite, RunInUse, StorageFailed, Stopped: see marl_gre.errors.
    """
    out, work = Path(out), Path(work)
    identity = config.identity()
    folder = work_folder(work, identity)
    mirrored = None if mirror is None else Mirror(mirror, identity)
    tracked = Trackers(trackers.find(log), config, work)
    with signals.noted(again_ends=True) as received, tracked, lock(folder):
        prepare(out)
        keeper = Keeper(folder, identity, mirrored)  # first: it takes the time
        with contextlib.closing(Trainer(config)) as trainer:
            try:
                _run(trainer, keeper, tracked, received)
            except NonFinite as error:
                raise NonFinite(f"{error} {_keep_failure(folder, trainer)}") from error
            contents = _contents(trainer, keeper.started)
            if mirrored is not None:
                mirrored.check()
            if not publish_weights:
                publish_file(folder / WEIGHTS, contents[WEIGHTS])
            with publishing(out) as target:
                write_run(target, contents, withheld=() if publish_weights else (WEIGHTS,))
            checkpoint.remove_all(folder)


def _run(trainer: Trainer, keeper: Keeper, tracked: Trackers, received: Sequence[int]) -> None:
    """Train from the newest checkpoint, if there is one, to the end; save on the way and when a signal was received."""
    config = trainer.config
    if keeper.resume(trainer):
        print(f"resumed at {trainer.env_steps} env steps", file=sys.stderr)
        tracked.follow(trainer.rows())
    saved = trainer.env_steps
    title = f"train {config.env_key} {config.algorithm_key} seed {config.seed}"
    progress = Progress(config.env.total_steps, title, "env steps", done=saved)
    try:
        for note in trainer.run():
            progress.update(trainer.env_steps, note)
            tracked.follow(trainer.rows())
            if received or trainer.env_steps >= saved + CHECKPOINT_STEPS:
                keeper.save(trainer)
                saved = trainer.env_steps
            signals.stop_if(received, "run the same command to go on.")
    finally:
        progress.close()


def _contents(trainer: Trainer, started: float) -> Mapping[str, bytes]:
    """Return the files of a finished run by name."""
    entropies = trainer.entropies or [entropy_row(0, 0, 0, {})]
    return {
        ENTROPY: csv_text(entropies).encode(),
        PROVENANCE: json_text(provenance(trainer.device, started)).encode(),
        TESTS: csv_text(trainer.tests).encode(),
        RECORD: json_text(trainer.record()).encode(),
        TRAINING: csv_text(trainer.training).encode(),
        WEIGHTS: weights_bytes(trainer.learner.networks),
    }


def _keep_failure(folder: Path, trainer: Trainer) -> str:
    """Keep the batch on which an update failed, and the weights before it; return a sentence that says where."""
    if trainer.failed_batch is None:
        return "The newest checkpoint holds finite numbers only."
    batch = trainer.failed_batch
    tensors = {f"batch.{name}": value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    tensors["batch.episodes"] = torch.tensor(batch.episodes)
    content = safetensors.torch.save(on_cpu(tensors | trainer.learner.networks.state_dict()))
    path = folder / "failure" / f"update-{trainer.updates:07d}.safetensors"
    try:
        path.parent.mkdir(exist_ok=True)
        write_durably(path, content)
    except OSError as error:
        return f"Its batch could not be kept ({error})."
    return f"Its batch and the weights are in {path}; the newest checkpoint holds finite numbers only."
