"""A stopped run goes on to the same bits; damaged checkpoints are named and skipped, never loaded as if sound."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from marl_gre.config import load_params
from marl_gre.errors import NonFinite, StorageFailed
from marl_gre.jobs.train import train
from marl_gre.storage import checkpoint
from marl_gre.storage.resume import Keeper
from marl_gre.trainer import Trainer
from test_train import PARAMS, digest

SMALL_REPLAY = PARAMS.replace("train: {", "train: {replay_episodes: 12, target_update_episodes: 5, ")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    path.write_text(SMALL_REPLAY)
    return load_params(path).run_config("lumberjacks", "qmix_gre", 0)


@pytest.fixture(scope="module")
def reference(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    train(config, folder / "out", folder / "work")
    return digest(folder / "out")


def work_folder(folder, config):
    return folder / "work" / config.identity()[:12]


def trained_for(config, work, episodes, save_every):
    """Train some episodes with checkpoints, then forget the trainer."""
    trainer, keeper = Trainer(config), Keeper(work, config.identity())
    work.mkdir(parents=True, exist_ok=True)
    for _ in trainer.run():
        if trainer.episodes % save_every == 0:
            keeper.save(trainer)
        if trainer.episodes == episodes:
            return


# the replay holds 12 of 50 episodes: before it is full, when it just is, long after, and at the very end
@pytest.mark.parametrize("episodes", [1, 7, 12, 13, 31, 50])
def test_resume_gives_the_same_bits(config, reference, tmp_path, episodes):
    trained_for(config, work_folder(tmp_path, config), episodes, save_every=1)
    train(config, tmp_path / "out", tmp_path / "work")
    assert digest(tmp_path / "out") == reference
    assert [path.name for path in work_folder(tmp_path, config).iterdir()] == ["lock"]  # cleaned up


def test_more_episodes_may_come_between_checkpoints_than_the_replay_holds(config, reference, tmp_path):
    trained_for(config, work_folder(tmp_path, config), episodes=40, save_every=16)
    train(config, tmp_path / "out", tmp_path / "work")
    assert digest(tmp_path / "out") == reference


def test_no_checkpoint_holds_a_weight_that_is_not_finite(config, tmp_path):
    trainer, keeper = Trainer(config), Keeper(tmp_path, "run")
    keeper.save(trainer)
    with torch.no_grad():
        next(trainer.learner.agent.parameters()).fill_(float("nan"))
    with pytest.raises(NonFinite, match=r"the model's agent\.\S+ is not finite: .*; the previous checkpoint is kept"):
        keeper.save(trainer)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000001"]


def test_the_time_that_a_run_took_is_that_of_all_its_processes(config, tmp_path):
    first = Keeper(tmp_path, "run")
    first.started -= 1000  # as if it had trained as long
    first.save(Trainer(config))
    second = Keeper(tmp_path, "run")
    assert second.resume(Trainer(config))
    assert 1000 <= time.monotonic() - second.started < 1100


def test_a_save_keeps_what_a_damaged_checkpoint_needs_and_removes_what_a_killed_one_left(tmp_path):
    for number in (1, 2):
        segment = checkpoint.write_segment(tmp_path, f"episodes-{number}.safetensors", bytes(number))
        checkpoint.save(tmp_path, "run", number, {"a": b"1"}, segment, {})
    (tmp_path / "checkpoint-000003.tmp-99999").mkdir()
    checkpoint.save(tmp_path, "run", 3, {"a": b"1"}, segment, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000002", "checkpoint-000003", "replay"]
    assert [path.name for path in (tmp_path / "replay").iterdir()] == ["episodes-2.safetensors"]
    (tmp_path / "checkpoint-000003" / "manifest.json").write_text("{")
    other = checkpoint.write_segment(tmp_path, "episodes-4.safetensors", bytes(4))
    checkpoint.save(tmp_path, "run", 4, {"a": b"1"}, other, {})
    assert {path.name for path in (tmp_path / "replay").iterdir()} == {f"episodes-{n}.safetensors" for n in (2, 4)}


def test_the_newest_intact_checkpoint_counts_and_goes_last(tmp_path, monkeypatch):
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, "run", number, {"a": b"1"}, {}, {"number": number})
    assert checkpoint.newest_sound(tmp_path, "run") == 3
    assert checkpoint.peek(tmp_path, "run") == {"number": 3}
    removed = []
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda path, **_: removed.append(path.name.partition(".")[0]))
    checkpoint.remove_all(tmp_path)
    assert removed[:2] == ["checkpoint-000002", "checkpoint-000003"]


def test_only_what_the_replay_still_holds_is_kept(config, tmp_path):
    work = work_folder(tmp_path, config)
    trained_for(config, work, episodes=40, save_every=4)
    assert len(list(work.glob("checkpoint-??????"))) == 2
    # episodes 28 to 39 are in the replay at the last checkpoint, 24 to 35 at the one before: segments of 4 from 24 on
    assert sorted(path.name[9:16] for path in (work / "replay").iterdir()) == [
        "0000024",
        "0000028",
        "0000032",
        "0000036",
    ]


def test_a_run_killed_again_and_again_ends_with_the_same_bits(config, reference, tmp_path):
    """By SIGKILL; tests/reliability/test_faults.py has the other signals."""
    (tmp_path / "params.yaml").write_text(SMALL_REPLAY)
    code = (
        "import marl_gre.jobs.train as t, sys; t.CHECKPOINT_STEPS = 40; sys.argv = ['marl-gre', 'train', '--env', "
        "'lumberjacks', '--algorithm', 'qmix_gre', '--out', 'out']; from marl_gre.cli import main; main()"
    )
    moments = random.Random(9)
    kills = 0
    for attempt in range(50):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        lock = work_folder(tmp_path, config) / "lock"
        while process.poll() is None and not (lock.exists() and lock.read_text() == f"process {process.pid}"):
            time.sleep(0.01)
        if attempt < 3:  # later attempts may finish
            time.sleep(moments.uniform(0.1, 0.6))
            process.kill()
        _, errors = process.communicate(timeout=120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        kills += 1
    assert digest(tmp_path / "out") == reference
    assert kills > 0


def damage_flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, os.remove], ids=["flip", "cut", "gone"])
@pytest.mark.parametrize("name", ["manifest.json", "state.safetensors"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(config, reference, tmp_path, capfd, damage, name):
    work = work_folder(tmp_path, config)
    trained_for(config, work, episodes=20, save_every=1)
    newest, before = sorted(work.glob("checkpoint-??????"), reverse=True)
    damage(newest / name)
    train(config, tmp_path / "out", tmp_path / "work")
    assert f"warning: {newest}: damaged" in capfd.readouterr().err
    assert digest(tmp_path / "out") == reference
    assert before.name == "checkpoint-000019"


def test_all_damaged_is_an_error_not_a_silent_restart(config, tmp_path):
    work = work_folder(tmp_path, config)
    trained_for(config, work, episodes=20, save_every=1)
    for segment in (work / "replay").iterdir():
        damage_flip(segment)
    with pytest.raises(StorageFailed, match="all checkpoints are damaged; delete this folder"):
        train(config, tmp_path / "out", tmp_path / "work")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "checkpoint-000001/../x", "replay/.hidden"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path, capsys, name):
    checkpoint.save(tmp_path, "run", 1, {"a": b"1"}, {}, {})
    folder = tmp_path / "checkpoint-000001"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 0, "sha256": ""}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    with pytest.raises(StorageFailed, match="all checkpoints are damaged"):
        checkpoint.load_newest(tmp_path, "run")
    assert "which is not a file of a checkpoint" in capsys.readouterr().err
