"""Peak bytes of a computation, counted tensor by tensor, on any device: on `meta` even at sizes that do not fit."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorMemory(TorchDispatchMode):
    """Counts the storages that operations make while it is entered; `peak` is in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):  # inputs are the caller's
            self.note(leaf, 0)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            self.note(leaf, 1)
        return out

    def note(self, leaf: object, counted: int) -> None:
        """Count a tensor's storage once, until it is freed."""
        if not isinstance(leaf, torch.Tensor):
            return
        storage = leaf.untyped_storage()
        key = storage._cdata
        if key in self.seen:
            return
        size = counted * storage.nbytes()
        self.seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        """Take a freed storage off the count."""
        self.seen.discard(key)
        self.alive -= size


def peak_bytes(function: Callable[[], object]) -> int:
    """Return how many bytes a call holds at its worst moment beside its inputs."""
    with torch.inference_mode(), TensorMemory() as memory:
        function()
    return memory.peak
