"""What a node of a Ray cluster does: run a cell's command in a folder of its own disk, and give back its files.

Only the standard library and `marl_gre.errors` are imported: Ray's worker is a process beside the one that trains.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from marl_gre.errors import RunInUse

WORKSPACE = "MARL_GRE_WORKSPACE"
"""Environment variable of a node: where its runs are kept; by default in the system's folder of temporary files."""

PARENT = "MARL_GRE_STOP_WITH_STDIN"
"""If this variable is set, the end of standard input stops a cell as SIGTERM does: whoever holds the pipe has died."""

ORPHAN_S = 60.0
"""How long a task waits for a run of a driver that died: that run is saving and gives its lock back."""

LOG_BYTES = 20_000


@dataclass
class Outcome:
    """What a task brings back."""

    code: int
    log: bytes  # its end
    wall_s: float = 0.0
    files: dict[str, bytes] = field(default_factory=dict)  # path in the project -> content


def run_cell(
    identity: str, command: Sequence[str], params: bytes, environment: Mapping[str, str], wanted: Sequence[str]
) -> Outcome:
    """Run a cell's command in the workspace of its run.

    Args:
        identity: of the run.
        command: arguments of Python.
        params: content of params.yaml.
        environment: further environment variables.
        wanted: files to bring back if the command succeeds, as far as there are; paths in the project.
    """
    base = os.environ.get(WORKSPACE) or Path(tempfile.gettempdir()) / f"marl-gre-{os.getuid()}"
    workspace = Path(base) / identity[:12]
    workspace.mkdir(parents=True, exist_ok=True)
    temporary = workspace / f"params.tmp-{os.getpid()}"
    temporary.write_bytes(params)
    temporary.replace(workspace / "params.yaml")
    log = workspace / "log"
    started = time.monotonic()
    deadline = started + ORPHAN_S
    while (code := _call(command, workspace, log, environment)) == RunInUse.exit_code and time.monotonic() < deadline:
        time.sleep(1)
    outcome = Outcome(code, log.read_bytes()[-LOG_BYTES:], time.monotonic() - started)
    if code == 0:
        outcome.files = {name: path.read_bytes() for name in wanted if (path := workspace / name).is_file()}
    return outcome


def _call(command: Sequence[str], workspace: Path, log: Path, environment: Mapping[str, str]) -> int:
    """Run the command; return its exit code. It saves and stops if this process is cancelled or dies."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            (sys.executable, *command),
            cwd=workspace,
            stdin=subprocess.PIPE,  # it ends with this process, however that ends
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
