"""Content keys: the digest of everything that can change a result, and of nothing else."""

import dataclasses
import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """Return one JSON text per value: sorted keys, no spaces, dataclasses as objects; independent of hash seeds."""

    def plain(item: Any) -> Any:
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            return dataclasses.asdict(item)
        raise TypeError(f"{type(item).__name__} has no canonical form")

    return json.dumps(value, default=plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical form, as 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def derived_seed(seed: int, name: str) -> int:
    """Return a 63-bit seed for a named part, so that reordering shots changes none of them."""
    return int(digest([seed, name])[:16], 16) >> 1
