"""The Ray engine: every cell is a Ray task on some machine of a cluster, and its published files come back.

A task runs `benchmarks.cells` as a subprocess on the node (benchmarks/node.py). Ray runs a task whose node is lost
again elsewhere, where it goes on from the mirror's newest checkpoint; a task whose command fails is not run again. The
driver holds no state: files that came back are checked and put where DVC expects them, and the launcher commits them.
Every node needs the same checkout, installed with the extra `distributed`.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cells import Cell, is_done
from benchmarks.layout import WORK, evaluation_file, run_folder
from benchmarks.node import Outcome, run_cell
from marl_gre import trackers
from marl_gre.config import Params
from marl_gre.errors import BadInput, MarlGreError, StorageFailed
from marl_gre.signals import STOP
from marl_gre.storage import mirror
from marl_gre.storage.files import publishing, sync_folder, write_durably, writing
from marl_gre.storage.run_dir import PUBLISHED, SUMS, work_folder
from marl_gre.storage.weights import WEIGHTS

if TYPE_CHECKING:
    from benchmarks.launch import Task

PASSED_ON = (trackers.VARIABLE, mirror.VARIABLE, "WANDB_")
"""Beginnings of the names of environment variables that the driver passes on."""


class RayBackend:
    """Runs cells on a Ray cluster.

    Args:
        params: of the project in the current folder.
        address: of the cluster; None for RAY_ADDRESS, a cluster on this machine, or one started here.
        num_gpus: share of a GPU that a cell needs.

    Raises:
        BadInput: Ray is missing, or there is no cluster.
    """

    def __init__(self, params: Params, address: str | None, num_gpus: float):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise BadInput('--engine ray: Ray is missing: pip install "marl-gre[distributed]".') from error
        self.ray, self.params = ray, params
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            named = "no cluster was found" if address is None else f"found {address!r}, no cluster answers"
            raise BadInput(f"--address: {named} ({error}); see `ray status`.") from error
        # -1: as often as nodes are lost; what the command itself reports is no exception and not run again
        options = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=-1)
        self.task = options(run_cell)
        self.text = Path("params.yaml").read_bytes()
        path = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
        passed = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        self.environment = {**passed, "PYTHONPATH": path}  # for environments and trackers beside params.yaml

    def start(self, task: "Task") -> "RayJob":
        """See Backend."""
        return RayJob(self, task)

    def note(self, shares: Mapping["Task", float]) -> str:
        """See Backend; which tasks run and how far they are, only their nodes know."""
        cores, free = (found.get("CPU", 0) for found in (self.ray.cluster_resources(), self.ray.available_resources()))
        return f"{len(shares)} given to the cluster, {cores - free:.0f} of {cores:.0f} cores in use"

    def close(self) -> None:
        """Leave the cluster."""
        self.ray.shutdown()


class RayJob:
    """A cell that runs, or waits, on the cluster."""

    def __init__(self, backend: RayBackend, task: "Task"):
        assert task.cell is not None  # noqa: S101
        self.backend, self.task, self.cell = backend, task, task.cell
        self.identity = backend.params.run_config(self.cell.env, self.cell.algorithm, self.cell.seed).identity()
        self.cancelled = False
        self.code: int | None = None
        self.wall_s = 0.0
        task.log.parent.mkdir(parents=True, exist_ok=True)
        self._submit()

    def _submit(self) -> None:
        backend = self.backend
        wanted = [path.as_posix() for path in files_of(self.cell, self.identity)]
        self.reference = backend.task.remote(
            self.identity, self.cell.command[1:], backend.text, backend.environment, wanted
        )

    def poll(self) -> int | None:
        """See Job."""
        if self.code is None and self.backend.ray.wait([self.reference], timeout=0, fetch_local=False)[0]:
            outcome = self._outcome()
            self.task.log.write_bytes(outcome.log)
            self.wall_s = outcome.wall_s
            if outcome.code - 128 in STOP and not self.cancelled:
                self._submit()  # its machine is being taken away
            else:
                self.code = outcome.code or self._receive(outcome.files)
        return self.code

    def send(self, signal_number: int) -> None:
        """See Job."""
        if self.code is None:
            self.cancelled = True
            self.backend.ray.cancel(self.reference, force=signal_number == signal.SIGKILL)

    def _outcome(self) -> Outcome:
        try:
            return self.backend.ray.get(self.reference)
        except (self.backend.ray.exceptions.RayError, KeyboardInterrupt) as error:
            return Outcome(130 if self.cancelled else 1, f"{type(error).__name__}: {error}\n".encode())

    def _receive(self, files: Mapping[str, bytes]) -> int:
        """Check a cell's files and put them in place; return 0, or the exit code of an error that the log tells."""
        try:
            receive(self.backend.params, self.cell, self.identity, files)
        except MarlGreError as error:
            with self.task.log.open("a") as log:
                log.write(f"error: {error}\n")
            return error.exit_code
        return 0


def files_of(cell: Cell, identity: str) -> list[Path]:
    """Return the files that a finished cell may have: its weights, its published files, its evaluation."""
    key = (cell.env, cell.algorithm, cell.seed)
    published = [run_folder(*key) / name for name in (*PUBLISHED, SUMS)]
    return [work_folder(WORK, identity) / WEIGHTS, *published, evaluation_file(*key)]


def receive(params: Params, cell: Cell, identity: str, files: Mapping[str, bytes]) -> None:
    """Put a cell's files where DVC expects them, the evaluation last.

    Raises:
        StorageFailed: they are not whole or not of this config, or cannot be written.
    """
    target = run_folder(cell.env, cell.algorithm, cell.seed)
    evaluation = evaluation_file(cell.env, cell.algorithm, cell.seed)
    weights = work_folder(WORK, identity) / WEIGHTS
    with writing(target):
        WORK.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK, prefix="received-") as folder:
            root = Path(folder)
            for name in {path.as_posix() for path in files_of(cell, identity)} & files.keys():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                write_durably(root / name, files[name])
            if not is_done(params, cell, root):
                raise StorageFailed(
                    f"{cell.title}: the result is incomplete, or comes from different code or parameters; install the "
                    "same checkout on every node."
                )
            if (root / weights).exists():
                weights.parent.mkdir(exist_ok=True)
                (root / weights).replace(weights)
            with publishing(target) as new:
                for path in (root / target).iterdir():
                    path.rename(new / path.name)
            evaluation.parent.mkdir(parents=True, exist_ok=True)
            (root / evaluation).replace(evaluation)
            sync_folder(evaluation.parent)
