"""Atomic, durable files and their hashes; tables and JSON as text."""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marl_gre.errors import BadInput, StorageFailed
from marl_gre.metrics import Row


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows of numbers as CSV; floats have 9 significant digits, which is exact for float32.

    The columns are those of all rows in order of appearance. A missing value or NaN is an empty cell.
    """
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name, math.nan)) for name in names] for row in rows)
    return file.getvalue()


def json_text(content: Any) -> str:
    """Return readable JSON with sorted keys."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with sorted keys."""
    path.write_text(json_text(content))


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"found {type(content).__name__}, a JSON object is needed")
    return content


def place_of_folder(target: Path) -> Path:
    """Return the absolute path of a folder that another folder can replace.

    Raises:
        BadInput: it is a link, a mount point, or the current folder or one above it.
    """
    place = target.resolve()
    if target.is_symlink():
        raise BadInput(f"{target}: found a link, which cannot be replaced; name the folder itself, {place}.")
    if place.is_mount():
        raise BadInput(f"{target}: found a mount point, which cannot be replaced; name a folder in it.")
    if Path.cwd().is_relative_to(place):
        raise BadInput(f"{target}: found the current folder or one above it; name a new folder.")
    return place


def require_folder(place: Path) -> None:
    """Raise NotADirectoryError if something other than a folder is there."""
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"{place} is a file")


def require_file_name(target: Path) -> None:
    """Check before the work that a path can be that of a file to write.

    Raises:
        BadInput: it is a folder.
    """
    if target.is_dir():
        raise BadInput(f"{target}: found a folder; name a file.")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file or folder in a block of its own.

    Raises:
        StorageFailed: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{path}: cannot be written ({error}); free space or fix permissions.") from error


@contextlib.contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """Yield a temporary folder whose content replaces `target` if the block ends without an error.

    A process killed here leaves the old folder or the new one, or for an instant neither, never a part of one.

    Raises:
        BadInput: as `place_of_folder`.
        StorageFailed: the files cannot be written.
    """
    place = place_of_folder(target)
    temporary = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    old = place.with_name(f".{place.name}.old-{os.getpid()}")
    try:
        with writing(target):
            require_folder(place)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            _sync_all(temporary)
            if place.exists():  # else an `old` of an earlier attempt is the only copy
                shutil.rmtree(old, ignore_errors=True)
                place.rename(old)
            temporary.rename(place)
            sync_folder(place.parent)
    finally:
        if old.exists() and not place.exists():
            with contextlib.suppress(OSError):
                old.rename(place)
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)


def publish_json(target: Path, content: Any) -> None:
    """Write a JSON file atomically.

    Raises:
        StorageFailed: the file cannot be written.
    """
    publish_file(target, json_text(content).encode())


def publish_file(target: Path, data: bytes) -> None:
    """Write a file atomically and durably.

    Raises:
        StorageFailed: the file cannot be written.
    """
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_durably(temporary, data)
            temporary.replace(target)
            sync_folder(target.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_durably(path: Path, data: bytes) -> dict[str, int | str]:
    """Write a file and force it to the disk; return its entry."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def sync_folder(folder: Path) -> None:
    """Force a folder's directory entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_all(folder: Path) -> None:
    """Write a folder with all below it through to the disk."""
    for path in (*folder.rglob("*"), folder):
        sync_folder(path)  # a file is opened the same way


def _cell(value: float) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return str(value)
