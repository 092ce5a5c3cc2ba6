"""A seekable file over any function that reads a byte range."""

import io
from collections.abc import Callable
from typing import BinaryIO, cast

BLOCK_BYTES = 4 << 20


class RangeReader(io.RawIOBase):
    """Bytes [start, start + num_bytes) of an object, read through `read_range(start, num_bytes)`."""

    def __init__(self, read_range: Callable[[int, int], bytes], start: int, num_bytes: int) -> None:
        self._read_range = read_range
        self._start, self._num_bytes, self._position = start, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._num_bytes}[whence]
        if base + offset < 0:
            raise ValueError(f"seek to {base + offset}: before the first byte")
        self._position = base + offset
        return self._position

    def readall(self) -> bytes:
        blocks = iter(lambda: self.read(BLOCK_BYTES), b"")  # the base class would ask for 8 kB at a time
        return b"".join(block for block in blocks if block)

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._num_bytes - self._position)
        if wanted <= 0:
            return 0
        block = self._read_range(self._start + self._position, wanted)
        buffer[: len(block)] = block
        self._position += len(block)
        return len(block)


def open_reader(read_range: Callable[[int, int], bytes], size: int, start: int, num_bytes: int | None) -> BinaryIO:
    """Return a buffered reader of the range, cut at the object's end. Raises: ValueError on a negative range."""
    if start < 0 or (num_bytes is not None and num_bytes < 0):
        raise ValueError(f"range start {start}, {num_bytes} bytes: neither may be negative")
    left = max(0, size - start)
    raw = RangeReader(read_range, start, left if num_bytes is None else min(num_bytes, left))
    return cast("BinaryIO", io.BufferedReader(raw, BLOCK_BYTES))
