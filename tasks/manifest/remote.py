"""Bring the s3:// objects that a manifest names onto this machine, once for each of their versions."""

import hashlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

from tasks.errors import MediaError
from tasks.manifest.rules_media import Fetch
from tasks.store import open_store

MAX_OBJECT_BYTES = 8 << 30  # the largest media file that a manifest may name


def store_fetch(folder: Path, endpoint: str = "") -> Fetch:
    """Return the `fetch` of read_manifest: it keeps copies in `folder`, named by address, size and time of change.

    `endpoint` is the address of an S3-compatible server; empty means AWS. What it returns raises StoreError,
    ObjectMissing, or MediaError for an object that is too large to be looked at.
    """

    open_bucket = lru_cache(maxsize=8)(lambda bucket: open_store(f"s3://{bucket}", endpoint=endpoint))

    def fetch(address: str) -> Path:
        bucket, key = address.removeprefix("s3://").split("/", 1)
        store = open_bucket(bucket)
        stat = store.stat(key)
        if stat.size > MAX_OBJECT_BYTES:
            raise MediaError(f"{address!r} has {stat.size} bytes, the limit is {MAX_OBJECT_BYTES}; export it smaller")
        version = hashlib.sha256(f"{address} {stat.size} {stat.modified_seconds}".encode()).hexdigest()[:32]
        copy = folder / f"{version}{PurePosixPath(key).suffix}"
        if not copy.exists():
            folder.mkdir(parents=True, exist_ok=True)
            store.fetch(key, copy)
        return copy

    return fetch
