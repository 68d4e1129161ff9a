"""F6-F9, F13, Z4: cut, flipped, missing, swapped, foreign, forged and malicious files; verify."""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
import sys
import zipfile

import numpy as np
import pytest
from harness import PARAMS, count, digest, finish, in_child, reference, run_config

from benchmarks.report.gather import gather
from marl_gre.config import EvaluateConfig, load_params
from marl_gre.errors import BadInput, MarlGreError, NotVerified, StorageFailed
from marl_gre.jobs.evaluate import evaluate
from marl_gre.jobs.train import train
from marl_gre.jobs.verify import verify
from marl_gre.storage import checkpoint, files, run_dir
from marl_gre.storage.resume import Keeper
from marl_gre.storage.run_dir import load_run
from marl_gre.storage.weights import WEIGHTS
from marl_gre.trainer import Trainer


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return run_config(tmp_path_factory.mktemp("params"))


@pytest.fixture(scope="module")
def pristine(config, tmp_path_factory):
    """A work folder with two checkpoints, as a kill after 20 episodes leaves it."""
    work = tmp_path_factory.mktemp("pristine")
    trainer, keeper = Trainer(config), Keeper(work, config.identity())
    for _ in trainer.run():
        if trainer.episodes % 4 == 0:
            keeper.save(trainer)
        if trainer.episodes == 20:
            break
    return work


@pytest.fixture
def work(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="module")
def published(config, tmp_path_factory):
    """A published run with its evaluation, where the pipeline puts them."""
    results = tmp_path_factory.mktemp("results")
    key = (config.env_key, config.algorithm_key, str(config.seed))
    run = results.joinpath("runs", *key)
    train(config, run, results / "work")
    evaluate(run, results.joinpath("evaluation", *key[:2], f"{key[2]}.json"), EvaluateConfig(episodes=3))
    return results


def load(work, config):
    """What loads, as (folder's name, warnings); the name is None where nothing may be loaded."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            found = checkpoint.load_newest(work, config.identity())
        except StorageFailed:
            return None, errors.getvalue()
    return found[1]["state.safetensors"].parent.name, errors.getvalue()


def restore(work, pristine):
    """Undo what loading put aside."""
    for path in work.glob("damaged-*"):
        path.rename(work / re.sub(r"damaged-(.*)\.\d+", r"\1", path.name))


def users(work):
    """The checkpoints that use each file of a work folder."""
    uses = {}
    for folder in sorted(work.glob(checkpoint.CHECKPOINTS)):
        manifest = json.loads((folder / "manifest.json").read_text())
        names = [*manifest["files"], f"{folder.name}/manifest.json", f"{folder.name}/manifest.sha256"]
        for name in names:
            uses.setdefault(name, set()).add(folder.name)
    return uses


def detected(work, config, name, uses):
    """Whether loading passes over every checkpoint that uses the damaged file, and names the newest of them."""
    loaded, warnings = load(work, config)
    sound = sorted(set().union(*uses.values()) - uses[name])
    return loaded == (sound[-1] if sound else None) and (loaded == max(set().union(*uses.values())) or bool(warnings))


def changed(data, generator):
    """A file with one bit flipped."""
    place, bit = generator.randrange(len(data)), generator.randrange(8)
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]


def test_every_flipped_bit_of_a_checkpoint_is_detected(pristine, work, config, tally):
    uses, generator = users(work), random.Random(7)
    originals = {name: (work / name).read_bytes() for name in uses}
    undetected, flips = [], count(50, 1500, 8000)
    for _ in range(flips):
        name = generator.choice(sorted(uses))
        (work / name).write_bytes(changed(originals[name], generator))
        if not detected(work, config, name, uses):
            undetected.append(name)
        restore(work, pristine)
        (work / name).write_bytes(originals[name])
    tally.add("bit flips", flips=flips, undetected=len(undetected))
    assert undetected == []


def test_every_flipped_bit_of_a_published_run_is_detected(published, tmp_path, tally):
    """Verify refuses a flip in any file, and loading one in what it reads. A flip in the line of SHA256SUMS about
    another file does not concern loading: it must give what was published, or nothing."""
    results = tmp_path / "results"
    shutil.copytree(published, results)
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    generator = random.Random(8)
    originals = {path: path.read_bytes() for path in run.iterdir()}
    record = load_run(run).record
    undetected, flips = [], count(20, 500, 2000)
    for _ in range(flips):
        path = generator.choice(sorted(originals))
        path.write_bytes(changed(originals[path], generator))
        wrong = []
        with contextlib.suppress(MarlGreError):
            next(verify(run))
            wrong.append("verify")
        if path.name in ("train.json", "weights.safetensors", "SHA256SUMS"):
            with contextlib.suppress(BadInput):
                loaded = load_run(run)
                if path.name != "SHA256SUMS" or loaded.record != record:
                    wrong.append("load")
        undetected += [(path.name, wrong)] if wrong else []
        path.write_bytes(originals[path])
    tally.add("bit flips", flips=flips, undetected=len(undetected))
    assert undetected == []


def test_every_cut_is_detected(pristine, work, config, tally):
    uses, generator = users(work), random.Random(6)
    originals = {name: (work / name).read_bytes() for name in uses}
    cuts = [(name, n) for name, data in originals.items() for n in (0, 1, 8, len(data) // 2, len(data) - 1)]
    wanted = count(20, 500, 2000)
    generator.shuffle(cuts)
    while len(cuts) < wanted:
        name = generator.choice(sorted(originals))
        cuts.append((name, generator.randrange(len(originals[name]))))
    undetected = tracebacks = 0
    for name, length in cuts[:wanted]:
        (work / name).write_bytes(originals[name][:length])
        try:
            undetected += not detected(work, config, name, uses)
        except Exception:
            tracebacks += 1
        restore(work, pristine)
        (work / name).write_bytes(originals[name])
    tally.add("truncations", cuts=wanted, undetected=undetected, tracebacks=tracebacks)
    assert (undetected, tracebacks) == (0, 0)


def newest(work):
    return sorted(work.glob(checkpoint.CHECKPOINTS))[-1]


def remove(work):
    (newest(work) / "state.safetensors").unlink()


def remove_the_hash(work):
    (newest(work) / "manifest.sha256").unlink()


def swap(work):
    old, new = sorted(work.glob(checkpoint.CHECKPOINTS))
    data = (old / "state.safetensors").read_bytes()
    (new / "state.safetensors").write_bytes(data)


def swap_folders(work):
    old, new = sorted(work.glob(checkpoint.CHECKPOINTS))
    new.rename(work / "x")
    old.rename(new)
    (work / "x").rename(old)


def link(work):
    path = newest(work) / "state.safetensors"
    path.rename(work / "elsewhere")
    path.symlink_to(work / "elsewhere")


def link_the_folder(work):
    path = newest(work)
    path.rename(work / "elsewhere")
    path.symlink_to(work / "elsewhere")


def device(work):
    path = newest(work) / "state.safetensors"
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(work):
    path = newest(work) / "manifest.json"
    path.unlink()
    os.mkfifo(path)


def folder(work):
    path = newest(work) / "manifest.json"
    path.unlink()
    path.mkdir()


def empty(work):
    (newest(work) / "manifest.json").write_bytes(b"")


def edit(work, change, seal=True):
    """Change the newest manifest, with a hash that fits."""
    path = newest(work) / "manifest.json"
    manifest = json.loads(path.read_text())
    changed = change(manifest)
    data = changed if isinstance(changed, bytes) else json.dumps(changed or manifest).encode()
    path.write_bytes(data)
    if seal:
        text = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
        (newest(work) / "manifest.sha256").write_text(text)


CASES = {
    "missing file": (remove, "No such file"),
    "missing hash": (remove_the_hash, "No such file"),
    "swapped files": (swap, "state.safetensors changed"),
    "linked file": (link, "is not a file"),
    "linked folder": (link_the_folder, "a link in place of a folder"),
    "device": (device, "is not a file"),
    "pipe": (pipe, "is not a file"),
    "folder in place of a file": (folder, "is not a file"),
    "empty manifest": (empty, "damaged"),
    "edited manifest": (lambda work: edit(work, lambda m: m["content"].update(x=1), seal=False), "manifest.json chang"),
    "manifest of another run": (lambda work: edit(work, lambda m: m.update(run="0" * 64)), "belongs to another run"),
    "path elsewhere": (lambda work: edit(work, lambda m: m["files"].update({"../x": {}})), "'../x', which is not a"),
    "absolute path": (lambda work: edit(work, lambda m: m["files"].update({"/etc/hostname": {}})), "which is not a"),
    "older schema": (lambda work: edit(work, lambda m: m.update(schema=1)), "found schema 1, this version reads 2"),
    "newer schema": (lambda work: edit(work, lambda m: m.update(schema=99)), "found schema 99, this version reads 2"),
    "schema of another type": (lambda work: edit(work, lambda m: m.update(schema=[])), "found schema []"),
    "a list": (lambda work: edit(work, lambda m: b"[]"), "damaged"),
    "deep JSON": (lambda work: edit(work, lambda m: b"[" * 200_000), "damaged"),
    "not UTF-8": (lambda work: edit(work, lambda m: b"\xff\xfe{}"), "damaged"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_or_foreign_checkpoint_is_named_and_the_one_before_is_used(work, config, case):
    damage, message = CASES[case]
    before = sorted(work.glob(checkpoint.CHECKPOINTS))[0].name
    damage(work)
    loaded, warnings = load(work, config)
    assert loaded == before
    assert message in warnings, warnings
    assert warnings.count("\n") == 1


def test_swapped_folders_are_both_refused(work, config):
    swap_folders(work)
    assert load(work, config)[0] is None


def test_what_does_not_belong_is_left_alone(work, config):
    """An extra file, a stranger's folder with a similar name, leftovers of killed saves."""
    name = newest(work).name
    (newest(work) / "notes.txt").write_text("mine")
    for other in ("checkpoint-abcdef", "checkpoint-0000099", "checkpoint-000099.tmp-1"):
        (work / other).mkdir()
    assert load(work, config) == (name, "")


def test_a_damaged_checkpoint_does_not_count_among_those_kept(config, tmp_path):
    """Newest damaged, trained on to one more of its number, that one damaged too: the one before is still there."""
    expected = reference(config)
    work = tmp_path / "run" / "work" / config.identity()[:12]
    work.mkdir(parents=True)
    for attempt in range(3):
        trainer, keeper = Trainer(config), Keeper(work, config.identity())
        keeper.resume(trainer)
        for _ in trainer.run():
            if trainer.episodes % 4 == 0:
                keeper.save(trainer)
            if trainer.episodes == 12:
                break
        path = newest(work) / "state.safetensors"
        path.write_bytes(changed(path.read_bytes(), random.Random(attempt)))
    assert finish(config, tmp_path / "run") == expected
    assert "resumed at 16 env steps" in (tmp_path / "run" / "log").read_text()  # 8 episodes of 2 steps


# --- malicious files ------------------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return (os.mkdir, (str(self.sentinel),))


def malicious_files(sentinel):
    """Name -> content of files that run code, or fill the memory, in loaders that let them."""
    import torch

    bomb = pickle.dumps(Bomb(sentinel))
    array = io.BytesIO()
    np.save(array, np.array([Bomb(sentinel)], dtype=object), allow_pickle=True)
    arrays = io.BytesIO()
    np.savez(arrays, a=np.array([Bomb(sentinel)], dtype=object), allow_pickle=True)
    saved = io.BytesIO()
    torch.save({"weights": Bomb(sentinel)}, saved)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(50_000_000))
    huge = json.dumps({"x": {"dtype": "F32", "shape": [2**31], "data_offsets": [0, 2**33]}}).encode()
    yaml = f"!!python/object/apply:os.mkdir ['{sentinel}']"
    return {
        "pickle": bomb,
        "pickle behind a safetensors header": struct.pack("<Q", 2) + b"{}" + bomb,
        "object array": array.getvalue(),
        "object arrays": arrays.getvalue(),
        "torch.save": saved.getvalue(),
        "zip bomb": zipped.getvalue(),
        "header of 4 GB": struct.pack("<Q", 2**32) + b"{}",
        "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "tensor of 8 GB": struct.pack("<Q", len(huge)) + huge,
        "deep JSON": b"[" * 500_000,
        "python tag": yaml.encode(),
        "constructor in JSON": json.dumps({"__reduce__": ["os.mkdir", [str(sentinel)]], "schema": 2}).encode(),
    }


def seal_checkpoint(work, name, data):
    """Put a file into the newest checkpoint as a forger would, with hashes that fit."""
    path = newest(work) / "state.safetensors" if name == "state.safetensors" else work / name
    path.write_bytes(data)
    key = f"{newest(work).name}/state.safetensors" if name == "state.safetensors" else name
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(work, lambda manifest: manifest["files"].update({key: entry}))


def seal_run(run, name, data):
    (run / name).write_bytes(data)
    lines = [f"{files.sha256(run / known)}  {known}\n" for known in run_dir.PUBLISHED]
    (run / run_dir.SUMS).write_text("".join(lines))


def try_everything(case, folder, config):
    """In a process of its own: give one malicious file to every loader; return what they did and the memory used.

    Returns:
        The errors that were not the project's own, and the growth of the process in bytes.
    """
    sentinel = folder / "sentinel"
    data = malicious_files(sentinel)[case]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = []

    def attempt(what, function):
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                function()
            if what not in may_load:
                wrong.append(f"{what}: loaded")
        except MarlGreError as error:
            if "\n" in str(error):
                wrong.append(f"{what}: {error!r}")
        except Exception as error:
            wrong.append(f"{what}: {error!r}")

    may_load = {"manifest", "manifest with a fitting hash"}  # passed over, the one before is loaded
    if case == "constructor in JSON":
        may_load.add("verify with provenance.json")  # an object that names another machine than this one
    work, run = folder / "work", folder / "results" / "runs" / "probe" / "qmix_gre" / "0"

    def resumed():
        Keeper(work, config.identity()).resume(Trainer(config))

    for name in ("state.safetensors", next((work / "replay").iterdir()).relative_to(work).as_posix()):
        shutil.copytree(folder / "work", folder / "copy")
        seal_checkpoint(work, name, data)
        attempt(name, resumed)
        shutil.rmtree(work)
        (folder / "copy").rename(work)
    for what, seal in (("manifest", False), ("manifest with a fitting hash", True)):
        shutil.copytree(folder / "work", folder / "copy")
        edit(work, lambda manifest: data, seal)
        attempt(what, resumed)
        shutil.rmtree(work)
        (folder / "copy").rename(work)
    for name in ("train.json", "weights.safetensors", "tests.csv", "provenance.json", "SHA256SUMS"):
        original, sums = (run / name).read_bytes(), (run / "SHA256SUMS").read_bytes()
        if name == "SHA256SUMS":
            (run / name).write_bytes(data)
        else:
            seal_run(run, name, data)
        attempt(f"verify with {name}", lambda: list(verify(run)))
        if name in ("train.json", "weights.safetensors", "SHA256SUMS"):
            attempt(f"load with {name}", lambda: load_run(run))
        (run / name).write_bytes(original)
        (run / "SHA256SUMS").write_bytes(sums)
    (folder / "evaluation.json").write_bytes(data)
    attempt("evaluation", lambda: list(verify(run, folder / "evaluation.json")))
    (folder / "params.yaml").write_bytes(data)
    attempt("params", lambda: load_params(folder / "params.yaml"))
    return wrong, sentinel.exists(), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize("case", malicious_files("x"))
def test_no_file_runs_code(pristine, published, config, tmp_path, tally, case):
    shutil.copytree(pristine, tmp_path / "work")
    shutil.copytree(published, tmp_path / "results")
    wrong, executed, grown = in_child(try_everything, case, tmp_path, config)
    tally.add("malicious files", cases=1, executions=executed)
    assert not executed
    assert wrong == []
    assert grown < 500_000_000
    pickle.loads(malicious_files(tmp_path / "sentinel")["pickle"])  # noqa: S301
    assert (tmp_path / "sentinel").is_dir()  # the bomb works where it is let


# --- random damage behind hashes that fit ---------------------------------------------------------------------------


def mutated(data, generator):
    """Some bytes changed, cut out, doubled, or put in."""
    data = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place = generator.randrange(len(data) + 1)
        length = generator.choice((1, 1, 2, 8, 50))
        match generator.randrange(5):
            case 0:
                data[place : place + length] = generator.randbytes(length)
            case 1:
                del data[place : place + length]
            case 2:
                data[place:place] = data[place : place + length]
            case 3:
                data[place:place] = generator.randbytes(length)
            case 4:
                data[place : place + 1] = generator.choice(
                    [b"9", b"-", b"e", b"null", b"[", b'"', b"{}", b"1e999", b"NaN"]
                )
    return bytes(data) if generator.random() < 0.97 else generator.randbytes(generator.randrange(2000))


def loaders(work, results, config):
    """Name -> (file, a function that gives it hashes that fit, a function that reads it)."""
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    params = load_params(results / "params.yaml")
    state = newest(work) / "state.safetensors"
    segment = next((work / "replay").iterdir())
    name = newest(work).name

    def resume():
        Keeper(work, config.identity()).resume(Trainer(config))

    def reseal():
        seal_run(run, "x", b"")
        (run / "x").unlink()

    def reseal_file(path, key):
        def seal():
            data = path.read_bytes()
            entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            edit(work, lambda manifest: manifest["files"].update({key: entry}))

        return seal

    def reseal_manifest():
        text = f"{files.sha256(newest(work) / 'manifest.json')}  manifest.json\n"
        (newest(work) / "manifest.sha256").write_text(text)

    evaluation = results / "evaluation" / "probe" / "qmix_gre" / "0.json"
    return {
        "manifest": (work / name / "manifest.json", reseal_manifest, resume),
        "state": (state, reseal_file(state, f"{name}/state.safetensors"), resume),
        "segment": (segment, reseal_file(segment, f"replay/{segment.name}"), resume),
        "train.json": (run / "train.json", reseal, lambda: load_run(run)),
        "weights": (run / "weights.safetensors", reseal, lambda: load_run(run)),
        "SHA256SUMS": (run / "SHA256SUMS", lambda: None, lambda: next(verify(run))),
        "report: train.json": (run / "train.json", reseal, lambda: gather(params)),
        "report: tests.csv": (run / "tests.csv", reseal, lambda: gather(params)),
        "report: entropy.csv": (run / "entropy.csv", reseal, lambda: gather(params)),
        "report: evaluation": (evaluation, lambda: None, lambda: gather(params)),
    }


LOADERS = (
    *("manifest", "state", "segment", "train.json", "weights", "SHA256SUMS"),
    *("report: train.json", "report: tests.csv", "report: entropy.csv", "report: evaluation"),
)


@pytest.mark.parametrize("name", LOADERS)
def test_damage_behind_fitting_hashes_ends_in_one_line(pristine, published, config, tmp_path, monkeypatch, tally, name):
    """No hash protects from a forger: what is read is still only read, and refused in one line if it is unusable."""
    shutil.copytree(pristine, tmp_path / "work")
    shutil.copytree(published, tmp_path / "results")
    (tmp_path / "results" / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    path, seal, read = loaders(tmp_path / "work", tmp_path / "results", config)[name]
    wanted = count(20, 1000, 10_000)
    wanted = wanted // 5 if read.__name__ == "resume" else wanted  # networks are built for each
    generator = random.Random(name)
    saved = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    tracebacks = []
    for _ in range(wanted):
        path.write_bytes(mutated(saved[path], generator))
        seal()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read()
        except MarlGreError as error:
            if "\n" in str(error):
                tracebacks.append(repr(error))
        except Exception as error:
            tracebacks.append(repr(error))
        restore(tmp_path / "work", None)
        for other, data in saved.items():
            if other == path or other.name in ("SHA256SUMS", "manifest.json", "manifest.sha256"):
                other.write_bytes(data)
    tally.add("forged files", files=wanted, tracebacks=len(tracebacks))
    assert tracebacks == []


# --- verify ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(published, tmp_path):
    shutil.copytree(published, tmp_path / "results")
    return tmp_path / "results"


def test_verify_says_what_it_checked(results):
    lines = list(verify(results / "runs" / "probe" / "qmix_gre" / "0"))
    assert [line.partition(":")[0] for line in lines[:3]] == ["files", "identity", "machine"]
    assert lines[2] == "machine: the same type, versions and threads"
    assert "tests.csv, last row: played again, 8 values bit-equal" in lines[3]
    assert "evaluation" in lines[4]
    assert "values bit-equal" in lines[4]


def test_verify_without_evaluation(results, tmp_path):
    (results / "runs" / "probe" / "qmix_gre" / "0").rename(tmp_path / "moved")
    assert list(verify(tmp_path / "moved"))[-1] == "evaluation: none found; name one with --evaluation"


@pytest.mark.parametrize("name", run_dir.PUBLISHED)
def test_verify_names_a_changed_file(results, name):
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    (run / name).write_bytes((run / name).read_bytes() + b" ")
    with pytest.raises(NotVerified, match=f"{name} changed since it was published"):
        list(verify(run))
    (run / name).unlink()
    if name == WEIGHTS:  # not every run publishes them, so that is no damage
        assert any(line.startswith("weights: not here") for line in verify(run))
        return
    with pytest.raises((NotVerified, BadInput), match=name):
        list(verify(run))


def edited(path, old, new):
    text = path.read_text()
    assert old in text
    return text.replace(old, new).encode()


def test_verify_finds_numbers_that_do_not_come_out(results):
    """Files edited with care, hashes included: the numbers are played again."""
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    evaluation = results / "evaluation" / "probe" / "qmix_gre" / "0.json"
    mean = json.loads(evaluation.read_text())["episode_return_mean"]
    original = evaluation.read_bytes()
    evaluation.write_bytes(edited(evaluation, f'"episode_return_mean": {mean}', f'"episode_return_mean": {mean + 1}'))
    with pytest.raises(NotVerified, match=r"1 of \d+ values differ, most at episode_return_mean \(by 1\), although"):
        list(verify(run))
    evaluation.write_bytes(original.replace(b"{", b'{"not_measured": 1,', 1))
    with pytest.raises(NotVerified, match=r"1 of \d+ values differ, most at not_measured \(by inf\), although"):
        list(verify(run))
    evaluation.write_bytes(edited(evaluation, '"weights_sha256": "', '"weights_sha256": "0'))
    with pytest.raises(NotVerified, match="not made from the run's weights"):
        list(verify(run))
    evaluation.write_bytes(original)
    original = (run / "train.json").read_bytes()
    seal_run(run, "train.json", edited(run / "train.json", '"lr": 0.0005', '"lr": 0.0006'))
    with pytest.raises(NotVerified, match="config_hash is not the hash of the recorded config"):
        list(verify(run))
    seal_run(run, "train.json", original)
    header, *rows = (run / "tests.csv").read_text().splitlines()
    cells = rows[-1].split(",")
    cells[4] = str(float(cells[4]) + 2)
    seal_run(run, "tests.csv", "\n".join([header, *rows[:-1], ",".join(cells)]).encode() + b"\n")
    with pytest.raises(NotVerified, match=r"most at episode_return_mean \(by 2\)"):
        list(verify(run))


def test_verify_trains_again_where_asked(results):
    """Numbers in the middle of a run, and a run of another seed: playing again cannot find them."""
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    assert list(verify(run, retrain=True))[-1] == (
        f"{run}: trained again, entropy.csv, tests.csv, train.json, training.csv, weights.safetensors bit-equal"
    )
    header, first, *rows = (run / "tests.csv").read_text().splitlines()
    cells = first.split(",")
    cells[4] = str(float(cells[4]) + 2)
    seal_run(run, "tests.csv", "\n".join([header, ",".join(cells), *rows]).encode() + b"\n")
    assert len(list(verify(run))) == 5
    with pytest.raises(NotVerified, match=r"trained again, tests\.csv differ, although"):
        list(verify(run, retrain=True))
    where = json.loads((run / "provenance.json").read_text())
    seal_run(run, "provenance.json", json.dumps({**where, "cpu": "another"}).encode())
    assert list(verify(run, retrain=True))[-1].endswith(
        "tests.csv differ; bit equality is not promised here (see machine)"
    )


def test_verify_elsewhere_reports_instead_of_accusing(results):
    run = results / "runs" / "probe" / "qmix_gre" / "0"
    where = json.loads((run / "provenance.json").read_text())
    seal_run(run, "provenance.json", json.dumps({**where, "cpu": "another", "threads": 8}).encode())
    lines = list(verify(run))
    assert lines[2].startswith("machine: cpu: another then, ")
    assert "threads: 8 then, 1 now" in lines[2]
    evaluation = results / "evaluation" / "probe" / "qmix_gre" / "0.json"
    mean = json.loads(evaluation.read_text())["episode_return_mean"]
    evaluation.write_bytes(edited(evaluation, f'"episode_return_mean": {mean}', f'"episode_return_mean": {mean + 1}'))
    assert list(verify(run))[-1].endswith(
        "values differ, most at episode_return_mean (by 1); bit equality is not promised here (see machine)"
    )


def test_verify_on_the_command_line(results, monkeypatch, capsys):
    from marl_gre.cli import main

    run = results / "runs" / "probe" / "qmix_gre" / "0"
    for damage, code in ((False, 0), (True, 7)):
        if damage:
            (run / "tests.csv").write_text("x")
        monkeypatch.setattr(sys, "argv", ["marl-gre", "verify", str(run)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_digests_are_of_something(config, tmp_path):
    """Two seeds differ in everything that the reliability tests compare."""
    one = finish(config, tmp_path / "one")
    two = finish(run_config(tmp_path, seed=1), tmp_path / "two")
    assert {name for name in one if one[name] == two[name]} == set()
    assert digest(tmp_path / "one") == one
