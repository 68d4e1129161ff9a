"""Atomic checkpoints: files first, manifest last, then one rename; hashed, no pickle.

A checkpoint is a folder `checkpoint-000012` in the run's work folder. Its manifest names the run and every file with
its size and SHA-256, including files outside the folder that never change (replay segments), which are written once and
shared by later checkpoints; `manifest.sha256` (as `sha256sum` writes it) covers the manifest itself, so every changed
bit of a checkpoint is detected. The two newest checkpoints are kept. The newest intact one is used; a damaged one is
named and set aside.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marl_gre.errors import StorageFailed
from marl_gre.storage.files import sha256, sync_folder, write_durably, writing

SCHEMA = 2
KEPT = 2
MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.sha256"
MAX_MANIFEST_BYTES = 100_000_000
"""Bytes of a manifest; larger ones are not read."""

NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the system and not of the file: no reason to fall back to an older checkpoint."""

CHECKPOINTS = f"checkpoint-{'[0-9]' * 6}"
SEGMENTS = "replay"
"""Folder of the files that checkpoints share."""

Entries = dict[str, dict[str, int | str]]
"""File name -> {"bytes", "sha256"}; names are relative to the work folder."""

Contents = tuple[dict[str, Any], dict[str, Path], Entries]
"""What a checkpoint holds: content, files by name, entries of its segments."""


def save(
    work: Path, run: str, number: int, files: Mapping[str, bytes], shared: Entries, content: Mapping[str, Any]
) -> None:
    """Write checkpoint `number` and remove what is no longer needed.

    Args:
        work: the run's work folder, which exists.
        run: the run's identity.
        number: higher than all earlier numbers.
        files: name -> content of the checkpoint's own files.
        shared: entries of its segments, returned by `write_segment`.
        content: further content, stored as JSON.

    Raises:
        StorageFailed: it cannot be written, or segments are missing; older checkpoints are untouched.
    """
    final = work / name_of(number)
    temporary = work / f"{final.name}.tmp-{os.getpid()}"
    try:
        for name, entry in shared.items():
            if (work / name).stat().st_size != entry["bytes"]:
                raise OSError(f"{name} was cut")  # not hashed again: that would cost the whole replay at every save
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had the same number, as in containers
        temporary.mkdir()
        entries = {f"{final.name}/{name}": write_durably(temporary / name, data) for name, data in files.items()}
        content = {"schema": SCHEMA, "run": run, "files": entries | shared, "content": content}
        manifest = write_durably(temporary / MANIFEST, json.dumps(content, allow_nan=False).encode())
        write_durably(temporary / MANIFEST_HASH, f"{manifest['sha256']}  {MANIFEST}\n".encode())
        sync_folder(temporary)
        temporary.rename(final)  # the one instant at which it becomes visible
        sync_folder(work)
        _prune(work)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageFailed(f"{final}: cannot be written ({error}); free space or fix permissions.") from error


def write_segment(work: Path, name: str, data: bytes) -> Entries:
    """Write a file that later checkpoints share; return its entry.

    Raises:
        StorageFailed: the file cannot be written.
    """
    path = work / SEGMENTS / name
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        entry = write_durably(path, data)
        sync_folder(path.parent)
    return {f"{SEGMENTS}/{name}": entry}


def load_newest(work: Path, run: str) -> Contents | None:
    """Return content, files and segment entries of the newest intact checkpoint, or None if there never was one.

    Args:
        work: the run's work folder.
        run: the identity of the run whose checkpoint is wanted.

    Raises:
        StorageFailed: all checkpoints are damaged, where a silent restart would hide it, or one cannot be read.
    """
    found = sorted(work.glob(CHECKPOINTS), reverse=True)
    for place, folder in enumerate(found):
        sound = _checked(work, run, folder)
        if isinstance(sound, Exception):
            older = ", the previous one is used" if place + 1 < len(found) else ""
            print(f"warning: {folder}: damaged ({sound}){older}.", file=sys.stderr)
            continue
        for damaged in found[:place]:  # it must not be counted among those that are kept
            put_aside(damaged)
        return sound
    if found:
        raise StorageFailed(f"{work}: all checkpoints are damaged; delete this folder to train from the beginning.")
    return None


def newest_sound(work: Path, run: str) -> int:
    """Return the number of the newest intact checkpoint of a run, 0 if there is none.

    Raises:
        StorageFailed: one cannot be read.
    """
    return next((number_of(folder) for folder, _ in _intact(work, run)), 0)


def peek(work: Path, run: str) -> dict[str, Any] | None:
    """Return the content of the newest intact checkpoint of a run that may be training; None if there is none.

    Nothing is renamed: a checkpoint may look damaged only because the run's process is replacing it.

    Raises:
        StorageFailed: one cannot be read.
    """
    return next((content for _, (content, _, _) in _intact(work, run)), None)


def name_of(number: int) -> str:
    """Return the name of a checkpoint's folder."""
    return f"checkpoint-{number:06d}"


def number_of(folder: Path) -> int:
    """Return the number of a checkpoint's folder."""
    return int(folder.name.removeprefix("checkpoint-"))


def put_aside(damaged: Path) -> None:
    """Rename a damaged checkpoint, so that it may be looked into but is not found again."""
    names = (damaged.with_name(f"damaged-{damaged.name}.{count}") for count in itertools.count(1))
    with contextlib.suppress(OSError):
        damaged.rename(next(name for name in names if not name.exists()))  # its number may have been damaged before


def remove_all(work: Path) -> None:
    """Remove all checkpoints and segments of a published run.

    The newest goes last and atomically, so a process killed here leaves an intact checkpoint or none.
    """
    for folder in sorted(work.glob(CHECKPOINTS)):
        gone = work / f"{folder.name}.tmp-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    for path in (*work.glob("checkpoint-*"), *work.glob("damaged-*"), work / SEGMENTS):
        shutil.rmtree(path, ignore_errors=True)
    for left in work.glob(".*.tmp-*"):  # by `publish_file` in a process that was killed
        with contextlib.suppress(OSError):
            left.unlink()


def _intact(work: Path, run: str) -> Iterator[tuple[Path, Contents]]:
    """Give a run's intact checkpoints with what they hold, the newest first; the others are left as they are."""
    for folder in sorted(work.glob(CHECKPOINTS), reverse=True):
        sound = _checked(work, run, folder)
        if not isinstance(sound, Exception):
            yield folder, sound


def _checked(work: Path, run: str, folder: Path) -> Contents | Exception:
    """Return what `_read` does, or how the checkpoint is damaged."""
    try:
        return _read(work, run, folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in NOT_DAMAGE:
            raise StorageFailed(
                f"{folder}: cannot be read ({error}); fix this and run the same command again."
            ) from error
        return error


def _read(work: Path, run: str, folder: Path) -> Contents:
    if folder.is_symlink() or (work / SEGMENTS).is_symlink():
        raise ValueError("found a link in place of a folder")
    text = _contents(folder / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = json.loads(text)
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"found schema {manifest['schema']!r}, this version reads {SCHEMA}")
    if _contents(folder / MANIFEST_HASH, 1000) != f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode():
        raise ValueError(f"{MANIFEST} changed since it was written")
    if manifest["run"] != run:
        raise ValueError("it belongs to another run")
    files: dict[str, Path] = {}
    for name, entry in manifest["files"].items():
        parent, _, last = name.partition("/")
        if parent not in (folder.name, SEGMENTS) or not last or "/" in last or last.startswith("."):
            raise ValueError(f"the manifest names {name!r}, which is not a file of a checkpoint")
        if _size(work / name) != entry["bytes"] or sha256(work / name) != entry["sha256"]:
            raise ValueError(f"{name} changed since it was written")
        files[name.removeprefix(f"{folder.name}/")] = work / name
    segments = {name: entry for name, entry in manifest["files"].items() if name.startswith(f"{SEGMENTS}/")}
    return manifest["content"], files, segments


def _contents(path: Path, limit: int) -> bytes:
    if _size(path) > limit:
        raise ValueError(f"{path.name} is larger than {limit} bytes")
    return path.read_bytes()


def _size(path: Path) -> int:
    """Return a file's size; a link, pipe or device in its place is an error before anything is read from it."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path.name} is not a file")
    return status.st_size


def _prune(work: Path) -> None:
    """Remove older checkpoints, then the segments that no remaining manifest names, then leftovers of killed saves."""
    checkpoints = sorted(work.glob(CHECKPOINTS))
    for old in checkpoints[:-KEPT]:
        shutil.rmtree(old)
    needed = set()
    for folder in checkpoints[-KEPT:]:
        try:
            needed |= set(json.loads((folder / MANIFEST).read_bytes())["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # damaged: keep every segment, it may be looked into
    for path in (work / SEGMENTS).glob("*"):
        if f"{SEGMENTS}/{path.name}" not in needed:
            path.unlink()
    for leftover in work.glob("checkpoint-*.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
