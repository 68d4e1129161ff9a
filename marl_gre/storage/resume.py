"""Saves a training run to checkpoints and restores it.

Random draws are functions of counters, so a checkpoint needs networks, optimiser, replay, counters and measurements
only: a run that resumes from one is bit-identical to one that was never stopped.
"""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from marl_gre.errors import NonFinite, StorageFailed
from marl_gre.storage import checkpoint
from marl_gre.storage.mirror import Mirror

if TYPE_CHECKING:
    from marl_gre.trainer import Trainer

STATE = "state.safetensors"

WALL_S = "wall_s"
"""Seconds, which older checkpoints lack."""


class Keeper:
    """Saves a trainer's checkpoints to its work folder and restores the newest one.

    Replay episodes go into segments that are written once, so a checkpoint costs only the new episodes.

    Args:
        work: the run's work folder, which exists.
        run: the run's identity.
        mirror: where checkpoints are copied to, and come from if they are newer.
    """

    def __init__(self, work: Path, run: str, mirror: Mirror | None = None):
        self.work = work
        self.run = run
        self.mirror = mirror
        self.number = 0
        self.segments: checkpoint.Entries = {}
        self.stored = 0  # episodes in segments
        self.started = time.monotonic()  # as if one process had done all that was kept

    def save(self, trainer: "Trainer") -> None:
        """Write a checkpoint.

        Raises:
            NonFinite: a weight is NaN or infinite; checkpoints hold finite numbers only.
            StorageFailed: the checkpoint cannot be written, or another process has taken the run over.
        """
        trained = trainer.state_dict()
        tensors = trained["tensors"]
        spoilt = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
        if spoilt:
            raise NonFinite(f"the model's {spoilt[0]} is not finite: lower train.lr; the previous checkpoint is kept.")
        oldest = trainer.replay.added - len(trainer.replay)
        if trainer.replay.added > self.stored:
            first = max(self.stored, oldest)  # more may have come since the last checkpoint than the replay holds
            name = f"episodes-{first:07d}-{trainer.replay.added - 1:07d}.safetensors"
            self.segments |= checkpoint.write_segment(self.work, name, trainer.replay.segment(first))
            self.stored = trainer.replay.added
        self.segments = {name: entry for name, entry in self.segments.items() if _numbers(name)[1] >= oldest}
        self.number += 1
        state = safetensors.torch.save(tensors)
        content = {**trained["numbers"], WALL_S: time.monotonic() - self.started}
        checkpoint.save(self.work, self.run, self.number, {STATE: state}, self.segments, _to_json(content))
        if self.mirror is not None:
            self.mirror.push(self.work, self.number)

    def resume(self, trainer: "Trainer") -> bool:
        """Restore the newest intact checkpoint into a new trainer; return whether there was one.

        Raises:
            StorageFailed: all checkpoints are damaged, the newest is another version's, or the mirror cannot be used.
        """
        if self.mirror is not None:
            self.mirror.take()
            self.mirror.fetch(self.work)
        found = checkpoint.load_newest(self.work, self.run)
        if found is None:
            return False
        content, files, self.segments = found
        try:
            tensors = safetensors.torch.load(files.pop(STATE).read_bytes())
            for name in sorted(files):
                trainer.replay.restore(files[name].read_bytes(), _numbers(name)[0])
            trainer.load_state_dict({"tensors": tensors, "numbers": _from_json(content)})
            self.started -= float(content.get(WALL_S, 0.0))
        except Exception as error:  # hashes are right, so another version wrote it, or a forger: anything can be wrong
            raise StorageFailed(
                f"{self.work}: the checkpoint does not fit this version ({error!r}); delete this folder to start again."
            ) from error
        self.number = max(map(checkpoint.number_of, self.work.glob(checkpoint.CHECKPOINTS)))
        self.stored = trainer.replay.added
        return True


def _numbers(segment: str) -> tuple[int, int]:
    """Return the numbers of a segment's first and last episode."""
    first, last = segment.removesuffix(".safetensors").split("-")[-2:]
    return int(first), int(last)


def _to_json(value: Any) -> Any:
    """Return nested numbers with null for what is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    """Return nested numbers with NaN for null."""
    if isinstance(value, dict):
        return {name: _from_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return math.nan if value is None else value
