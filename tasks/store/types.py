"""What a store is: immutable objects under keys, put once, and small pointers that may change.

Content keys look like `objects/ab/abcdef...{suffix}`: the name is the SHA-256 of the bytes.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK_BYTES = 1 << 20
CONTENT_KEY = re.compile(r"objects/([0-9a-f]{2})/(\1[0-9a-f]{62})(\.[a-z0-9.]{1,20})?")
SAFE_PART = re.compile(r"[A-Za-z0-9_=+@,~-][A-Za-z0-9._=+@,~-]{0,199}")

Source = bytes | Path


@dataclass(frozen=True)
class ObjectRef:
    """A content-addressed object: where it is, what it holds, how many bytes."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True)
class ObjectStat:
    """What a store says about one object without reading it; `modified_seconds` is since 1970, by the store's clock."""

    key: str
    size: int
    modified_seconds: float


class Store(Protocol):
    """A folder or a bucket; every method retries on its own and then raises StoreError.

    Keys are relative, `/`-separated, without `.` or `..`. A reader never sees half an object.
    """

    @property
    def url(self) -> str:
        """Address that opens this store again with open_store."""

    def put_once(self, key: str, source: Source) -> bool:
        """Create `key` if it is absent; True when this very call created it.

        False means that an object was there already, whatever its content. A call whose answer was lost and which then
        finds the key taken looks at the mark it left on the object: True if the object is its own, so at most one
        caller in the world is told True. Raises: StoreError.
        """

    def put_content(self, source: Source, suffix: str = "") -> ObjectRef:
        """Store the bytes under the name of their digest; the second time costs one look. Raises: StoreError."""

    def get(self, key: str) -> bytes:
        """Return the whole object, checked when the key names its digest. Raises: ObjectMissing, StoreError."""

    def fetch(self, key: str, path: Path) -> None:
        """Write the object to `path` at once or not at all, checked as get does. Raises: ObjectMissing, StoreError."""

    def open_range(self, key: str, start: int = 0, num_bytes: int | None = None) -> BinaryIO:
        """Open bytes [start, start + num_bytes) as a seekable file that reads in blocks. Raises: ObjectMissing."""

    def stat(self, key: str) -> ObjectStat:
        """Return size and time of change. Raises: ObjectMissing, StoreError."""

    def exists(self, key: str) -> bool:
        """Say whether the object is there. Raises: StoreError."""

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield every object whose key begins with `prefix`, in the order of the keys. Raises: StoreError."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error. Raises: StoreError."""

    def write_pointer(self, key: str, value: bytes) -> None:
        """Set a mutable object; readers see the old value or the new one. Raises: StoreError."""

    def swap_pointer(self, key: str, expected: bytes, value: bytes) -> bool:
        """Set a mutable object only if it still holds `expected`; True when it did. Raises: StoreError."""

    def sweep(self, older_than_seconds: float) -> int:
        """Remove what killed writers left behind (never an object); return how many. Raises: StoreError."""


def check_key(key: str) -> str:
    """Return the key. Raises: ValueError when it could leave the store or cannot be a file name."""
    if len(key) > 900 or not all(SAFE_PART.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"store key {key!r}: parts must be letters, digits and ._=+@,~- and not begin with a dot")
    return key


def content_key(sha256: str, suffix: str = "") -> str:
    """Return the key of the object with this digest. Raises: ValueError when digest or suffix has another form."""
    key = f"objects/{sha256[:2]}/{sha256}{suffix}"
    if not CONTENT_KEY.fullmatch(key):
        raise ValueError(f"object {sha256!r} with suffix {suffix!r}: 64 hexadecimal digits and a suffix like .mp4")
    return key


def content_digest(key: str) -> str:
    """Return the SHA-256 that the key promises, or "" when it is not a content key."""
    match = CONTENT_KEY.fullmatch(key)
    return match.group(2) if match else ""


def digest(source: Source) -> tuple[str, int]:
    """Return SHA-256 and number of bytes, reading a file in chunks."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest(), len(source)
    running, size = hashlib.sha256(), 0
    with source.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            running.update(chunk)
            size += len(chunk)
    return running.hexdigest(), size
