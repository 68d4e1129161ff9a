"""Trackers: what they receive, that they cannot disturb a run, and that nothing is imported that was not asked for."""

import csv
import hashlib
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys

import pytest

import benchmarks.launch
import benchmarks.train
from marl_gre import cli, trackers
from marl_gre.config import load_params
from marl_gre.errors import BadInput, RunInUse, Stopped
from marl_gre.jobs.train import train
from marl_gre.metrics import COUNTERS, ENTROPY, TESTS, TRAINING
from marl_gre.progress import Progress
from marl_gre.storage.run_dir import lock, work_folder

PARAMS = """
run: {envs: [lumber], algorithms: [gre], seeds: [0]}
envs:
  lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 600, test_interval_steps: 200, test_episodes: 2,
    entropy_interval_steps: 100}
algorithms:
  gre: {mixer: qmix_gre}
train: {hidden_dim: 8, batch_episodes: 4, device: cpu}
"""
CSV = (ENTROPY, TESTS, TRAINING)


def needs(library):
    return pytest.mark.skipif(importlib.util.find_spec(library) is None, reason=f"needs the extra {library}")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(PARAMS)
    return load_params(path).run_config("lumber", "gre", 0)


@pytest.fixture(scope="module")
def plain(config, tmp_path_factory):
    """The published files of the run without trackers."""
    folder = tmp_path_factory.mktemp("plain")
    train(config, folder / "out", folder / "work")
    return folder / "out"


def digest(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
            if path.name not in ("provenance.json", "SHA256SUMS")}  # fmt: skip


def published(folder):
    """The numbers of a run's CSV files: name -> {env_steps: value}, without counters and empty cells."""
    found = {}
    for file in CSV:
        with (folder / file).open() as opened:
            for row in csv.DictReader(opened):
                for name, cell in row.items():
                    if name not in COUNTERS and cell:
                        found.setdefault(f"{file[:-4]}/{name}", {})[int(row["env_steps"])] = float(cell)
    return found


def stop_and_resume(config, folder, log, monkeypatch):
    """Train with a stop by SIGTERM about half-way, between two checkpoints' rows, then to the end."""
    update = Progress.update

    def stopping(progress, steps, note):
        update(progress, steps, note)
        if steps >= 300:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", stopping)
        with pytest.raises(Stopped):
            train(config, folder / "out", folder / "work", log=log)
    train(config, folder / "out", folder / "work", log=log)


def test_a_class_of_a_third_party_receives_every_row_once_and_moves_no_number(config, plain, tmp_path):
    train(config, tmp_path / "out", tmp_path / "work", log=["trackers:Lines"])
    assert digest(tmp_path / "out") == digest(plain)
    first, *lines, last = (tmp_path / "work/lines.txt").read_text().splitlines()
    assert (first, last) == ("open lumber gre 0", "closed")
    expected = []
    for file in CSV:
        with (plain / file).open() as opened:
            expected += [f"{file} {row['env_steps']}" for row in csv.DictReader(opened)]
    assert sorted(lines) == sorted(expected)
    steps = [int(line.split()[1]) for line in lines]
    assert steps == sorted(steps)


def test_what_a_tracker_writes_into_a_row_reaches_nobody(config, plain, tmp_path):
    train(config, tmp_path / "out", tmp_path / "work", log=["trackers:Spoils", "csv"])
    assert digest(tmp_path / "out") == digest(plain)
    assert {path.name: path.read_text() for path in (tmp_path / "work/live/lumber/gre/0").iterdir()} == {
        name: (plain / name).read_text() for name in CSV
    }


def test_live_csv_files_are_what_is_published_also_after_a_stop(config, plain, tmp_path, monkeypatch):
    stop_and_resume(config, tmp_path, ["csv"], monkeypatch)
    live = tmp_path / "work/live/lumber/gre/0"
    assert {path.name: path.read_text() for path in live.iterdir()} == {
        name: (plain / name).read_text() for name in CSV
    }


def test_a_row_with_other_columns_is_no_row_of_the_old_table(config, tmp_path):
    live = trackers.LiveCSV(config, tmp_path)
    live.write(TESTS, {"env_steps": 1, "a": 0.5})
    live.write(TESTS, {"env_steps": 2, "a": math.nan})
    live.write(TESTS, {"env_steps": 3, "b": 1.5})
    assert (live.folder / TESTS).read_text() == "env_steps,a,b\n1,0.5,\n2,,\n3,,1.5\n"


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("FailsAtOnce", "RuntimeError: no server here; the run goes on without it."),
        ("FailsLater", "SystemExit: I end your run; the run goes on without it."),
        ("Hangs", "not finished after 1 s; it was left behind."),
    ],
)
def test_a_tracker_that_fails_is_one_warning(config, plain, tmp_path, capsys, monkeypatch, name, warning):
    monkeypatch.setattr(trackers, "CLOSE_S", 1.0)
    train(config, tmp_path / "out", tmp_path / "work", log=[f"trackers:{name}", "trackers:Lines"])
    assert digest(tmp_path / "out") == digest(plain)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert errors == [f"warning: --log trackers:{name}: {warning}"]
    assert (tmp_path / "work/lines.txt").read_text().endswith("closed\n")  # the other one saw the run's end


def test_a_run_that_is_in_use_opens_no_tracker(config, tmp_path):
    with lock(work_folder(tmp_path, config.identity())), pytest.raises(RunInUse):
        train(config, tmp_path / "out", tmp_path, log=["trackers:Lines"])
    assert not (tmp_path / "lines.txt").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "csv, tensorboard, wandb or package.module:Class is allowed"),
        ("nowhere:Class", "cannot be imported"),
        ("trackers:Missing", "cannot be imported"),
        ("trackers:NOT_A_CLASS", "is not a class"),
    ],
)
def test_a_wrong_name_ends_in_one_line(name, message):
    with pytest.raises(BadInput, match=message):
        trackers.find([name])


def test_option_and_variable_of_the_commands(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("600", "60"))
    monkeypatch.chdir(tmp_path)
    item = ["--env", "lumber", "--algorithm", "gre", "--seed", "0"]
    monkeypatch.setenv(trackers.VARIABLE, "csv, trackers:Lines")
    monkeypatch.setattr(sys, "argv", ["train", *item])
    benchmarks.train.main()
    assert (tmp_path / "work/live/lumber/gre/0/tests.csv").exists()
    assert (tmp_path / "work/lines.txt").exists()
    monkeypatch.setenv(trackers.VARIABLE, "nonsense")
    monkeypatch.setattr(sys, "argv", ["marl-gre", "train", *item, "--log", "trackers:Lines"])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    monkeypatch.setattr(sys, "argv", ["launch", "--log", "other"])
    with pytest.raises(BadInput, match="other"):
        benchmarks.launch.main()


def test_a_missing_library_is_one_line_that_names_the_extra(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    code = (
        "import importlib.util, sys; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'wandb' else find(name, *rest)\n"
        "from marl_gre.cli import main\n"
        "sys.argv = ['marl-gre', 'train', '--env', 'lumber', '--algorithm', 'gre', '--log', 'wandb']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'error: --log wandb: the library is missing: pip install "marl-gre[wandb]".\n'


def test_a_run_imports_no_tracker_and_no_ray(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("600", "60"))
    code = (
        "import sys\n"
        "from benchmarks import launch, train\n"
        "import marl_gre_envs, marl_gre.testing, marl_gre.cli\n"
        "sys.argv = ['train', '--env', 'lumber', '--algorithm', 'gre', '--seed', '0']\n"
        "train.main()\n"
        "print({'ray', 'fsspec', 'tensorboard', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.slow
@needs("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_number_once_also_after_a_stop(config, plain, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stop_and_resume(config, tmp_path, ["tensorboard"], monkeypatch)
    folder = tmp_path / "work/tensorboard/lumber/gre/0"
    assert len(list(folder.iterdir())) == 2  # one file before the stop, one after
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    read = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    expected = published(plain)
    assert read.keys() == expected.keys()
    for name, steps in expected.items():
        assert [step for step, _ in read[name]] == list(steps)
        assert [value for _, value in read[name]] == pytest.approx(list(steps.values()), rel=1e-6)  # float32 in it
    assert digest(tmp_path / "out") == digest(plain)


# The file is a LevelDB log, blocks of 32 KiB with pieces (checksum, length, type) of records.
READ_WANDB = """
import json, sys
from wandb.proto import wandb_internal_pb2 as pb

data, place, record, FULL, FIRST, LAST = open(sys.argv[1], "rb").read(), 7, b"", 1, 2, 4
assert data[:4] == b":W&B"
while place < len(data):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
    size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
    record = (b"" if kind in (FULL, FIRST) else record) + data[place + 7 : place + 7 + size]
    place += 7 + size
    if kind in (FULL, LAST):
        parsed = pb.Record()
        parsed.ParseFromString(record)
        if parsed.WhichOneof("record_type") == "history":
            items = parsed.history.item
            print(json.dumps({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}))
"""


@pytest.mark.slow
@needs("wandb")
def test_wandb_offline_holds_each_number_once_also_after_a_stop(config, plain, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    stop_and_resume(config, tmp_path, ["wandb"], monkeypatch)
    folders = sorted((tmp_path / "work/wandb").glob("offline-run-*"))
    assert len(folders) == 2
    assert all(folder.name.endswith(config.identity()[:32]) for folder in folders)  # one run for `wandb sync`
    (file,) = folders[-1].glob("*.wandb")
    done = subprocess.run([sys.executable, "-c", READ_WANDB, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = {}
    for row in map(json.loads, done.stdout.splitlines()):
        step = row.pop("_step")
        for name, value in row.items():
            if not name.startswith("_"):
                assert step not in read.setdefault(name, {})
                read[name][step] = value
    expected = published(plain)
    assert read.keys() == expected.keys()
    for name, steps in expected.items():
        assert read[name] == pytest.approx(steps, rel=1e-8)  # the files have 9 digits
