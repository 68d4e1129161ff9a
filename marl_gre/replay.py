"""Episode replay that stores compact world states and recomputes the agents' observations.

A step costs tens of bytes instead of thousands (TrafficJunction10: 5,400 for the observations alone); the environment's
own `observe` makes the batch, bit-identical to what the agents saw.
"""

import mmap
from dataclasses import replace

import numpy as np
import safetensors.numpy

from marl_gre.data import Episode

CHUNK_BYTES = 2**22


class Replay:
    """The newest `capacity` episodes, by their numbers (0 = the first ever added).

    Arrays lie one after another in memory chunks of their own, each released with its last episode. On the general heap
    they would lie between the large tensors of updates and fragment it: TrafficJunction10's 26 MB of episodes cost 270
    MB.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.kept: dict[int, Episode] = {}
        self.added = 0
        self.chunk = np.empty(0, np.uint8)
        self.chunk_used = 0

    def __len__(self) -> int:
        return len(self.kept)

    def add(self, episode: Episode) -> None:
        """Add an episode, replacing the oldest one if the replay is full."""
        self.kept[self.added] = replace(
            episode,
            world={name: self._kept(values) for name, values in episode.world.items()},
            actions=self._kept(episode.actions),
            reward=self._kept(episode.reward),
        )
        self.kept.pop(self.added - self.capacity, None)
        self.added += 1

    def _kept(self, values: np.ndarray) -> np.ndarray:
        """Return a copy in the newest chunk."""
        if self.chunk_used + values.nbytes > len(self.chunk):
            self.chunk = np.frombuffer(mmap.mmap(-1, max(CHUNK_BYTES, values.nbytes)), np.uint8)
            self.chunk_used = 0
        copy = self.chunk[self.chunk_used :][: values.nbytes].view(values.dtype).reshape(values.shape)
        copy[...] = values
        self.chunk_used += -(-values.nbytes // 8) * 8  # any dtype begins at a multiple of 8
        return copy

    def sample(self, count: int, generator: np.random.Generator) -> list[Episode]:
        """Return `count` distinct episodes, drawn uniformly."""
        oldest = self.added - len(self)
        return [self.kept[oldest + i] for i in generator.choice(len(self), count, replace=False).tolist()]

    def segment(self, first: int) -> bytes:
        """Return the episodes from number `first` to the newest as a safetensors file."""
        episodes = [self.kept[number] for number in range(first, self.added)]
        arrays = {f"world.{name}": np.concatenate([e.world[name] for e in episodes]) for name in episodes[0].world}
        arrays["actions"] = np.concatenate([e.actions for e in episodes])
        arrays["reward"] = np.concatenate([e.reward for e in episodes])
        arrays["length"] = np.array([e.length for e in episodes])
        arrays["seed"] = np.array([e.seed for e in episodes])
        arrays["terminated"] = np.array([e.terminated for e in episodes])
        arrays["won"] = np.array([-1 if e.won is None else e.won for e in episodes], np.int8)
        return safetensors.numpy.save(arrays)

    def restore(self, segment: bytes, first: int) -> None:
        """Add the episodes of a segment whose first has the given number; segments come in order, without gaps."""
        arrays = safetensors.numpy.load(segment)
        world = {name.removeprefix("world."): arrays[name] for name in arrays if name.startswith("world.")}
        self.added = first
        end = 0
        for i, length in enumerate(arrays["length"].tolist()):
            steps, rows = slice(end, end + length), slice(end + i, end + i + length + 1)
            self.add(
                Episode(
                    seed=int(arrays["seed"][i]),
                    world={name: values[rows] for name, values in world.items()},
                    actions=arrays["actions"][steps],
                    reward=arrays["reward"][steps],
                    terminated=bool(arrays["terminated"][i]),
                    won=None if arrays["won"][i] < 0 else bool(arrays["won"][i]),
                )
            )
            end += length
