"""Checkpoints copied to a folder that outlives a machine: any fsspec URL, a shared disk or an object store.

    URL/RUN/lease-000003-TOKEN/holder                      who holds the lease
    URL/RUN/lease-000003-TOKEN/checkpoint-000012/...       as in the work folder
    URL/RUN/lease-000003-TOKEN/replay/...

Each start of a run takes a lease, whose generation number is one above all that are there. The holder is the lease with
the highest name: a random token decides between two that took the same number at once. A writer writes only below its
own lease, so that nothing needs to be locked or created exclusively; one that finds a higher lease, as after a network
partition, stops before it publishes. What is relied on: a file that was written is seen by a later listing and read
whole. A listing that lags behind, as NFS's may for a minute, lets the older writer work that much longer; it writes the
same bits, because a run's bits do not depend on where it runs.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marl_gre.errors import BadInput, StorageFailed
from marl_gre.storage.checkpoint import KEPT, MANIFEST, MANIFEST_HASH, SEGMENTS, name_of, newest_sound, put_aside
from marl_gre.storage.files import sha256, sync_folder, write_durably

VARIABLE = "MARL_GRE_MIRROR"
"""Environment variable with the URL."""

LEASE = re.compile(r"lease-\d{6}-[0-9a-f]+")
CHECKPOINT = re.compile(r"checkpoint-(\d{6})")


class Mirror:
    """The mirror of one run.

    Args:
        url: the folder of all runs' mirrors.
        run: the run's identity.

    Raises:
        BadInput: fsspec is missing, or cannot use the URL.
    """

    def __init__(self, url: str, run: str):
        try:
            import fsspec
        except ImportError as error:
            raise BadInput('a mirror needs fsspec: pip install "marl-gre[distributed]".') from error
        try:
            self.files, root = fsspec.core.url_to_fs(url)
        except Exception as error:  # an unknown protocol, a missing library, or a store's own complaint
            raise BadInput(
                f"mirror: found {url!r}, which cannot be used ({error}); an fsspec URL is needed."
            ) from error
        self.url = url
        self.run = run
        self.root = f"{root.rstrip('/')}/{run[:12]}"
        self.lease = ""
        self.sent: set[str] = set()

    def take(self) -> None:
        """Become the run's one writer.

        Raises:
            StorageFailed: the mirror cannot be written.
        """
        try:
            generation = max((int(name.split("-")[1]) for name in self._leases()), default=0) + 1
            lease = f"lease-{generation:06d}-{uuid.uuid4().hex[:12]}"
            self._put(f"{lease}/holder", f"{socket.gethostname()} process {os.getpid()}\n".encode())
            self.lease = lease
        except Exception as error:  # a store raises what it likes
            raise StorageFailed(
                f"{self.url}: the mirror cannot be written ({error}); fix this and run the same command again."
            ) from error

    def check(self) -> None:
        """Find out whether this is still the run's writer.

        Raises:
            StorageFailed: it is not, or the mirror cannot be read.
        """
        try:
            newest = max(self._leases(), default="")
        except Exception as error:
            raise StorageFailed(
                f"{self.url}: the mirror cannot be read ({error}); fix this and run the same command again."
            ) from error
        self._compare(newest)

    def _compare(self, newest: str) -> None:
        if newest != self.lease:
            raise StorageFailed(
                f"{self.url}: another process has taken this run over ({newest or 'its mirror was removed'}); nothing "
                "was published here: let that process finish it."
            )

    def fetch(self, work: Path) -> None:
        """Copy the newest checkpoints into the work folder if they are newer than the intact ones in it.

        Raises:
            StorageFailed: the mirror cannot be read, or the work folder not be written.
        """
        here = newest_sound(work, self.run)
        try:
            number, lease = max(
                ((numbers[-1], lease) for lease in self._leases() if (numbers := self._checkpoints(lease))),
                default=(0, ""),
            )
            if number <= here:
                return
            (work / SEGMENTS).mkdir(exist_ok=True)
            for name, digest in self._segments(lease).items():
                if (work / name).is_file() and sha256(work / name) == digest:
                    continue
                data = self._get(f"{lease}/{name}")
                if hashlib.sha256(data).hexdigest() == digest:  # what is damaged there replaces nothing here
                    write_durably(work / name, data)
            sync_folder(work / SEGMENTS)
            for older in self._checkpoints(lease):
                final = work / name_of(older)
                if older <= here and final.exists():
                    continue
                temporary = work / f"{final.name}.tmp-{os.getpid()}"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir()
                for name in self._list(f"{lease}/{final.name}"):
                    write_durably(temporary / name, self._get(f"{lease}/{final.name}/{name}"))
                sync_folder(temporary)
                if final.exists():
                    print(f"warning: {final}: damaged, the mirror's copy is used.", file=sys.stderr)
                    put_aside(final)
                temporary.rename(final)  # its hashes are checked when it is loaded
            sync_folder(work)
        except Exception as error:
            raise StorageFailed(
                f"{self.url}: cannot be copied to {work} ({error}); fix this and run the same command again."
            ) from error

    def _segments(self, lease: str) -> dict[str, str]:
        """Return the segments that a lease's checkpoints name and that are there, each with its SHA-256."""
        there = {f"{SEGMENTS}/{name}" for name in self._list(f"{lease}/{SEGMENTS}")}
        found: dict[str, str] = {}
        for number in self._checkpoints(lease):
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # damaged: it will not be loaded
                files = self._files_of(lease, number)
                found |= {name: str(entry["sha256"]) for name, entry in files.items() if name in there}
        return found

    def push(self, work: Path, number: int) -> None:
        """Copy checkpoint `number` of the work folder; if the mirror fails, say so and leave it to the next one.

        Raises:
            StorageFailed: another process has taken the run over.
        """
        name = name_of(number)
        try:
            newest = max(self._leases(), default="")
        except Exception as error:
            self._warn(error)
            return
        self._compare(newest)
        try:
            manifest = json.loads((work / name / MANIFEST).read_bytes())
            wanted = sorted(file for file in manifest["files"] if file.startswith(f"{SEGMENTS}/"))
            for file in wanted:
                if file not in self.sent:
                    self._put(f"{self.lease}/{file}", (work / file).read_bytes())
                    self.sent.add(file)
            own = [file.partition("/")[2] for file in manifest["files"] if file.startswith(f"{name}/")]
            for file in (*own, MANIFEST, MANIFEST_HASH):  # the last one makes it a checkpoint
                self._put(f"{self.lease}/{name}/{file}", (work / name / file).read_bytes())
        except Exception as error:
            self._warn(error)
            return
        try:
            self._prune()
        except Exception as error:
            print(f"warning: {self.url}: older checkpoints were not removed ({error}).", file=sys.stderr)

    def _prune(self) -> None:
        """Remove what the newest checkpoints of this lease do not need, and older leases."""
        numbers = self._checkpoints(self.lease)
        needed: set[str] = set()
        for number in numbers[-KEPT:]:
            needed |= set(self._files_of(self.lease, number))
        for number in numbers[:-KEPT]:
            self._remove(f"{self.lease}/{name_of(number)}")
        for name in self._list(f"{self.lease}/{SEGMENTS}"):
            if f"{SEGMENTS}/{name}" not in needed:
                self._remove(f"{self.lease}/{SEGMENTS}/{name}")
        for lease in self._leases():
            if lease < self.lease:
                self._remove(lease)

    def _warn(self, error: Exception) -> None:
        print(f"warning: {self.url}: the checkpoint was not mirrored ({error}); training goes on.", file=sys.stderr)

    def _leases(self) -> list[str]:
        return sorted(name for name in self._list("") if LEASE.fullmatch(name))

    def _checkpoints(self, lease: str) -> list[int]:
        """Return the numbers of a lease's complete checkpoints, in order."""
        found = [match for name in self._list(lease) if (match := CHECKPOINT.fullmatch(name))]
        return sorted(int(match[1]) for match in found if MANIFEST_HASH in self._list(f"{lease}/{match[0]}"))

    def _files_of(self, lease: str, number: int) -> dict[str, Any]:
        """Return the entries of the files that a checkpoint's manifest names; it may be damaged."""
        files: dict[str, Any] = json.loads(self._get(f"{lease}/{name_of(number)}/{MANIFEST}"))["files"]
        return files

    def _list(self, folder: str) -> Sequence[str]:
        """Return the names in a folder of the run's mirror; none where there is no such folder."""
        path = f"{self.root}/{folder}".rstrip("/")
        self.files.invalidate_cache()
        try:
            listed: list[Any] = self.files.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rpartition("/")[2] for name in listed)

    def _get(self, name: str) -> bytes:
        return bytes(self.files.cat_file(f"{self.root}/{name}"))

    def _put(self, name: str, data: bytes) -> None:
        path = f"{self.root}/{name}"
        self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.files.pipe_file(path, data)

    def _remove(self, name: str) -> None:
        self.files.rm(f"{self.root}/{name}", recursive=True)


def remove(url: str, run: str) -> None:
    """Remove a run's mirror: its results are safe.

    Raises:
        BadInput: as `Mirror`.
    """
    mirror = Mirror(url, run)
    try:
        mirror.files.rm(mirror.root, recursive=True)
    except FileNotFoundError:
        return
    except Exception as error:
        print(f"warning: {mirror.root}: not removed ({error}).", file=sys.stderr)
