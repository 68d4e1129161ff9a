"""F15, F16: `dvc repro` started twice, killed, and repeated, with the real trainer: one writer, whole results."""

import hashlib
import os
import shutil
import signal
import subprocess
import time

import pytest
from harness import count

from marl_gre.storage.weights import WEIGHTS
from test_pipeline import Project, make_project

PARAMS = """
run: {envs: [lumber], algorithms: [gre], seeds: [0, 1]}
envs:
  lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 3000, test_interval_steps: 1000, test_episodes: 3}
algorithms:
  gre: {mixer: qmix_gre}
train: {hidden_dim: 8, batch_episodes: 4, replay_episodes: 50, device: cpu}
evaluate: {episodes: 3}
report: {bootstrap_resamples: 100}
"""
NAMES = ("entropy.csv", "tests.csv", "train.json", "training.csv", WEIGHTS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project whose params are checked, and the digests of its runs made without disturbance."""
    folder = tmp_path_factory.mktemp("prepared")
    project = make_project(folder / "project")
    shutil.rmtree(project.folder / "benchmarks")  # the stubs: here the real stages run
    (project.folder / "params.yaml").write_text(PARAMS)
    project.ok("dvc", "repro", "-q", "versions")
    shutil.copytree(project.folder, folder / "reference", symlinks=True)
    reference = Project(folder / "reference")
    reference.ok("dvc", "repro", "-q", "-s", "train@lumber-gre-0", "train@lumber-gre-1")
    return project, [digest(reference, seed) for seed in (0, 1)]


def digest(project, seed):
    folder = project.folder / "results" / "runs" / "lumber" / "gre" / str(seed)
    if not folder.is_dir():
        return None
    there = [folder / name for name in NAMES if name != WEIGHTS or seed == 0]  # train.json has every seed's SHA-256
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


def repro(project, seed, *options):
    command = ("dvc", *options, "repro", "-s", f"train@lumber-gre-{seed}")
    output = (project.folder / "dvc.log").open("ab")
    with output:
        return subprocess.Popen(
            command, cwd=project.folder, env=project.env, stdout=output, stderr=output, start_new_session=True
        )


def trainer_of(project, process):
    """The pid of the trainer once it holds its lock, None if dvc ends before."""
    while process.poll() is None:
        for path in project.folder.glob("work/*/lock"):
            holder = path.read_text()
            if holder.startswith("process ") and alive(int(holder.split()[1])):
                return int(holder.split()[1])
        time.sleep(0.02)
    return None


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def one_target_twice(project, delay):
    one = repro(project, 0)
    time.sleep(delay)
    two = repro(project, 0)
    codes = sorted(process.wait(timeout=300) for process in (one, two))
    assert codes[0] == 0
    assert codes[1] in (0, 255, 1)  # busy, or started after the first had ended
    return [0]


def two_targets(project, delay):
    one = repro(project, 0, "--wait-for-lock")
    time.sleep(delay)
    two = repro(project, 1, "--wait-for-lock")
    assert [process.wait(timeout=300) for process in (one, two)] == [0, 0]
    return [0, 1]


def killed_and_repeated(project, delay):
    """SIGKILL of dvc leaves the trainer: the next dvc takes dvc's lock, and its trainer finds the run in use."""
    first = repro(project, 0)
    orphan = trainer_of(project, first)
    assert orphan is not None
    time.sleep(delay / 4)
    first.send_signal(signal.SIGKILL)
    first.wait()
    os.kill(orphan, signal.SIGSTOP)  # so that it is there for sure when the second comes
    second = repro(project, 0)
    assert second.wait(timeout=300) != 0
    assert "this run is being trained by process" in (project.folder / "dvc.log").read_text()
    os.kill(orphan, signal.SIGCONT)
    while alive(orphan):
        time.sleep(0.05)
    assert repro(project, 0).wait(timeout=300) == 0
    return [0]


def all_killed_and_repeated(project, delay):
    """dvc and trainer are killed together, as by a machine that goes down; the run goes on from its checkpoint."""
    first = repro(project, 0)
    trainer_of(project, first)
    time.sleep(delay)
    if first.poll() is None:
        os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert repro(project, 0).wait(timeout=300) == 0
    return [0]


CASES = (killed_and_repeated, one_target_twice, two_targets, all_killed_and_repeated)


@pytest.mark.faults
def test_disturbed_pipelines_end_with_the_same_results(prepared, tmp_path, tally):
    original, expected = prepared
    cases = count(1, 8, 40)
    corrupted = []
    for case in range(cases):
        shutil.copytree(original.folder, tmp_path / str(case), symlinks=True)
        project = Project(tmp_path / str(case))
        disturb = CASES[case % len(CASES)]
        seeds = disturb(project, 0.4 * (case // len(CASES) % 6))
        targets = [f"train@lumber-gre-{seed}" for seed in seeds]
        whole = [digest(project, seed) for seed in seeds] == [expected[seed] for seed in seeds]
        for path in project.folder.glob("results/runs/*/*/*/*"):
            os.utime(path, ((0, 0), (4102444800, 4102444800))[case % 2])  # F18: dates are not trusted
        clean = "up to date" in project.ok("dvc", "status", *targets)
        leftovers = list(project.folder.glob("results/runs/*/*/.*"))
        if not (whole and clean and not leftovers):
            corrupted.append((disturb.__name__, case, whole, clean, leftovers))
        shutil.rmtree(tmp_path / str(case))
    tally.add("pipeline", disturbed=cases, corrupted=len(corrupted))
    assert corrupted == []
