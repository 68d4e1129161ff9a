"""Checkpoints that are there whole or not at all: files first, manifest last, then one rename; hashed, no pickle.

A checkpoint is a folder `checkpoint-000012` in the run's work folder. Its manifest names every file with size and
SHA-256, also files outside it that never change (replay segments), which are written once and shared by later
checkpoints. The two newest checkpoints are kept; the newest sound one is used, and a damaged one is named.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marl_gre.errors import StorageFailed

SCHEMA = 1
KEPT = 2
MANIFEST = "manifest.json"
SEGMENTS = "replay"
"""Folder of the files that several checkpoints share."""

Entries = dict[str, dict[str, int | str]]
"""File name -> {"bytes", "sha256"}; names are relative to the work folder."""


def save(work: Path, number: int, files: Mapping[str, bytes], shared: Entries, content: Mapping[str, Any]) -> None:
    """Write checkpoint `number` and remove what is no longer needed.

    Args:
        work: the run's work folder.
        number: higher than all before.
        files: name -> content of the checkpoint's own files.
        shared: entries of segments that belong to it, as `write_segment` returned them.
        content: what else to remember, as JSON.

    Raises:
        StorageFailed: it cannot be written; the older checkpoints are untouched.
    """
    final = work / f"checkpoint-{number:06d}"
    temporary = work / f"{final.name}.tmp-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        entries = {f"{final.name}/{name}": _write(temporary / name, data) for name, data in files.items()}
        manifest = {"schema": SCHEMA, "files": entries | shared, "content": content}
        _write(temporary / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
        _sync_folder(temporary)
        temporary.rename(final)  # the one instant at which it becomes visible
        _sync_folder(work)
        _prune(work)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageFailed(f"{final}: cannot be written ({error}); free space or fix permissions.") from error


def write_segment(work: Path, name: str, data: bytes) -> Entries:
    """Write a file that later checkpoints share; return its entry.

    Raises:
        StorageFailed: it cannot be written.
    """
    path = work / SEGMENTS / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = _write(path, data)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error}); free space or fix permissions.") from error
    return {f"{SEGMENTS}/{name}": entry}


def load_newest(work: Path) -> tuple[dict[str, Any], dict[str, bytes], Entries] | None:
    """Return content, files and segment entries of the newest sound checkpoint, None where there never was one.

    Raises:
        StorageFailed: there are checkpoints and all are damaged; a silent restart would hide that.
    """
    found = sorted(work.glob("checkpoint-??????"), reverse=True)
    for folder in found:
        try:
            return _read(work, folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            print(f"warning: {folder}: damaged ({error}), the one before is used.", file=sys.stderr)
    if found:
        raise StorageFailed(f"{work}: all checkpoints are damaged; delete this folder to train from the beginning.")
    return None


def remove_all(work: Path) -> None:
    """Remove all checkpoints and segments: the run is published."""
    for path in (*work.glob("checkpoint-*"), work / SEGMENTS):
        shutil.rmtree(path, ignore_errors=True)


def _read(work: Path, folder: Path) -> tuple[dict[str, Any], dict[str, bytes], Entries]:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if manifest["schema"] != SCHEMA:
        raise ValueError(f"found schema {manifest['schema']}, this version reads {SCHEMA}")
    files: dict[str, bytes] = {}
    for name, entry in manifest["files"].items():
        parent, _, last = name.partition("/")
        if parent not in (folder.name, SEGMENTS) or not last or "/" in last or last.startswith("."):
            raise ValueError(f"the manifest names {name!r}, which is not a file of a checkpoint")
        data = (work / name).read_bytes()
        if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ValueError(f"{name} changed since it was written")
        files[name.removeprefix(f"{folder.name}/")] = data
    segments = {name: entry for name, entry in manifest["files"].items() if name.startswith(f"{SEGMENTS}/")}
    return manifest["content"], files, segments


def _prune(work: Path) -> None:
    """Remove older checkpoints, then the segments that no remaining manifest names, then leftovers of killed saves."""
    checkpoints = sorted(work.glob("checkpoint-??????"))
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


def _write(path: Path, data: bytes) -> dict[str, int | str]:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
