"""How `benchmarks.speed` measures: CPU seconds, medians of calls in turn, peak memory, processes of their own.

CPU seconds of the one thread equal wall seconds on an idle machine, and leave out the waiting for a core on a busy one.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marl_gre_envs.vector import VectorEnv

clock = time.process_time

MATRIX_PRODUCT_GFLOP = 2 * 1024**3 / 1e9


def medians(
    contestants: Mapping[str, Callable[[], object]], repetitions: int, now: Callable[[], float] = clock
) -> dict[str, float]:
    """Return the median seconds of functions called in turn (A B C A B C), after one call each that does not count."""
    for contestant in contestants.values():
        contestant()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repetitions):
        for name, contestant in contestants.items():
            taken[name].append(seconds_of(contestant, now))
    return {name: statistics.median(values) for name, values in taken.items()}


def median(function: Callable[[], object], repetitions: int) -> float:
    """Return the median seconds of one function."""
    return medians({"": function}, repetitions)[""]


def seconds_of(function: Callable[[], object], now: Callable[[], float] = clock) -> float:
    """Return the seconds of one call."""
    started = now()
    function()
    return now() - started


def matrix_product() -> Callable[[], object]:
    """Return the float32 matrix product, of `MATRIX_PRODUCT_GFLOP`, whose speed stands for the machine's peak."""
    a = torch.rand(1024, 1024)
    return lambda: a @ a


def peak_gflops() -> float:
    """Return the speed of matrix products now."""
    return MATRIX_PRODUCT_GFLOP / median(matrix_product(), 5)


def update_gflop(rows: int, steps: int, n_agents: int, obs_dim: int, n_actions: int, state_dim: int) -> float:
    """Return the operations of the matrix products that one update of QMIX cannot avoid, in units of 10^9.

    Online and target networks forward, the online ones backward, over real steps only; products with one-hot vectors
    (previous action, agent id) are look-ups and count nothing.

    Args:
        rows: observations of all episodes P.
        steps: actions of all episodes Q.
        n_agents, obs_dim, n_actions, state_dim: sizes of the environment.
    """
    hidden, embed, hyper = 64, 32, 64
    first, others = obs_dim * hidden, 6 * hidden * hidden + hidden * n_actions
    agent = n_agents * (2 * rows * (first + others) + steps * (first + 2 * others))
    from_state = state_dim * (2 * hyper + 2 * embed)
    mixing = hyper * n_agents * embed + hyper * embed + embed + n_agents * embed + embed
    mixer = steps * (2 * (from_state + mixing) + from_state + 2 * mixing)
    return 2 * (agent + mixer) / 1e9


def in_its_own_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Return the function's result from a fresh process, whose peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.apply(function, arguments)


def side_by_side(count: int, function: Callable[..., Any], *arguments: object) -> list[Any]:
    """Return the results of function(begin, ...) from as many fresh processes; begin() waits until all call it."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    with context.Pool(count, initializer=_keep, initargs=(barrier.wait,)) as pool:
        return pool.starmap(_with_begin, [(function, *arguments)] * count, chunksize=1)


_begin: Callable[[], object]


def _keep(begin: Callable[[], object]) -> None:
    """Prepare a process of `side_by_side`; a barrier travels to new processes only."""
    global _begin
    _begin = begin
    torch.set_num_threads(1)


def _with_begin(function: Callable[..., Any], *arguments: object) -> Any:
    return function(_begin, *arguments)


def resident_peak_mb() -> float:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts the parent process there
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def memory_of(env: VectorEnv) -> int:
    """Return the bytes of all arrays of an environment, shared ones once."""
    values = [v for value in vars(env).values() for v in (value.values() if isinstance(value, dict) else [value])]
    owners = [_owner(value) for value in values if isinstance(value, np.ndarray)]
    return sum({id(owner): owner.nbytes for owner in owners}.values())


def _owner(array: np.ndarray) -> np.ndarray:
    """Return the array that owns a view's memory."""
    return _owner(array.base) if isinstance(array.base, np.ndarray) else array
