"""A training run in files and back: what a checkpoint of it holds.

All randomness is counted, not carried, so networks, optimiser, replay, counters and measurements are everything: a run
that goes on from a checkpoint gives the same bits as one that was never stopped.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from marl_gre.errors import NonFinite, StorageFailed
from marl_gre.storage import checkpoint
from marl_gre.storage.run_dir import tensors_of

if TYPE_CHECKING:
    from marl_gre.trainer import Trainer

PARTS = ("agent", "mixer", "target_agent", "target_mixer")
COUNTERS = ("env_steps", "episodes", "updates", "test_due", "entropy_due")
STATE = "state.safetensors"


class Keeper:
    """Saves a trainer's checkpoints to its work folder, and takes a trainer back to the newest one.

    Replay episodes go into segments that are written once, so that a checkpoint costs the new episodes only.

    Args:
        work: the run's work folder, which exists.
        run: the run's identity.
    """

    def __init__(self, work: Path, run: str):
        self.work = work
        self.run = run
        self.number = 0
        self.segments: checkpoint.Entries = {}
        self.stored = 0  # episodes in segments

    def save(self, trainer: "Trainer") -> None:
        """Write a checkpoint.

        Raises:
            NonFinite: a weight is NaN or infinite; checkpoints hold finite numbers only.
            StorageFailed: it cannot be written.
        """
        tensors = _tensors(trainer)
        spoilt = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
        if spoilt:
            raise NonFinite(f"the model's {spoilt[0]} is not finite: lower train.lr; the checkpoint before is kept.")
        oldest = trainer.replay.added - len(trainer.replay)
        if trainer.replay.added > self.stored:
            first = max(self.stored, oldest)  # more may have come since the last checkpoint than the replay holds
            name = f"episodes-{first:07d}-{trainer.replay.added - 1:07d}.safetensors"
            self.segments |= checkpoint.write_segment(self.work, name, trainer.replay.segment(first))
            self.stored = trainer.replay.added
        self.segments = {name: entry for name, entry in self.segments.items() if _numbers(name)[1] >= oldest}
        content = {
            "counters": {name: getattr(trainer, name) for name in COUNTERS},
            "last_target_update": trainer.learner.last_target_update,
            "tests": [_to_json(row) for row in trainer.tests],
            "entropies": [_to_json(row) for row in trainer.entropies],
        }
        self.number += 1
        state = safetensors.torch.save(tensors)
        checkpoint.save(self.work, self.run, self.number, {STATE: state}, self.segments, content)

    def resume(self, trainer: "Trainer") -> bool:
        """Take a fresh trainer to the newest sound checkpoint; return whether there was one.

        Raises:
            StorageFailed: all checkpoints are damaged.
        """
        found = checkpoint.load_newest(self.work, self.run)
        if found is None:
            return False
        content, files, self.segments = found
        try:
            _load_tensors(trainer, safetensors.torch.load(files.pop(STATE).read_bytes()))
            for name in sorted(files):
                trainer.replay.restore(files[name].read_bytes(), _numbers(name)[0])
            for name in COUNTERS:
                setattr(trainer, name, int(content["counters"][name]))
            trainer.learner.last_target_update = int(content["last_target_update"])
            trainer.tests = [_from_json(row) for row in content["tests"]]
            trainer.entropies = [_from_json(row) for row in content["entropies"]]
        except Exception as error:  # hashes are right, so another version wrote it, or a forger: anything can be wrong
            raise StorageFailed(
                f"{self.work}: the checkpoint does not fit this version ({error!r}); delete this folder to start again."
            ) from error
        self.number = max(int(path.name[11:]) for path in self.work.glob(checkpoint.CHECKPOINTS))
        self.stored = trainer.replay.added
        return True


def _tensors(trainer: "Trainer") -> dict[str, torch.Tensor]:
    """Return all tensors of the learner by name."""
    learner = trainer.learner
    parts = {part: getattr(learner, part).state_dict() for part in PARTS}
    averages = {str(index): average for index, average in enumerate(learner.square_avgs)}
    return tensors_of(parts | {"square_avgs": averages})


def _load_tensors(trainer: "Trainer", tensors: dict[str, torch.Tensor]) -> None:
    learner = trainer.learner
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        groups.setdefault(part, {})[rest] = value
    for part in PARTS:
        getattr(learner, part).load_state_dict(groups.get(part, {}))
    for index, average in enumerate(learner.square_avgs):
        average.copy_(groups["square_avgs"][str(index)])


def _numbers(segment: str) -> tuple[int, int]:
    """Return the numbers of a segment's first and last episode."""
    first, last = segment.removesuffix(".safetensors").split("-")[-2:]
    return int(first), int(last)


def _to_json(row: Any) -> dict[str, float | None]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _from_json(row: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in row.items()}
