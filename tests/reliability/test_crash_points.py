"""F4, F5, F10: a crash, a full disk or a power failure at every single call that changes the disk."""

import contextlib
import hashlib
import io
import os
import random
import shutil

import pytest
from harness import Calls, count, digest, in_child, reference, run_config, start

from marl_gre.errors import StorageFailed
from marl_gre.storage import checkpoint


def content(number):
    """The state and the segment of checkpoint `number`: several pages, so that half of a write is not all of it."""
    return random.Random(number).randbytes(9000), random.Random(-number).randbytes(5000)


def save(work, number, save=checkpoint.save):
    """Save checkpoint `number`, which uses the segments of itself and of the two before."""
    shared = {}
    for n in range(max(1, number - 2), number):
        data = content(n)[1]
        shared[f"replay/episodes-{n}"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    state, segment = content(number)
    shared |= checkpoint.write_segment(work, f"episodes-{number}", segment)
    save(work, "run", number, {"state": state}, shared, {"number": number})


def sound(work):
    """The number of the checkpoint that loads, 0 if none does; what loads is checked byte by byte."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # thousands of warnings
            loaded = checkpoint.load_newest(work, "run")
    except StorageFailed:
        loaded = None
    if loaded is None:
        return 0
    found, files, segments = loaded
    number = found["number"]
    expected = {"state": content(number)[0]}
    expected |= {f"replay/episodes-{n}": content(n)[1] for n in range(max(1, number - 2), number + 1)}
    assert {name: path.read_bytes() for name, path in files.items()} == expected
    assert set(segments) == set(expected) - {"state"}
    return number


def prune_first(work, run, number, files, shared, content):
    """A wrong order, with one checkpoint kept: delete the old one, then write the new one."""
    for folder in sorted(work.glob(checkpoint.CHECKPOINTS)):
        shutil.rmtree(folder)
    checkpoint.save(work, run, number, files, shared, content)


def crash_everywhere(folder, how, order=checkpoint.save):
    """In a process without threads: fork for every call of the fourth save, break it there, look what loads after.

    Returns:
        For each call its name and the number of the checkpoint that loads, before and after one more save.
    """
    start = folder / "start"
    start.mkdir()
    for number in (1, 2, 3):
        save(start, number)
    results, at = [], 1
    while True:
        work = folder / f"{how}-{at}"
        shutil.copytree(start, work)
        pid = os.fork()
        if pid == 0:
            calls = Calls(at, how, str(work))
            calls.install()
            try:
                save(work, 4, order)
            except StorageFailed:
                os._exit(6)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code == 0:
            return results
        found = sound(work)
        if found:
            save(work, found + 1)  # and training goes on from there
        results.append((code, found, sound(work)))
        shutil.rmtree(work)
        at += 1


@pytest.mark.parametrize(("how", "code"), [("before", -9), ("after", -9), ("torn", -9), ("full", 6)])
def test_a_save_broken_at_any_call_leaves_a_sound_checkpoint(tmp_path, tally, how, code):
    results = in_child(crash_everywhere, tmp_path, how)
    unsafe = [place for place, (_, found, after) in enumerate(results, 1) if found not in (3, 4) or after != found + 1]
    tally.add("crash points", points=len(results), unsafe=len(unsafe))
    assert len(results) > 15
    assert {result[0] for result in results} <= {code, -9 if how != "full" else 6}
    assert unsafe == []
    assert {found for _, found, _ in results} == {3, 4}


def test_the_harness_finds_a_wrong_order(tmp_path):
    results = in_child(crash_everywhere, tmp_path, "before", prune_first)
    assert sum(found == 0 for _, found, _ in results) > 10


# --- power failure --------------------------------------------------------------------------------------------------


def record_saves(work, order=checkpoint.save):
    calls = Calls(under=str(work))
    calls.install()
    save(work, 4, order)
    save(work, 5, order)
    return calls.log


def after_power_failure(tree, log, data, names, generator):
    """What a disk may hold when the power fails after the last call of `log`.

    A write is sure to be there once its file was fsynced, a name (created, renamed, removed) once its folder was.

    Args:
        tree: the disk before, nested dicts with bytes.
        log: calls as `Calls` records them.
        data: what becomes of writes that are not sure: "lost", "torn" at 512 bytes, or "kept".
        names: what becomes of names that are not sure: "lost", "kept", or "some" of each folder's, in order.
    """
    synced = [i for i, call in enumerate(log) if call[0] == "fsync"]
    kept_until = {}
    applied = []
    for i, (call, path, *rest) in enumerate(log):
        if call in ("fsync", "failed"):
            continue
        target = path if call == "write" else os.path.dirname(path)
        if any(log[j][1] == target for j in synced if j > i):
            applied.append((call, path, rest))
        elif call == "write":
            keep = {"lost": 0, "torn": len(rest[0]) // 2 // 512 * 512, "kept": len(rest[0])}[data]
            applied.append((call, path, [rest[0][:keep]]))
        else:
            folder_keeps = kept_until.setdefault(
                target, names == "kept" or (names == "some" and generator.random() < 0.5)
            )
            if names == "some" and generator.random() < 0.3:
                kept_until[target] = False
            if folder_keeps:
                applied.append((call, path, rest))
    for call, path, rest in applied:
        try:
            folder, name = node(tree, os.path.dirname(path)), os.path.basename(path)
            if call == "mkdir":
                folder[name] = {}
            elif call == "create":
                folder[name] = b""
            elif call == "write":
                folder[name] = folder[name] + rest[0]
            elif call == "rename":
                node(tree, os.path.dirname(rest[0]))[os.path.basename(rest[0])] = folder.pop(name)
            else:
                del folder[name]
        except KeyError:
            pass  # what it works on did not survive
    return tree


def node(tree, path):
    for part in path.strip("/").split("/"):
        tree = tree[part]
    return tree


def read_tree(folder):
    return {path.name: read_tree(path) if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


def write_tree(tree, folder):
    folder.mkdir()
    for name, value in tree.items():
        if isinstance(value, dict):
            write_tree(value, folder / name)
        else:
            (folder / name).write_bytes(value)


def lost_to_power_failures(tmp_path, log, before, tries):
    """Return the number of disks looked at, and of those on which no checkpoint was sound."""
    work = str(tmp_path / "work")
    looked, lost = 0, 0
    for end in range(len(log) + 1):
        for data in ("lost", "torn", "kept"):
            for names in ("lost", "kept", *("some",) * tries):
                tree = write = {}
                for part in work.strip("/").split("/"):
                    write[part] = write = {}
                write |= read_tree(before)
                disk = after_power_failure(tree, log[:end], data, names, random.Random(looked))
                write_tree(node(disk, work), tmp_path / "disk")
                looked += 1
                lost += sound(tmp_path / "disk") not in (3, 4, 5)
                shutil.rmtree(tmp_path / "disk")
    return looked, lost


def test_a_power_failure_at_any_moment_of_a_save_leaves_a_sound_checkpoint(tmp_path, tally):
    work = tmp_path / "work"
    work.mkdir()
    for number in (1, 2, 3):
        save(work, number)
    shutil.copytree(work, tmp_path / "before")
    log = in_child(record_saves, work)
    looked, lost = lost_to_power_failures(tmp_path, log, tmp_path / "before", count(1, 10, 50))
    tally.add("power failures", disks=looked, lost=lost)
    assert lost == 0
    assert sound(work) == 5
    # the simulation would find a protocol that does not wait for the disk: here without any fsync
    without = [call for call in log if call[0] != "fsync"]
    assert lost_to_power_failures(tmp_path, without, tmp_path / "before", 1)[1] > 0


# --- whole runs -----------------------------------------------------------------------------------------------------


def install(at, how, under):
    Calls(at, how, under).install()


def calls_of_a_run(config, folder):
    """Number of calls of a whole run that change its folders."""

    return in_child(_count_calls, config, folder)


def _count_calls(config, folder):
    import atexit

    from marl_gre.jobs import train

    train.CHECKPOINT_STEPS = 8
    folder.mkdir()
    calls = Calls(under=str(folder))
    calls.install()
    train.train(config, folder / "out", folder / "work")
    atexit._clear()
    return len(calls.log)


@pytest.mark.parametrize("how", ["before", "after", "torn", "full"])
def test_a_run_broken_at_any_call_goes_on_to_the_same_bits(tmp_path, tally, how):
    """Whole runs, publishing included, broken at calls that change the disk: all of them in the release tier."""
    config = run_config(tmp_path)
    expected = reference(config)
    total = calls_of_a_run(config, tmp_path / "counted")
    wanted = sorted(random.Random(how).sample(range(1, total + 1), min(total, count(2, 60, total))))
    unsafe = 0
    for at in wanted:
        folder = tmp_path / str(at)
        child = start(config, folder, 8, install, at, how, str(folder))
        code = child.end()
        assert code in ((-9,) if how != "full" else (6, 0)), child.errors()  # 0: full only when all was published
        if how == "full" and code == 6:
            assert child.errors().count("\n") <= 2
            assert "No space left on device" in child.errors()
        again = start(config, folder)
        unsafe += again.end() != 0 or digest(folder) != expected
        shutil.rmtree(folder)
    tally.add("crash points", points=len(wanted), unsafe=unsafe)
    assert unsafe == 0
