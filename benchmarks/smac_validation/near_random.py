"""Near-random play: the first environment steps of our own training, beside those of training on the real game.

The paper's schedule and learner play: epsilon falls from 1.0 to 0.81, and the network that acts otherwise has hardly
learned. So the exact counterpart of what PyMARL logs on the game is our trainer, not uniformly random play. A run is
one map and seed; it is measured once for each version of trainer, mixer and engine, and kept in the work folder.
"""

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import marl_gre_envs.smac
from benchmarks.layout import WORK
from benchmarks.smac_validation.checks import Check, Section, within
from benchmarks.smac_validation.game import real_game
from marl_gre.config import EnvConfig, RunConfig, load_params
from marl_gre.progress import Progress
from marl_gre.storage.files import publish_json
from marl_gre.trainer import Trainer

FIRST_STEPS = 10_000
NEAR = 0.10
"""A mean this close to the game's is met, as is one inside the range of the game's runs."""

ALGORITHM = "qmix"
CACHE = WORK / "smac_validation"


@dataclass(frozen=True)
class Run:
    """What is measured: a map, a seed, and options of the engine that differ from the defaults."""

    map_name: str
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    first_steps: int = FIRST_STEPS
    params: Path = Path("params.yaml")

    def config(self) -> RunConfig:
        """Return the paper's SMAC protocol on this map, without tests but the first."""
        params = load_params(self.params)
        declared = next(env for env in params.envs.values() if env.env == "smac_v0")
        changed = {
            "kwargs": {"map_name": self.map_name, **self.options},
            "test_interval_steps": declared.total_steps,
            "entropy_interval_steps": declared.total_steps,
        }
        train = params.train.model_copy(update={"device": "cpu"})
        return RunConfig(
            env_key=self.map_name,
            algorithm_key=ALGORITHM,
            seed=self.seed,
            env=EnvConfig.model_validate({**declared.model_dump(), **changed}),
            algorithm=params.algorithms[ALGORITHM],
            train=train,
        )

    def cache_file(self) -> Path:
        """Return where the result is kept: named by config, results versions and the engine's source.

        The results versions alone would do for a finished engine; the source makes rules under work count as others.
        """
        sources = sorted(Path(marl_gre_envs.smac.__path__[0]).glob("*.py"))
        digest = hashlib.sha256(f"{self.config().identity()} {self.first_steps}".encode())
        for source in sources:
            digest.update(source.read_bytes())
        return CACHE / f"{self.map_name}-{self.seed}-{digest.hexdigest()[:12]}.json"


def measure(run: Run) -> dict[str, float]:
    """Return mean return, length and share won of a run's first training episodes, and of its untrained greedy test."""
    torch.set_num_threads(1)
    trainer = Trainer(run.config())
    for _ in trainer.run():
        if trainer.env_steps >= run.first_steps:
            break
    episodes = list(trainer.replay.kept.values())
    test = trainer.tests[0]
    returns = [episode.episode_return for episode in episodes]
    return {
        "episodes": len(episodes),
        "return": float(np.mean(returns)),
        "within_run": float(np.std(returns)),
        "length": float(np.mean([episode.length for episode in episodes])),
        "won": float(np.mean([bool(episode.won) for episode in episodes])),
        "untrained_return": float(test["episode_return_mean"]),
        "untrained_length": float(test["episode_length_mean"]),
    }


def measure_and_keep(run: Run) -> Run:
    """Measure a run and keep the result; return the run."""
    publish_json(run.cache_file(), {"map": run.map_name, "seed": run.seed, "options": run.options, **measure(run)})
    return run


def measured(runs: Sequence[Run], jobs: int, again: bool = False) -> list[dict[str, float]]:
    """Return the results of runs, those that are not kept yet measured by `jobs` processes.

    Args:
        runs: what is wanted; no map and seed twice.
        jobs: processes, one thread each; 1 measures in this process.
        again: whether to measure what is kept, too.
    """
    files = [run.cache_file() for run in runs]
    missing = [run for run, file in zip(runs, files, strict=True) if again or not file.exists()]
    progress = Progress(len(missing), "near-random play", "runs")
    try:
        with _workers(min(jobs, len(missing))) as each:
            for done, run in enumerate(each(missing), 1):
                progress.update(done, f"{run.map_name} seed {run.seed}")
    finally:
        progress.close()
    return [json.loads(file.read_text()) for file in files]


@contextmanager
def _workers(jobs: int) -> Iterator[Any]:
    """Offer a function that measures runs, in `jobs` processes that end with the block."""
    if jobs <= 1:
        yield lambda runs: map(measure_and_keep, runs)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield lambda runs: pool.imap_unordered(measure_and_keep, runs)


def section(
    maps: Sequence[str],
    seeds: int,
    jobs: int,
    options: dict[str, Any],
    again: bool = False,
    first_steps: int = FIRST_STEPS,
) -> Section:
    """Return near-random play beside the game's, map by map."""
    runs = [Run(name, seed, options, first_steps) for seed in range(seeds) for name in maps]
    results = measured(runs, jobs, again)
    checks: list[Check] = []
    for name in maps:
        rows = [result for run, result in zip(runs, results, strict=True) if run.map_name == name]
        game = real_game()["near_random"][name]
        pairs = {
            "return": ("return", game["return"], True),
            "length": ("length", game["length"], True),
            "untrained_return": ("untrained greedy return", game["untrained"]["return"], False),
            "untrained_length": ("untrained greedy length", game["untrained"]["length"], False),
        }
        for key, (quantity, (mean, _, least, most), required) in pairs.items():
            values = np.array([row[key] for row in rows])
            checks.append(
                Check(
                    where=name,
                    quantity=quantity,
                    engine=float(values.mean()),
                    game=mean,
                    error=float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None,
                    game_range=(least, most),
                    allowed=within(mean, NEAR, (least, most)) if required else None,
                    samples=len(values),
                )
            )
    note = (
        f"Mean over seeds of the first {first_steps:,} environment steps of training (QMIX, epsilon from 1.0 to 0.81), "
        "± standard error; the game's mean over runs [least, most]. The untrained network's greedy test: 32 episodes."
    )
    return Section("near_random", "Near-random play", note, checks, by_map=True)
