"""The Ray engine: every cell is a Ray task on some machine of a cluster, and its published files come back.

A task runs `benchmarks.cells` as a subprocess in a folder of the node's own disk, named by the run's identity. Ray runs
a task whose node is lost again elsewhere, where it goes on from the mirror's newest checkpoint; a task whose command
fails is not run again. The driver holds no state: files that came back are checked and put where DVC expects them, and
the launcher commits them. Every node needs the same checkout, installed with the extra `distributed`.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cells import PARENT, Cell, is_done
from benchmarks.layout import WORK, evaluation_file, run_folder
from marl_gre import trackers
from marl_gre.config import Params
from marl_gre.errors import BadInput, MarlGreError, RunInUse, StorageFailed
from marl_gre.signals import STOP
from marl_gre.storage import mirror
from marl_gre.storage.files import publishing, sync_folder, write_durably
from marl_gre.storage.run_dir import PUBLISHED, SUMS, work_folder
from marl_gre.storage.weights import WEIGHTS

if TYPE_CHECKING:
    from benchmarks.launch import Task

WORKSPACE = "MARL_GRE_WORKSPACE"
"""Environment variable of a node: where its runs are kept; by default in the system's folder of temporary files."""

PASSED_ON = (trackers.VARIABLE, mirror.VARIABLE, "WANDB_")
"""Beginnings of the names of environment variables that the driver passes on."""

ORPHAN_S = 60.0
"""How long a task waits for a run of a driver that died: that run is saving and gives its lock back."""

LOG_BYTES = 20_000


@dataclass
class Outcome:
    """What a task brings back."""

    code: int
    log: bytes  # its end
    files: dict[str, bytes] = field(default_factory=dict)  # path in the project -> content


def run_cell(cell: Cell, identity: str, params: bytes, environment: Mapping[str, str]) -> Outcome:
    """On a node: train and evaluate a cell in its workspace; return its files.

    Args:
        cell: what to run.
        identity: of its run.
        params: content of params.yaml.
        environment: further environment variables.
    """
    base = os.environ.get(WORKSPACE) or Path(tempfile.gettempdir()) / f"marl-gre-{os.getuid()}"
    workspace = Path(base) / identity[:12]
    (workspace / WORK).mkdir(parents=True, exist_ok=True)
    temporary = workspace / f"params.tmp-{os.getpid()}"
    temporary.write_bytes(params)
    temporary.replace(workspace / "params.yaml")
    log = workspace / "log"
    deadline = time.monotonic() + ORPHAN_S
    while (code := _call(cell, workspace, log, environment)) == RunInUse.exit_code and time.monotonic() < deadline:
        time.sleep(1)
    outcome = Outcome(code, log.read_bytes()[-LOG_BYTES:])
    if code == 0:
        outcome.files = {path.as_posix(): (workspace / path).read_bytes() for path in _paths(cell, identity, workspace)}
    return outcome


def _call(cell: Cell, workspace: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Run the cell's command; return its exit code. It saves and stops if this process is cancelled or dies."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            (sys.executable, *cell.command[1:]),
            cwd=workspace,
            stdin=subprocess.PIPE,  # the pipe ends with this process, however that ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, PARENT: "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    with process:  # which closes the pipe
        try:
            return process.wait()
        finally:  # Ray cancels a task by KeyboardInterrupt
            process.terminate()
            process.wait()


def _paths(cell: Cell, identity: str, root: Path) -> list[Path]:
    """Return the files of a finished cell, relative to the project, in the order in which they are put in place."""
    key = (cell.env, cell.algorithm, cell.seed)
    folder = run_folder(*key)
    wanted = [work_folder(WORK, identity) / WEIGHTS, *(folder / name for name in (*PUBLISHED, SUMS))]
    return [path for path in (*wanted, evaluation_file(*key)) if (root / path).exists()]


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
            raise BadInput(f"--address: found {address!r}, no cluster answers ({error}); see `ray status`.") from error
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
        task.log.parent.mkdir(parents=True, exist_ok=True)
        self._submit()

    def _submit(self) -> None:
        backend = self.backend
        self.reference = backend.task.remote(self.cell, self.identity, backend.text, backend.environment)

    def poll(self) -> int | None:
        """See Job."""
        if self.code is None and self.backend.ray.wait([self.reference], timeout=0, fetch_local=False)[0]:
            outcome = self._outcome()
            self.task.log.write_bytes(outcome.log)
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


def receive(params: Params, cell: Cell, identity: str, files: Mapping[str, bytes]) -> None:
    """Put a cell's files where DVC expects them, the evaluation last.

    Raises:
        StorageFailed: they are not whole or not of this config, or cannot be written.
    """
    target = run_folder(cell.env, cell.algorithm, cell.seed)
    evaluation = evaluation_file(cell.env, cell.algorithm, cell.seed)
    weights = work_folder(WORK, identity) / WEIGHTS
    allowed = {path.as_posix() for path in (weights, evaluation, *(target / name for name in (*PUBLISHED, SUMS)))}
    try:
        WORK.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK, prefix="received-") as folder:
            root = Path(folder)
            for name in sorted(allowed & files.keys()):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                write_durably(root / name, files[name])
            if not is_done(params, cell, root):
                raise StorageFailed(
                    f"{cell.title}: what came back is not whole, or of other code or parameters than here; install the "
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
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written ({error}); free space or fix permissions.") from error
