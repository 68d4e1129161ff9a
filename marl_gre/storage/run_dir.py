"""A run on disk: its lock, its published files, and how to read them back.

Published files appear atomically; nothing half-written is ever visible under its final name. SHA256SUMS holds their
hashes, including that of weights that are not published; check it with `sha256sum --ignore-missing -c SHA256SUMS`.
Nothing is pickled.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from marl_gre.config import RunConfig
from marl_gre.errors import BadInput, RunInUse, StorageFailed
from marl_gre.metrics import ENTROPY, TESTS, TRAINING
from marl_gre.storage.files import place_of_folder, require_folder, sync_folder, writing
from marl_gre.storage.weights import WEIGHTS, load_weights, read_weights

SCHEMA = 1
"""Version of the files' layout."""

WORK = Path("work")
"""Default parent of the folders, named by identity, of locks, checkpoints and unpublished weights."""

SUMS, RECORD, PROVENANCE = "SHA256SUMS", "train.json", "provenance.json"
PUBLISHED = (ENTROPY, PROVENANCE, TESTS, RECORD, TRAINING, WEIGHTS)
"""A run's published files in the order of SUMS."""

SINCE_LATER = (TRAINING,)
"""Files that older runs do not have."""

PROBE_BYTES = 1_000_000
"""Free bytes required before training starts, as a gridworld run publishes; large networks publish more."""


@contextlib.contextmanager
def lock(work: Path) -> Iterator[None]:
    """Hold the run's lock; the kernel releases it when the process ends, however it ends.

    Raises:
        RunInUse: another process holds it.
        StorageFailed: the folder cannot be written, or its file system has no locks.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        file = (work / "lock").open("a+")
        sync_folder(work.parent)
    except OSError as error:
        raise StorageFailed(
            f"{work}: cannot be written ({error.strerror}); free space or choose another folder."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StorageFailed(
                    f"{work}: cannot be locked ({error.strerror}); choose a folder on a file system with locks."
                ) from error
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunInUse(f"{work}: this run is being trained by {holder}; wait for it or stop it.") from error
        with contextlib.suppress(OSError):  # a full disk; the name is only for the message above
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
        yield


def prepare(target: Path) -> None:
    """Check before hours of work that `target` can be published at their end; the run's lock must be held.

    Files that killed processes left beside it are removed, but a folder that one had moved aside returns.

    Raises:
        BadInput: there is anything but a run in it, or it is a folder that cannot be replaced.
        StorageFailed: it cannot be published; the message says why.
    """
    place = place_of_folder(target)
    name = glob.escape(place.name)
    with writing(target):
        place.parent.mkdir(parents=True, exist_ok=True)
        require_folder(place)
        for moved in place.parent.glob(f".{name}.old-*"):
            if not place.exists():
                moved.rename(place)
        _require_replaceable(target)
        for leftover in (*place.parent.glob(f".{name}.tmp-*"), *place.parent.glob(f".{name}.old-*")):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryFile(dir=place.parent) as probe:  # without a name, so that a kill leaves nothing
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())


def _require_replaceable(target: Path) -> None:
    """Check that a folder holds nothing but files of a run, of this version or of another, whose hashes it lists.

    Raises:
        BadInput: it holds something else.
    """
    found = {path.name for path in target.iterdir()} if target.exists() else set()
    listed = (target / SUMS).read_text(errors="replace") if SUMS in found else ""
    own = {*PUBLISHED, SUMS, *_digests(listed), ".DS_Store"}
    if others := sorted(found - own):
        raise BadInput(f"{target}: found {others[0]}, which does not belong to a run; move it or name another folder.")


def work_folder(work: Path, identity: str) -> Path:
    """Return the folder in which the run of an identity keeps its lock and checkpoints."""
    return work / identity[:12]


def write_run(target: Path, contents: Mapping[str, bytes], withheld: Collection[str] = ()) -> None:
    """Write a run's published files, and their hashes last.

    Args:
        target: an empty folder.
        contents: every name of `PUBLISHED` with its content.
        withheld: names of files of which only the hash is published.
    """
    for name in PUBLISHED:
        if name not in withheld:
            (target / name).write_bytes(contents[name])
    lines = [f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n" for name in PUBLISHED]
    (target / SUMS).write_text("".join(lines))


@dataclass(frozen=True)
class FinishedRun:
    """The content of a published run."""

    config: RunConfig
    record: dict[str, Any]  # train.json
    weights: dict[str, torch.Tensor] | None  # None: they are not here
    sums: dict[str, str]  # published file -> SHA-256, as read

    def load_into(self, agent: nn.Module, mixer: nn.Module) -> None:
        """Load the weights.

        Raises:
            BadInput: the weights are missing or do not fit.
        """
        if self.weights is None:
            config = self.config
            raise BadInput(
                f"{config.env_key} {config.algorithm_key} seed {config.seed}: its weights are not here; the pipeline "
                "publishes only the first seed's weights: name that seed's folder, or train this run again."
            )
        load_weights(self.weights, agent, mixer)


def load_run(folder: Path | str, work: Path | str = WORK) -> FinishedRun:
    """Read a published run.

    Args:
        folder: its folder.
        work: folder of the weights that were not published.

    Raises:
        BadInput: the folder holds no finished run, or a damaged one.
    """
    folder, work = Path(folder), Path(work)
    require_run(folder)
    try:
        listed = read_sums(folder)
        data = (folder / RECORD).read_bytes()
        if hashlib.sha256(data).hexdigest() != listed[RECORD]:
            raise ValueError(f"{RECORD} is not what {SUMS} says")
        record = json.loads(data)
        stored = _stored_weights(folder, work, record, listed[WEIGHTS])
        weights = None if stored is None else read_weights(stored)
    except Exception as error:  # safetensors raises a type of its own, json a ValueError
        raise BadInput(f"{folder}: the run is damaged ({error}); train it again.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise BadInput(f"{folder}/{RECORD}: found another file layout; this version reads schema {SCHEMA}.")
    return FinishedRun(RunConfig.from_record(record, folder), record, weights, listed)


def require_run(folder: Path) -> None:
    """Check that a folder holds a finished run, as far as its names say.

    Raises:
        BadInput: it does not.
    """
    if not (folder / RECORD).is_file():
        raise BadInput(f"{folder}: no finished run here; name a folder with {RECORD}.")


def _stored_weights(folder: Path, work: Path, record: Any, digest: str) -> bytes | None:
    """Return the weights file of a run with this hash: the published one, or the one that training left in `work`.

    Raises:
        ValueError: the published one has another hash.
    """
    if (folder / WEIGHTS).exists():
        data = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"{WEIGHTS} is not what {SUMS} says")
        return data
    identity = record.get("config_hash") if isinstance(record, dict) else None
    if not isinstance(identity, str) or not identity.isalnum():
        return None
    path = work_folder(work, identity) / WEIGHTS
    if not path.is_file():
        return None
    data = path.read_bytes()
    return data if hashlib.sha256(data).hexdigest() == digest else None  # of another training of the same config


def _digests(sums: str) -> dict[str, str]:
    """Return name -> digest of the lines of a SHA256SUMS."""
    return {name: digest for digest, _, name in (line.partition("  ") for line in sums.splitlines())}


def read_sums(folder: Path) -> dict[str, str]:
    """Return the content of a published run's SHA256SUMS; files that older runs do not have may be missing.

    Raises:
        ValueError: it does not list the published files.
        OSError: it cannot be read.
    """
    text = (folder / SUMS).read_text()
    listed = _digests(text)
    names = [name for name in PUBLISHED if name in listed or name not in SINCE_LATER]
    if text != "".join(f"{listed.get(name)}  {name}\n" for name in names):
        raise ValueError(f"{SUMS} does not list {', '.join(names)}")
    return listed
