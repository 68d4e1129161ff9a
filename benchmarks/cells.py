"""Cells without DVC: train and evaluate one, tell which are done, and let DVC know of those that others made.

`python -m benchmarks.cells --env ... --algorithm ... --seed ...` does what is missing of one cell; it is what runs in a
SLURM array and on a Ray cluster. A cell is done if its files are whole and those of its config in params.yaml.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.layout import evaluation_file, item_arguments, run_folder
from benchmarks.node import PARENT
from marl_gre.config import EVALUATION_RESULTS_VERSION, Params, load_params
from marl_gre.errors import BadInput, run_cli
from marl_gre.storage.files import read_object, sha256
from marl_gre.storage.run_dir import RECORD, read_sums
from marl_gre.storage.weights import WEIGHTS


@dataclass(frozen=True)
class Cell:
    """An environment, an algorithm and a seed, by their names in params.yaml."""

    env: str
    algorithm: str
    seed: int

    @property
    def item(self) -> str:
        """Its name in DVC's stages, as lumberjacks_v0-qmix-0."""
        return f"{self.env}-{self.algorithm}-{self.seed}"

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.env} {self.algorithm} seed {self.seed}"

    @property
    def command(self) -> tuple[str, ...]:
        """What trains and evaluates it without DVC."""
        names = ("--env", self.env, "--algorithm", self.algorithm, "--seed", str(self.seed))
        return (sys.executable, "-m", "benchmarks.cells", *names)


def cells_of(params: Params) -> list[Cell]:
    """Return the selected cells in the order of `run.order`; seed by seed, early results cover everything."""
    run = params.run
    cells = [Cell(env, algorithm, seed) for seed in run.seeds for env in run.envs for algorithm in run.algorithms]
    return cells if run.order == "seeds" else sorted(cells, key=lambda cell: run.envs.index(cell.env))


def shard(cells: Sequence[Cell], text: str) -> list[Cell]:
    """Return the cells of shard i of N, from 1: every N-th of all cells, whether they are done or not.

    What is done changes while shards run; the list of all cells does not, so that each cell is in one shard.

    Raises:
        BadInput: the text is not i/N with 1 <= i <= N.
    """
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise BadInput(f"--shard: found {text!r}; i/N with i from 1 to N is allowed, such as 3/8.")
    return list(cells[int(number) - 1 :: int(count)])


def is_trained(params: Params, cell: Cell, root: Path = Path()) -> bool:
    """Return whether the run's published files below `root` are whole, and of this config and these versions."""
    folder = root / run_folder(cell.env, cell.algorithm, cell.seed)
    identity = params.run_config(cell.env, cell.algorithm, cell.seed).identity()
    try:
        if read_object(folder / RECORD).get("config_hash") != identity:
            return False
        withheld = WEIGHTS if cell.seed != params.run.seeds[0] else ""
        return all(
            sha256(folder / name) == digest
            for name, digest in read_sums(folder).items()
            if name != withheld or (folder / name).exists()
        )
    except (OSError, ValueError):
        return False


def is_done(params: Params, cell: Cell, root: Path = Path()) -> bool:
    """Return whether the run is trained, and its evaluation is of its weights, this length and this version."""
    if not is_trained(params, cell, root):
        return False
    try:
        found = read_object(root / evaluation_file(cell.env, cell.algorithm, cell.seed))
        return (
            found["weights_sha256"] == read_sums(root / run_folder(cell.env, cell.algorithm, cell.seed))[WEIGHTS]
            and len(found["episodes"]) == params.evaluate.episodes
            and found.get("results_version", 1) == EVALUATION_RESULTS_VERSION
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def main() -> None:
    """Train and evaluate one cell, unless that is done."""
    import benchmarks.evaluate  # here: the launcher needs neither
    import benchmarks.train

    if PARENT in os.environ:
        threading.Thread(target=_stop_with_stdin, daemon=True).start()
    item = item_arguments("Train and evaluate one cell of params.yaml, what is missing of it.")
    params, cell = load_params(item.params), Cell(item.env, item.algorithm, item.seed)
    params.run_config(*vars(cell).values())  # names that params.yaml does not have end here
    if not is_trained(params, cell):
        benchmarks.train.main()
    if not is_done(params, cell):
        benchmarks.evaluate.main()


def _stop_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_cli(main)
