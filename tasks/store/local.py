"""A store in a folder: finished, fsynced temporary files that get their name by a hard link."""

import errno
import fcntl
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from tasks.errors import ObjectMissing, StoreError
from tasks.store.ranges import open_reader
from tasks.store.retry import Retry, TryAgain
from tasks.store.types import (
    CHUNK_BYTES,
    ObjectRef,
    ObjectStat,
    Source,
    check_key,
    content_digest,
    content_key,
    digest,
)

T = TypeVar("T")
PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.EBUSY}  # network folders


class FileStore:
    """Objects as files below `root`; works on any file system with hard links, also over NFS."""

    def __init__(self, root: Path, *, retry: Retry | None = None) -> None:
        self.root = root.resolve()
        self._retry = retry or Retry()
        self._unfinished = (
            self.root / ".unfinished"
        )  # made by the first write: looking at a wrong address leaves nothing

    @property
    def url(self) -> str:
        return self.root.as_uri()

    def put_once(self, key: str, source: Source) -> bool:
        path = self._path(key)
        return not path.exists() and self._call(f"put {key}", self._link_new, path, source)

    def put_content(self, source: Source, suffix: str = "") -> ObjectRef:
        sha256, size = digest(source)
        ref = ObjectRef(content_key(sha256, suffix), sha256, size)
        path = self._path(ref.key)
        with suppress(FileNotFoundError):
            if path.stat().st_size == size:
                return ref
            path.unlink()  # damaged from outside: a writer of ours never leaves a short file
        self._call(f"put {ref.key}", self._link_new, path, source, sha256)
        return ref

    def get(self, key: str) -> bytes:
        data = self._call(f"get {key}", self._path(key).read_bytes)
        promised = content_digest(key)
        if promised and hashlib.sha256(data).hexdigest() != promised:
            raise StoreError(f"object {key} in {self.url} is damaged: its bytes have another digest; run farm fsck")
        return data

    def fetch(self, key: str, path: Path) -> None:
        with self._temporary(path.parent, f".{path.name}-") as temporary:
            self._call(f"get {key}", shutil.copyfile, self._path(key), temporary)
            promised = content_digest(key)
            if promised and digest(temporary)[0] != promised:
                raise StoreError(f"object {key} in {self.url} is damaged: its bytes have another digest; run farm fsck")
            temporary.replace(path)

    def open_range(self, key: str, start: int = 0, num_bytes: int | None = None) -> BinaryIO:
        def read_range(at: int, wanted: int) -> bytes:
            with self._path(key).open("rb") as file:
                file.seek(at)
                return file.read(wanted)

        def read(at: int, wanted: int) -> bytes:
            return self._call(f"get {key}", read_range, at, wanted)

        return open_reader(read, self.stat(key).size, start, num_bytes)

    def stat(self, key: str) -> ObjectStat:
        found = self._call(f"stat {key}", self._path(key).stat)
        return ObjectStat(key, found.st_size, found.st_mtime)

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self.root
        return self._walk(start, f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        self._call(f"delete {key}", self._path(key).unlink, missing_ok=True)

    def write_pointer(self, key: str, value: bytes) -> None:
        self._call(f"point {key}", self._replace, self._path(key), value)

    def swap_pointer(self, key: str, expected: bytes, value: bytes) -> bool:
        path = self._path(key)
        if not path.exists():
            return False
        with self._lock(key):
            if not path.exists() or path.read_bytes() != expected:
                return False
            self._call(f"point {key}", self._replace, path, value)
            return True

    def sweep(self, older_than_seconds: float) -> int:
        if not self._unfinished.is_dir():
            return 0
        old = [path for path in self._unfinished.iterdir() if path.stat().st_mtime < time.time() - older_than_seconds]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _link_new(self, path: Path, source: Source, sha256: str = "") -> bool:
        self._make_room(path)
        with self._temporary(self._unfinished, "") as temporary:
            written = _write_durably(temporary, source)
            if sha256 and written != sha256:
                raise StoreError(f"file {source!s} changed while it was being stored; store a finished file")
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        _sync_folder(path.parent)
        return True

    def _replace(self, path: Path, value: bytes) -> None:
        self._make_room(path)
        with self._temporary(self._unfinished, "") as temporary:
            _write_durably(temporary, value)
            temporary.replace(path)
        _sync_folder(path.parent)

    def _make_room(self, path: Path) -> None:
        for folder in (path.parent, self._unfinished):
            folder.mkdir(parents=True, exist_ok=True)

    def _walk(self, folder: Path, above: str, prefix: str) -> Iterator[ObjectStat]:
        if not folder.is_dir():
            return
        with os.scandir(folder) as entries:  # a folder sorts as "name/", which is the order of whole keys
            names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
        for name in names:
            key = above + name
            if name.startswith(".") or not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._walk(folder / name, key, prefix)
            else:
                with suppress(ObjectMissing):  # deleted while we were listing
                    yield self.stat(key)

    @contextmanager
    def _temporary(self, folder: Path, prefix: str) -> Iterator[Path]:
        path = folder / f"{prefix}{uuid.uuid4().hex}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        # One lock file for the whole store: swaps are rare, and the file never has to be removed.
        with (self.root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _call(self, what: str, action: Callable[..., T], *args: object, **kwargs: object) -> T:
        """Run a file system call with retries. Raises: ObjectMissing, StoreError."""

        def attempt(_maybe_done: bool) -> T:
            try:
                return action(*args, **kwargs)
            except OSError as exc:
                missing = isinstance(exc, FileNotFoundError | IsADirectoryError | NotADirectoryError)
                if missing and Path(str(exc.filename)).is_relative_to(self.root):
                    raise ObjectMissing(f"{what}: not in {self.url}") from exc
                if exc.errno in PASSING:
                    raise TryAgain(str(exc)) from exc
                raise StoreError(f"{what}: {exc}") from exc

        return self._retry.run(what, attempt)


def _write_durably(path: Path, source: Source) -> str:
    """Write, fsync, and return the SHA-256 of what was written."""
    running = hashlib.sha256()
    with path.open("xb") as file:
        for chunk in _chunks(source):
            running.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return running.hexdigest()


def _chunks(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
