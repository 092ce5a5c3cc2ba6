"""Content-addressed objects in a folder or on S3; a reader never sees half an object."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import ConfigError
from tasks.store.retry import Retry
from tasks.store.types import ObjectRef, ObjectStat, Source, Store, content_digest, content_key, digest

__all__ = [
    "ObjectRef",
    "ObjectStat",
    "Retry",
    "Source",
    "Store",
    "content_digest",
    "content_key",
    "digest",
    "open_store",
]


def open_store(url: str, *, endpoint: str = "", retry: Retry | None = None) -> Store:
    """Return the store at `file:///folder` or `s3://bucket/prefix`.

    `endpoint` is the address of an S3-compatible server; empty means AWS. `retry` replaces the usual patience.
    Raises: ConfigError when the address is of another kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        from tasks.store.local import FileStore

        return FileStore(Path(unquote(parts.path)), retry=retry)
    if parts.scheme == "s3" and parts.netloc and not parts.query:
        from tasks.store.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), endpoint=endpoint, retry=retry)
    raise ConfigError(f"store {url!r}: not an address of a store; use file:///folder or s3://bucket/prefix")
