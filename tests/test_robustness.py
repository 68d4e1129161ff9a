"""What users, machines and third parties do wrong: one line, the right exit code, and nothing of theirs is lost."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from marl_gre.errors import BadInput, RunInUse, StorageFailed
from marl_gre.jobs.evaluate import evaluate
from marl_gre.storage import checkpoint, files
from marl_gre.storage.files import publishing
from marl_gre.storage.mirror import Mirror
from marl_gre.storage.run_dir import PUBLISHED, SUMS, lock, prepare

PARAMS = """
run: {envs: [lumberjacks], algorithms: [qmix], seeds: [0]}
envs:
  lumberjacks: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 60, test_interval_steps: 50,
    test_episodes: 2, entropy_interval_steps: 25}
algorithms: {qmix: {mixer: qmix}}
train: {hidden_dim: 8, batch_episodes: 2, device: cpu}
"""


def params_with(folder, **changes):
    """Return a params file with parts of PARAMS replaced."""
    text = PARAMS
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    path = folder / "params.yaml"
    path.write_text(text)
    return path


# --- the folder of the results --------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    thesis = tmp_path / "mine" / "thesis" / "chapter.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("all of it")
    with pytest.raises(BadInput, match="mine: found thesis in it and no run, which alone is replaced; name a new fold"):
        prepare(tmp_path / "mine")
    assert thesis.read_text() == "all of it"


def test_empty_folders_runs_and_what_is_left_of_them_are_replaced(tmp_path):
    for name, content in (("empty", ()), ("run", (*PUBLISHED, SUMS, "note.txt")), ("half deleted", PUBLISHED[2:])):
        folder = tmp_path / name
        folder.mkdir()
        for file in content:
            (folder / file).touch()
        prepare(folder)


def test_what_cannot_be_replaced_is_refused_before_the_work(tmp_path, monkeypatch):
    here = tmp_path / "above" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for target, message in (
        (".", r"^\.: found the current folder or one above it; name a new folder\.$"),
        ("..", r"^\.\.: found the current folder or one above it"),
        (str(tmp_path), "found the current folder or one above it"),
        ("new/..", "found the current folder or one above it"),
        ("/", "found a mount point"),
        (str(tmp_path / "link"), "found a link, which cannot be replaced; name the folder itself"),
    ):
        with pytest.raises(BadInput, match=message):
            prepare(Path(target))
    with pytest.raises(BadInput, match=r"^\.: found a folder; name a file\.$"):
        evaluate(tmp_path / "no run", Path(), None)


def test_the_old_folder_is_whole_until_the_new_one_is_there(tmp_path, monkeypatch):
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")
    real, seen = shutil.rmtree, []

    def watched(path, *arguments, **keywords):
        seen.append((target / "file").read_text())
        real(path, *arguments, **keywords)

    monkeypatch.setattr(files.shutil, "rmtree", watched)
    with publishing(target) as new:
        (new / "file").write_text("new")
    assert set(seen) == {"old", "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_failed_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "run"
    target.mkdir()
    (target / "file").write_text("old")
    real = Path.rename

    def failing(self, to):
        if ".tmp-" in self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageFailed, match="cannot be written"), publishing(target):
        pass
    assert (target / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_that_a_killed_process_moved_aside_returns(tmp_path):
    moved = tmp_path / ".run.old-12"
    moved.mkdir()
    for name in (*PUBLISHED, SUMS):
        (moved / name).touch()
    prepare(tmp_path / "run")
    assert (tmp_path / "run" / SUMS).exists()
    moved.mkdir()
    prepare(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# --- locks, checkpoints and mirrors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [(errno.EAGAIN, RunInUse, "is being trained by"), (errno.ENOLCK, StorageFailed, "cannot be locked .No locks avai")],
)
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number, error, message):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(error, match=message), lock(tmp_path / "work"):
        pass


def saved(work, number):
    checkpoint.save(work, "run", number, {"state": bytes([number])}, {}, {"number": number})


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path):
    left = tmp_path / f"checkpoint-000001.tmp-{os.getpid()}"
    left.mkdir()
    (left / "state").touch()
    saved(tmp_path, 1)
    assert checkpoint.load_newest(tmp_path, "run")[0] == {"number": 1}
    assert not left.exists()


def test_no_previous_checkpoint_is_promised_where_there_is_none(tmp_path, capsys):
    saved(tmp_path, 1)
    (tmp_path / "checkpoint-000001" / "state").write_bytes(b"x")
    with pytest.raises(StorageFailed, match="all checkpoints are damaged"):
        checkpoint.load_newest(tmp_path, "run")
    assert "the previous one is used" not in capsys.readouterr().err


def test_an_intact_mirror_takes_the_place_of_damaged_checkpoints(tmp_path, capsys):
    work = tmp_path / "work"
    work.mkdir()
    mirror = Mirror(str(tmp_path / "mirror"), "run")
    mirror.take()
    for number in (1, 2):
        saved(work, number)
        mirror.push(work, number)
    for number in (1, 2):
        (work / f"checkpoint-00000{number}" / "state").write_bytes(b"x")
    mirror.fetch(work)
    assert checkpoint.load_newest(work, "run")[0] == {"number": 2}
    assert capsys.readouterr().err.count("damaged, the mirror's copy is used") == 2
    assert len(list(work.glob("damaged-*"))) == 2
