"""Run the pipeline, several runs at once: what `make repro` and `make demo` call.

DVC runs one stage at a time. Here every cell (one env, algorithm and seed: train, then evaluate) is a `dvc repro` of
its own, several of them side by side; DVC's locks keep dvc.lock whole. One plain `dvc repro` at the end does the rest,
so that the state of the project is the same as if DVC had run everything in turn.

Where a cell runs is up to a `Backend`: this machine, or a Ray cluster (`--engine ray`). With `--shard i/N`, as in a
SLURM array, a part of the cells is run and DVC is left alone. Finished cells that DVC does not know yet are committed
(`dvc commit`) at the next start without a shard.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from benchmarks.cells import Cell, cells_of, is_done, is_trained, shard
from benchmarks.layout import REPORT, WORK
from marl_gre import trackers
from marl_gre.config import Params, load_params
from marl_gre.errors import BadInput, MarlGreError, Parser, run_cli
from marl_gre.jobs.check import check_runnable
from marl_gre.signals import noted, stop_if
from marl_gre.storage import mirror

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # without the flag DVC gives up on a lock after 3 s
POLL_S = 0.2
LINE_INTERVAL_S = 30.0
TAIL_LINES = 15
ADVICE = "run the same command to go on, finished runs are kept."
COMMITTED_AT_ONCE = 100  # stages in one command line
NAMED_TASKS = 4  # on one line of progress
PROGRESS = re.compile(rb"(\d+)/(\d+) env steps")  # what the trainer logs


@dataclass(frozen=True)
class Task:
    """Something to run: a name for people, a command, and the file for its output."""

    name: str
    command: tuple[str, ...]
    log: Path
    cell: Cell | None = None

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-TAIL_LINES:])

    def fraction(self) -> float:
        """Return how much of the training is done according to the log, 0 to 1."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                found = PROGRESS.findall(file.read())
        except OSError:
            return 0.0
        return min(int(found[-1][0]) / max(int(found[-1][1]), 1), 1.0) if found else 0.0


class TaskFailed(Exception):
    """A task ended with another exit code than 0."""


class Job(Protocol):
    """A task that was started.

    Attributes:
        wall_s: seconds it ran, once it has ended.
    """

    wall_s: float

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def send(self, signal_number: int) -> None:
        """Pass a signal to every process of the task."""


class Backend(Protocol):
    """Where tasks run."""

    def start(self, task: Task) -> Job:
        """Start a task."""

    def note(self, shares: Mapping[Task, float]) -> str:
        """Return what is known of started tasks, for people, from how much of each its log says is done."""


class LocalJob:
    """A task in a process group of its own on this machine."""

    def __init__(self, task: Task):
        task.log.parent.mkdir(parents=True, exist_ok=True)
        self.wall_s, self.started = 0.0, time.monotonic()
        with task.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=stage_environment(),
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """See Job."""
        self.wall_s = time.monotonic() - self.started
        return self.process.poll()

    def send(self, signal_number: int) -> None:
        """See Job."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)


class LocalBackend:
    """Runs tasks on this machine."""

    def start(self, task: Task) -> LocalJob:
        """See Backend."""
        return LocalJob(task)

    def note(self, shares: Mapping[Task, float]) -> str:
        """See Backend: how far the first of them are."""
        notes = [f"{task.name} {share:.0%}" for task, share in shares.items()]
        return ", ".join(notes if len(notes) <= NAMED_TASKS else [*notes[:NAMED_TASKS], "..."])


def main() -> None:
    """Run the pipeline of the params.yaml in the current folder."""
    arguments = parse_arguments()
    with noted() as received:
        if arguments.shard is not None:
            run_shard(arguments.shard, arguments.jobs or cores(), received)
            return
        backend = LocalBackend()
        # -f: also tells DVC about code whose results version was raised since it last looked.
        gate = Task("versions", (*DVC, "repro", "-f", "versions"), log_file("versions"))
        try:
            run_alone(backend, gate, received)
        except TaskFailed:
            mistake = re.search(r"^error: (.*)$", gate.log.read_text(), re.MULTILINE)
            raise BadInput(mistake[1] if mistake else f"params.yaml was refused:\n{gate.tail()}") from None
        params = load_params("params.yaml")
        changes = changed_stages(received)
        stale = [cell for cell in cells_of(params) if changes.keys() & set(stages_of(cell))]
        done = [cell for cell in stale if is_done(params, cell) and not was_altered(cell, changes)]
        commit([stage for cell in done for stage in stages_of(cell)], received)
        remove_mirrors(params, done)
        cells = [cell for cell in stale if cell not in done]
        # Else DVC, which deletes results that it does not know before it runs their stage, would train again.
        trained = [cell for cell in cells if stages_of(cell)[0] in changes and is_trained(params, cell)]
        commit([stages_of(cell)[0] for cell in trained], received)
        total = len(cells_of(params))
        where = "on the cluster" if arguments.engine == "ray" else f"{arguments.jobs or cores()} at once"
        print(f"{total} runs: {total - len(cells)} up to date, {len(cells)} to do, {where}.", flush=True)
        if arguments.engine == "ray":
            failed = run_on_ray(params, cells, arguments, received)
        else:
            failed = run(backend, [dvc_task(cell) for cell in cells], arguments.jobs or cores(), received)
        lost = {task.cell for task in failed}
        remove_mirrors(params, [cell for cell in cells if cell not in lost])
        if failed:
            report_failures(failed)
        print("Tables and figures ...", flush=True)
        rest = Task("report", (*DVC, "repro"), log_file("report"))
        try:
            run_alone(backend, rest, received)
        except TaskFailed:
            report_failures([rest])
    report = REPORT.resolve()
    for kind, pattern in (("Tables", "tables/*.md"), ("Figures", "figures/*.png"), ("All of it", "index.html")):
        print(f"{kind}:", *(f"  {path}" for path in sorted(report.glob(pattern))), sep="\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="python -m benchmarks.launch",
        description="Run the pipeline of the params.yaml here, several runs at once.",
    )
    parser.add_argument(
        "--jobs", type=int, help="runs at once (default: one per core; with Ray, one per core of the cluster)"
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="where runs are executed (default: %(default)s)"
    )
    parser.add_argument("--address", help="address of the Ray cluster (default: RAY_ADDRESS, or one on this machine)")
    parser.add_argument("--num-gpus", type=float, metavar="F", help="with Ray, the share of a GPU that each run needs")
    parser.add_argument("--shard", metavar="i/N", help="run every N-th cell, from the i-th, without DVC")
    parser.add_argument(
        "--mirror", metavar="URL", help=f"folder for copies of checkpoints (default: {mirror.VARIABLE})"
    )
    parser.add_argument(
        "--log",
        action="append",
        metavar="TRACKER",
        help="show rows as they are written: csv, tensorboard, wandb or package.module:Class; repeatable "
        f"(default: {trackers.VARIABLE})",
    )
    return parser


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; what stages are told by environment variables is set in this process's environment.

    Raises:
        BadInput: an option's value is not allowed.
    """
    arguments = parser().parse_args()
    if arguments.jobs is not None and arguments.jobs < 1:
        raise BadInput(f"--jobs: found {arguments.jobs}; 1 or more is allowed.")
    if arguments.engine != "ray" and (arguments.address is not None or arguments.num_gpus is not None):
        raise BadInput("--address and --num-gpus are for --engine ray.")
    if arguments.engine == "ray" and arguments.shard is not None:
        raise BadInput("--shard is for machines without Ray; leave it out with --engine ray.")
    if arguments.num_gpus is not None and not arguments.num_gpus >= 0:
        raise BadInput(f"--num-gpus: found {arguments.num_gpus}; 0 or more is allowed.")
    names = trackers.from_variable() if arguments.log is None else arguments.log
    trackers.find(names)  # a mistake ends here, not in every run
    os.environ[trackers.VARIABLE] = ",".join(names)
    url = os.environ.get(mirror.VARIABLE, "") if arguments.mirror is None else arguments.mirror
    os.environ.pop(mirror.VARIABLE, None)  # --mirror "" makes none
    if url:
        os.environ[mirror.VARIABLE] = url if "://" in url else str(Path(url).resolve())
        mirror.Mirror(os.environ[mirror.VARIABLE], "")
    return arguments


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none


def run_shard(text: str, jobs: int, received: list[int]) -> None:
    """Run what is missing of a shard's cells, and leave DVC to the start that follows all shards."""
    params = load_params("params.yaml")
    check_runnable(params)  # else each of the runs would fail of the same mistake
    cells = shard(cells_of(params), text)
    missing = [cell for cell in cells if not is_done(params, cell)]
    print(f"shard {text}: {len(cells)} runs, {len(missing)} to do, {jobs} at once.", flush=True)
    tasks = [Task(cell.title, cell.command, log_file(cell.item), cell) for cell in missing]
    failed = run(LocalBackend(), tasks, jobs, received)
    if failed:
        report_failures(failed)
    print("done; after all shards: python -m benchmarks.launch")


def run_on_ray(params: Params, cells: Sequence[Cell], arguments: argparse.Namespace, received: list[int]) -> list[Task]:
    """Run cells on a Ray cluster, commit those that are done, and return the failed tasks."""
    from benchmarks.distributed import RayBackend

    trained = [cell for cell in cells if is_trained(params, cell)]  # their weights may be here only
    failed = run(LocalBackend(), [dvc_task(cell) for cell in trained], cores(), received)
    tasks = [Task(cell.title, cell.command, log_file(cell.item), cell) for cell in cells if cell not in trained]
    if tasks:
        backend = RayBackend(params, arguments.address, arguments.num_gpus or 0)
        try:
            failed += run(backend, tasks, arguments.jobs or len(tasks), received)
        finally:
            backend.close()
    done = [task.cell for task in tasks if task.cell and task not in failed]
    commit([stage for cell in done for stage in stages_of(cell)], received)
    return failed


def commit(stages: Sequence[str], received: list[int]) -> None:
    """Let DVC know of the results of stages that it has not run itself."""
    for first in range(0, len(stages), COMMITTED_AT_ONCE):
        some = stages[first : first + COMMITTED_AT_ONCE]
        task = Task("commit", (*DVC, "commit", "--force", *some), log_file("commit"))
        try:
            run_alone(LocalBackend(), task, received)
        except TaskFailed:
            report_failures([task])


def remove_mirrors(params: Params, cells: Sequence[Cell]) -> None:
    """Remove the mirrors of cells whose results DVC knows."""
    if url := os.environ.get(mirror.VARIABLE):
        for cell in cells:
            mirror.remove(url, params.run_config(cell.env, cell.algorithm, cell.seed).identity())


def log_file(name: str) -> Path:
    """Return where a task's output goes."""
    return WORK / "logs" / f"{name}.log"


def stage_environment() -> dict[str, str]:
    """Return the environment of a stage's process: this Python first on the path, one thread, no telemetry."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def stages_of(cell: Cell) -> tuple[str, str]:
    """Return the names of a cell's stages: training and evaluation."""
    return f"train@{cell.item}", f"evaluate@{cell.item}"


def was_altered(cell: Cell, changes: Mapping[str, list[dict]]) -> bool:
    """Return whether a cell's evaluation was edited: one made elsewhere comes with a new run or new parameters."""
    train, evaluate = stages_of(cell)
    return train not in changes and all(set(change) == {"changed outs"} for change in changes[evaluate])


def changed_stages(received: list[int]) -> dict[str, list[dict]]:
    """Return the stages that DVC would run, each with what has changed."""
    done = subprocess.run(  # noqa: S603
        (*DVC, "status", "--json"), env=stage_environment(), capture_output=True, text=True
    )
    stop_if(received, ADVICE)
    if done.returncode != 0:
        raise MarlGreError(f"dvc status failed: {done.stderr.strip()}")
    changes: dict[str, list[dict]] = json.loads(done.stdout)
    return changes


def dvc_task(cell: Cell) -> Task:
    """Return a cell as DVC runs it."""
    # -s, single stages: without it each cell would also look at `versions`, lock that stage's file, and stop the others
    # ("is busy").
    command = (*DVC, "repro", "-s", *stages_of(cell))
    return Task(cell.title, command, log_file(cell.item), cell)


def run(backend: Backend, tasks: Sequence[Task], jobs: int, received: list[int]) -> list[Task]:
    """Run tasks, `jobs` at once, and return those that failed; one failure does not stop the others.

    Raises:
        Stopped: a signal came; every running task got it and has ended.
    """
    waiting, running, failed = deque(tasks), dict[Task, Job](), list[Task]()
    display = Display(len(tasks))
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.popleft()
                running[task] = backend.start(task)
            time.sleep(POLL_S)
            for task, job in list(running.items()):
                code = job.poll()
                if code is not None:
                    del running[task]
                    failed += [task] if code else []
                    display.finished(task, code, job.wall_s)
            display.refresh(running, backend)
            stop_if(received, ADVICE)
    finally:
        stop_all(list(running.values()), received)
        display.close()
    return failed


def run_alone(backend: Backend, task: Task, received: list[int]) -> None:
    """Run one task without display.

    Raises:
        TaskFailed: it failed.
        Stopped: a signal came, and the task has ended.
    """
    job = backend.start(task)
    try:
        while (code := job.poll()) is None:
            time.sleep(POLL_S)
            stop_if(received, ADVICE)
    finally:
        stop_all([job], received)
    if code:
        raise TaskFailed


def report_failures(failed: Sequence[Task]) -> None:
    """Show the end of each failed task's log and raise an error that names them."""
    for task in failed:
        print(f"--- the end of {task.log}:\n{task.tail()}\n", file=sys.stderr)
    names = "; ".join(f"{task.name} (log: {task.log})" for task in failed)
    raise MarlGreError(f"failed: {names}. Fix the cause and run again; finished runs are kept.")


def stop_all(jobs: Sequence[Job], received: Sequence[int]) -> None:
    """End jobs and wait for them: SIGINT, on which DVC frees its locks; SIGKILL once a second signal came."""
    for job in jobs:
        job.send(signal.SIGINT)
    while any(job.poll() is None for job in jobs):
        if len(received) > 1:
            for job in jobs:
                job.send(signal.SIGKILL)
        time.sleep(POLL_S)


class Display:
    """A bar with finished runs and the share of the running ones on a terminal, plain lines elsewhere."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.last_line = time.monotonic()
        style = "{percentage:3.0f}% |{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]{postfix}"
        shown = total > 0 and sys.stderr.isatty()
        self.bar = tqdm(total=total, bar_format=style, dynamic_ncols=True) if shown else None

    def finished(self, task: Task, code: int, wall_s: float) -> None:
        """Say that a task ended."""
        self.done += 1
        outcome = f"done in {wall_s:.0f} s" if code == 0 else f"FAILED after {wall_s:.0f} s, see {task.log}"
        width = len(str(self.total))
        tqdm.write(f"[{self.done:{width}d}/{self.total}] {task.name}: {outcome}", file=sys.stdout)
        sys.stdout.flush()

    def refresh(self, running: Iterable[Task], backend: Backend) -> None:
        """Show how far the running tasks are."""
        if self.bar is None and time.monotonic() - self.last_line < LINE_INTERVAL_S:
            return
        shares = {task: task.fraction() for task in running}
        if self.bar is not None:
            self.bar.n = self.done + sum(shares.values())
            self.bar.set_postfix_str(backend.note(shares))
        elif shares:
            self.last_line = time.monotonic()
            print(f"running: {backend.note(shares)}", flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


if __name__ == "__main__":
    run_cli(main)
