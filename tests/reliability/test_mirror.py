"""The mirror of checkpoints: a run moves to another machine with it, and of two writers the newer one publishes."""

import os
import shutil
import signal

import pytest
from harness import digest, reference, run_config, start

from marl_gre.errors import BadInput, StorageFailed
from marl_gre.jobs.train import train
from marl_gre.storage import mirror as mirrors
from marl_gre.storage.checkpoint import CHECKPOINTS, load_newest, newest_sound, number_of, peek
from marl_gre.storage.mirror import Mirror
from marl_gre.storage.run_dir import work_folder


def use_mirror(url):
    """In a child of the harness: train with a mirror."""
    from marl_gre.jobs import train as job

    plain = job.train

    def mirrored(config, out, work):
        plain(config, out, work, mirror=url)

    job.train = mirrored


def leases(folder):
    return sorted(path.name for path in folder.glob("*/lease-*"))


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def config(tmp_path):
    return run_config(tmp_path)


def killed(config, folder, url, steps):
    """Train and SIGKILL after so many environment steps."""
    child = start(config, folder, 8, use_mirror, url)
    for seen in child.steps():
        if seen == steps:
            child.process.kill()
            break
    assert child.end() == -signal.SIGKILL, child.errors()


def test_a_run_whose_machine_is_lost_goes_on_elsewhere(config, tmp_path):
    expected = reference(config)
    mirror = tmp_path / "mirror"
    killed(config, tmp_path / "one", str(mirror), 60)
    shutil.rmtree(tmp_path / "one")
    assert len(leases(mirror)) == 1
    killed(config, tmp_path / "two", f"file://{mirror}", 40)  # counted anew: it got further
    shutil.rmtree(tmp_path / "two")
    child = start(config, tmp_path / "three", 8, use_mirror, str(mirror))
    assert child.end() == 0, child.errors()
    assert "resumed at" in child.errors()
    assert digest(tmp_path / "three") == expected
    assert [name[:12] for name in leases(mirror)] == ["lease-000003"]
    mirrors.remove(str(mirror), config.identity())
    assert names(mirror) == set()


def test_the_older_of_two_writers_stops_before_it_publishes(config, tmp_path):
    """A network partition: the first writer stands still while a second one takes over and finishes."""
    expected = reference(config)
    mirror = str(tmp_path / "mirror")
    first = start(config, tmp_path / "one", 8, use_mirror, mirror, pause_at=50)
    first.wait_for_pause()
    second = start(config, tmp_path / "two", 8, use_mirror, mirror)
    assert second.end() == 0, second.errors()
    assert digest(tmp_path / "two") == expected
    first.go_on()
    assert first.end() == 6
    assert "another process has taken this run over (lease-000002-" in first.errors()
    assert not (tmp_path / "one/out").exists()


def test_a_writer_that_learns_only_at_the_end_does_not_publish(config, tmp_path):
    mirror = str(tmp_path / "mirror")
    first = start(config, tmp_path / "one", 10**9, use_mirror, mirror, pause_at=50)  # it saves nothing in between
    first.wait_for_pause()
    Mirror(mirror, config.identity()).take()
    first.go_on()
    assert first.end() == 6
    assert not (tmp_path / "one/out").exists()


def test_of_two_that_take_the_same_number_one_stays(tmp_path, monkeypatch):
    one, two = Mirror(str(tmp_path), "run"), Mirror(str(tmp_path), "run")
    monkeypatch.setattr(two, "_leases", list)  # as if both listed before either wrote
    one.take()
    two.take()
    monkeypatch.undo()
    assert one.lease[:12] == two.lease[:12] == "lease-000001"
    older, newer = sorted((one, two), key=lambda mirror: mirror.lease)
    newer.check()
    with pytest.raises(StorageFailed, match=newer.lease):
        older.check()


def test_what_is_not_needed_is_removed(config, tmp_path):
    train(config, tmp_path / "out", tmp_path / "work", mirror=str(tmp_path / "empty"))  # 80 steps: no checkpoint
    assert len(names(tmp_path / "empty")) == 1
    child = start(config, tmp_path / "one", 8, use_mirror, str(tmp_path / "mirror"))
    assert child.end() == 0, child.errors()
    (run,) = (tmp_path / "mirror").iterdir()
    (lease,) = run.iterdir()
    checkpoints = sorted(lease.glob("checkpoint-*"))
    assert len(checkpoints) == 2
    shutil.copytree(lease, tmp_path / "work folder")
    content, _, segments = load_newest(tmp_path / "work folder", config.identity())
    assert content["env_steps"] >= 72
    assert {f"replay/{path.name}" for path in (lease / "replay").iterdir()} >= set(segments)
    assert len(list((lease / "replay").iterdir())) <= len(segments) + 1  # the older checkpoint needs one more


def test_a_cut_copy_is_not_used(config, tmp_path):
    expected = reference(config)
    mirror = tmp_path / "mirror"
    killed(config, tmp_path / "one", str(mirror), 60)
    newest = sorted(mirror.glob("*/*/checkpoint-*"))[-1]
    state = newest / "state.safetensors"
    os.truncate(state, state.stat().st_size // 2)
    child = start(config, tmp_path / "two", 8, use_mirror, str(mirror))
    assert child.end() == 0, child.errors()
    assert f"{newest.name}: damaged" in child.errors()
    assert "resumed at" in child.errors()
    assert digest(tmp_path / "two") == expected


def test_damaged_segments_of_a_mirror_leave_a_sound_local_checkpoint_alone(config, tmp_path):
    """The local folder is one checkpoint behind; all segments are cut in the mirror."""
    killed(config, tmp_path / "one", str(tmp_path / "mirror"), 60)
    identity = config.identity()
    work = work_folder(tmp_path / "one/work", identity)
    older, newest = sorted(work.glob(CHECKPOINTS))
    shutil.rmtree(newest)
    _, _, needed = load_newest(work, identity)
    later = [path for path in work.glob("replay/*") if f"replay/{path.name}" not in needed]
    assert later
    for path in later:
        path.unlink()
    for segment in tmp_path.glob("mirror/*/*/replay/*"):
        os.truncate(segment, segment.stat().st_size // 2)
    before = peek(work, identity)
    assert before["env_steps"] > 0
    Mirror(str(tmp_path / "mirror"), identity).fetch(work)
    assert newest_sound(work, identity) == number_of(older)
    assert peek(work, identity) == before
    assert newest.exists()  # fetched, and not intact: a look changes nothing
    assert not list(work.glob("*.tmp-*"))
    assert not any(path.exists() for path in later)  # what is damaged there is not put here


def test_a_store_that_fails_costs_no_run(config, tmp_path, capsys, monkeypatch):
    """Uploads fail until the end: warnings. The lease cannot be read at the end: nothing is published, 6."""
    from marl_gre.jobs import train as job

    monkeypatch.setattr(job, "CHECKPOINT_STEPS", 30)
    put = Mirror._put

    def failing(self, name, data):
        if "checkpoint" in name or "replay" in name:
            raise ConnectionError("no route")
        put(self, name, data)

    monkeypatch.setattr(Mirror, "_put", failing)
    train(config, tmp_path / "out", tmp_path / "work", mirror="memory://store")
    errors = capsys.readouterr().err
    assert errors.count("warning: memory://store: the checkpoint was not mirrored (no route)") >= 2
    monkeypatch.setattr(Mirror, "_put", put)

    def unremovable(self):
        raise ConnectionError("no delete")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "_prune", unremovable)
        train(config, tmp_path / "kept", tmp_path / "work 1", mirror="memory://kept")
    errors = capsys.readouterr().err
    assert "older checkpoints were not removed (no delete)" in errors
    assert "not mirrored" not in errors

    def unreadable(self, folder):
        raise ConnectionError("no route")

    monkeypatch.setattr(Mirror, "fetch", lambda self, work: monkeypatch.setattr(Mirror, "_list", unreadable))
    with pytest.raises(StorageFailed, match="cannot be read"):
        train(config, tmp_path / "two", tmp_path / "work 2", mirror="memory://store")
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("url", ["nonsense://x", "s3+what://x/y"])
def test_a_wrong_url_ends_in_one_line(config, tmp_path, url):
    with pytest.raises(BadInput, match="an fsspec URL is needed"):
        train(config, tmp_path / "out", tmp_path / "work", mirror=url)
