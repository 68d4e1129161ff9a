"""Run the pipeline, several runs at once: what `make repro` and `make demo` call.

DVC runs one stage at a time. Here every cell (one env, algorithm and seed: train, then evaluate) is a `dvc repro` of
its own, several of them side by side; DVC's locks keep dvc.lock whole. One plain `dvc repro` at the end does the rest,
so that the state of the project is the same as if DVC had run everything in turn.

Where a cell runs is up to a `Backend`; another one would start the same commands on other machines and bring the
cell's files and lock entries back.
"""

import argparse
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ruamel.yaml import YAML
from tqdm import tqdm

from benchmarks.layout import REPORT, WORK
from marl_gre import trackers
from marl_gre.errors import BadInput, MarlGreError, run_cli
from marl_gre.signals import noted, stop_if

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")  # without the flag DVC gives up on a lock after 3 s
POLL_S = 0.2
LINE_INTERVAL_S = 30.0
TAIL_LINES = 15
ADVICE = "run the same command to go on, finished runs are kept."
NAMED_TASKS = 4  # on one line of progress
PROGRESS = re.compile(rb"(\d+)/(\d+) env steps")  # what the trainer logs


@dataclass(frozen=True)
class Task:
    """Something to run: a name for people, a command, and the file for its output."""

    name: str
    command: tuple[str, ...]
    log: Path

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
    """A task that was started."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def send(self, signal_number: int) -> None:
        """Pass a signal to every process of the task."""


class Backend(Protocol):
    """Where tasks run."""

    def start(self, task: Task) -> Job:
        """Start a task."""


class LocalJob:
    """A task in a process group of its own on this machine."""

    def __init__(self, task: Task):
        task.log.parent.mkdir(parents=True, exist_ok=True)
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


def main() -> None:
    """Run the pipeline of the params.yaml in the current folder."""
    parser = argparse.ArgumentParser(description="Run the pipeline of the params.yaml here, several runs at once.")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help="runs at once; default: one per core, %(default)s here")
    parser.add_argument(
        "--log",
        action="append",
        metavar="TRACKER",
        help="show rows as they are written: csv, tensorboard, wandb or package.module:Class; again for more "
        f"(default: {trackers.VARIABLE})",
    )
    arguments = parser.parse_args()
    jobs = arguments.jobs
    if jobs < 1:
        raise BadInput(f"--jobs: found {jobs}; 1 or more is allowed.")
    names = trackers.from_variable() if arguments.log is None else arguments.log
    trackers.find(names)  # a mistake ends here, not in every run
    os.environ[trackers.VARIABLE] = ",".join(names)
    backend = LocalBackend()
    with noted() as received:
        # -f: also tells DVC about code whose results version was raised since it last looked.
        gate = Task("versions", (*DVC, "repro", "-f", "versions"), log_file("versions"))
        try:
            run_alone(backend, gate, received)
        except TaskFailed:
            mistake = re.search(r"^error: (.*)$", gate.log.read_text(), re.MULTILINE)
            raise BadInput(mistake[1] if mistake else f"params.yaml was refused:\n{gate.tail()}") from None
        total, cells = stale_cells(received)
        print(f"{total} runs: {total - len(cells)} up to date, {len(cells)} to do, {jobs} at once.", flush=True)
        failed = run(backend, cells, jobs, received)
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


def log_file(name: str) -> Path:
    """Return where a task's output goes."""
    return WORK / "logs" / f"{name}.log"


def stage_environment() -> dict[str, str]:
    """Return the environment of a stage's process: this Python first on the path, one thread, no telemetry."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}


def stale_cells(received: list[int]) -> tuple[int, list[Task]]:
    """Return the number of all cells, and those that DVC would run, seed by seed: early results cover everything."""
    done = subprocess.run(  # noqa: S603
        (*DVC, "status", "--json"), env=stage_environment(), capture_output=True, text=True
    )
    stop_if(received, ADVICE)
    if done.returncode != 0:
        raise MarlGreError(f"dvc status failed: {done.stderr.strip()}")
    stale = {stage.partition("@")[2] for stage in json.loads(done.stdout)}
    selected = YAML(typ="safe", pure=True).load(Path("params.yaml"))["run"]  # checked by the stage `versions`
    items = list(itertools.product(selected["seeds"], selected["envs"], selected["algorithms"]))
    tasks = []
    for seed, env, algorithm in items:
        item = f"{env}-{algorithm}-{seed}"
        if item in stale:
            # -s, single stages: without it each cell would also look at `versions`, lock that stage's file, and stop
            # the others ("is busy").
            command = (*DVC, "repro", "-s", f"train@{item}", f"evaluate@{item}")
            tasks.append(Task(f"{env} {algorithm} seed {seed}", command, log_file(item)))
    return len(items), tasks


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
                display.started(task)
            time.sleep(POLL_S)
            for task, job in list(running.items()):
                code = job.poll()
                if code is not None:
                    del running[task]
                    failed += [task] if code else []
                    display.finished(task, code)
            display.refresh(running)
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
    raise MarlGreError(f"failed: {names}. Repair the cause and run again; what is finished is kept.")


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
        self.starts: dict[Task, float] = {}
        self.last_line = time.monotonic()
        style = "{percentage:3.0f}% |{bar}| {n:.1f}/{total} runs [{elapsed}<{remaining}]{postfix}"
        shown = total > 0 and sys.stderr.isatty()
        self.bar = tqdm(total=total, bar_format=style, dynamic_ncols=True) if shown else None

    def started(self, task: Task) -> None:
        """Note the start of a task."""
        self.starts[task] = time.monotonic()

    def finished(self, task: Task, code: int) -> None:
        """Say that a task ended."""
        self.done += 1
        wall_s = time.monotonic() - self.starts[task]
        outcome = f"done in {wall_s:.0f} s" if code == 0 else f"FAILED after {wall_s:.0f} s, see {task.log}"
        width = len(str(self.total))
        tqdm.write(f"[{self.done:{width}d}/{self.total}] {task.name}: {outcome}", file=sys.stdout)
        sys.stdout.flush()

    def refresh(self, running: Iterable[Task]) -> None:
        """Show how far the running tasks are."""
        if self.bar is None and time.monotonic() - self.last_line < LINE_INTERVAL_S:
            return
        shares = {task: task.fraction() for task in running}
        notes = [f"{task.name} {share:.0%}" for task, share in shares.items()]
        note = ", ".join(notes if len(notes) <= NAMED_TASKS else [*notes[:NAMED_TASKS], "..."])
        if self.bar is not None:
            self.bar.n = self.done + sum(shares.values())
            self.bar.set_postfix_str(note)
        elif note:
            self.last_line = time.monotonic()
            print(f"running: {note}", flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self.bar is not None:
            self.bar.close()


if __name__ == "__main__":
    run_cli(main)
