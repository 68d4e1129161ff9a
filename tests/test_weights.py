"""Runs whose weights are not published, runs of before training.csv, and what says so."""

import csv
import hashlib
import io
import json
import re

import pytest

from marl_gre.config import EvaluateConfig, load_params
from marl_gre.errors import BadInput, NotVerified
from marl_gre.jobs.credits import diagnose_run
from marl_gre.jobs.evaluate import evaluate
from marl_gre.jobs.play import play_run
from marl_gre.jobs.train import train
from marl_gre.jobs.verify import verify
from marl_gre.storage.run_dir import load_run
from marl_gre.storage.weights import WEIGHTS

PARAMS = """
run: {envs: [lumber], algorithms: [vdn], seeds: [0, 1]}
envs: {lumber: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 100, test_interval_steps: 50,
  test_episodes: 2, entropy_interval_steps: 50}}
algorithms: {vdn: {mixer: vdn}}
train: {hidden_dim: 8, batch_episodes: 4, device: cpu}
"""
AWAY = "lumber vdn seed 1: its weights are not here; the pipeline publishes only the first seed's weights"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with hash only, its evaluation where the pipeline puts it, and the same run with its weights."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text(PARAMS)
    config = load_params(folder / "params.yaml").run_config("lumber", "vdn", 1)
    train(config, folder / "whole", folder / "other")
    run = folder / "results/runs/lumber/vdn/1"
    train(config, run, folder / "work", publish_weights=False)
    evaluate(run, folder / "results/evaluation/lumber/vdn/1.json", EvaluateConfig(episodes=3), folder / "work")
    return folder, run, config


def test_the_hash_is_published_and_the_weights_stay_in_the_work_folder(made):
    folder, run, config = made
    assert not (run / WEIGHTS).exists()
    work = folder / "work" / config.identity()[:12]
    assert sorted(path.name for path in work.iterdir()) == ["lock", WEIGHTS]
    sums, whole = ((place / "SHA256SUMS").read_text().splitlines() for place in (run, folder / "whole"))
    assert [line for line in sums if "provenance" not in line] == [line for line in whole if "provenance" not in line]
    digest = hashlib.sha256((work / WEIGHTS).read_bytes()).hexdigest()
    assert sums[-1] == f"{digest}  {WEIGHTS}"
    assert digest == hashlib.sha256((folder / "whole" / WEIGHTS).read_bytes()).hexdigest()


def test_with_the_work_folder_everything_works_as_with_published_weights(made, tmp_path):
    folder, run, _ = made
    there = json.loads((folder / "results/evaluation/lumber/vdn/1.json").read_text())
    assert there == json.loads(json.dumps(evaluate(folder / "whole", None, EvaluateConfig(episodes=3), tmp_path)))
    lines = list(verify(run, work=folder / "work"))
    assert "played again, 8 values bit-equal" in lines[3]
    assert "values bit-equal" in lines[4]


def test_without_them_one_line_says_so(made, tmp_path, monkeypatch):
    _, run, _ = made
    monkeypatch.chdir(tmp_path)
    assert load_run(run).weights is None
    for use in (
        lambda: evaluate(run, None, EvaluateConfig(episodes=1)),
        lambda: play_run(run, tmp_path / "a.gif", 0, 1),
        lambda: diagnose_run(run, tmp_path / "credits", 0, 1),
    ):
        with pytest.raises(BadInput, match=AWAY) as caught:
            use()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_training_are_not_taken_for_the_runs(made, tmp_path):
    folder, run, config = made
    other = tmp_path / config.identity()[:12] / WEIGHTS
    other.parent.mkdir()
    data = (folder / "whole" / WEIGHTS).read_bytes()
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert load_run(run, tmp_path).weights is None
    other.write_bytes(data)
    assert load_run(run, tmp_path).weights is not None


def test_verify_proves_a_run_without_weights_by_training_again(made, tmp_path, monkeypatch):
    _, run, _ = made
    monkeypatch.chdir(tmp_path)
    lines = list(verify(run))
    assert (
        lines[0] == "files: entropy.csv, provenance.json, tests.csv, train.json, training.csv are what SHA256SUMS says"
    )
    assert lines[3] == (
        "weights: not here, so nothing was played again; SHA256SUMS has their hash, which --retrain compares"
    )
    assert lines[4].endswith("made from the run's weights, which are not here; not played again")
    lines = list(verify(run, retrain=True))
    assert "tests.csv, last row: played again, 8 values bit-equal" in lines[3]
    assert lines[5].endswith(
        "trained again, entropy.csv, tests.csv, train.json, training.csv, weights.safetensors bit-equal"
    )


def copied(run, folder, change):
    """A copy of a published run with changed files, and hashes that fit."""
    folder.mkdir()
    files = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "SHA256SUMS"}
    change(files)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder


def test_a_run_of_before_training_csv_is_verified_by_what_it_recorded(made, tmp_path):
    """As the 208 published ones: no training.csv, and 22 empty columns for a mixer without released gradient."""

    def age(files):
        del files["training.csv"]
        rows = list(csv.reader(io.StringIO(files["entropy.csv"].decode())))
        released = [f"released_{name}" for name in rows[0][3:]]
        rows = [rows[0] + released, *(row + [""] * len(released) for row in rows[1:])]
        files["entropy.csv"] = "".join(",".join(row) + "\n" for row in rows).encode()

    old = copied(made[0] / "whole", tmp_path / "old", age)
    lines = list(verify(old, retrain=True))
    assert lines[0].startswith("files: entropy.csv, provenance.json, tests.csv, train.json, weights.safetensors are")
    assert lines[-1].endswith("trained again, entropy.csv, tests.csv, train.json, weights.safetensors bit-equal")

    def forge(files):
        age(files)
        files["entropy.csv"] = re.sub(rb",\n", b",0.5\n", files["entropy.csv"], count=1)

    with pytest.raises(NotVerified, match=r"trained again, entropy\.csv differ, although"):
        list(verify(copied(made[0] / "whole", tmp_path / "forged", forge), retrain=True))
