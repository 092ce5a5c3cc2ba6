"""A shot's finished latents, gathered from its segments' objects and read a few at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from tasks.errors import ObjectMissing


class ShotReader:
    """Reads latents [start, end) of a shot from its segments' files; holds only what is asked for.

    `missing` gives latents that are in no file. Where windows of two segments cover one latent, their predictions are
    averaged in window order, as in one pod.
    """

    def __init__(self, files: Sequence[Path], missing: Mapping[int, Tensor] | None = None) -> None:
        self._missing = missing or {}  # latent -> (c, h, w): what stands in for waived segments
        self._files: list[Any] = [safe_open(str(path), framework="pt") for path in files]
        self._places: dict[int, list[tuple[int, int, int]]] = {}  # latent -> (window, file, row)
        for number, file in enumerate(self._files):
            for row, (window, latent) in enumerate(file.get_tensor("index").tolist()):
                self._places.setdefault(latent, []).append((window, number, row))

    @property
    def indices(self) -> list[int]:
        """The latents that are there, in order."""
        return sorted(self._places)

    @property
    def num_latents(self) -> int:
        return len(self._places)

    def read(self, start: int, end: int) -> Tensor:
        """Return latents as (c, t, h, w) float32.

        Raises: ObjectMissing when a latent is in no segment.
        """
        return torch.stack([self._latent(index) for index in range(start, end)], dim=1)

    def _latent(self, index: int) -> Tensor:
        if index in self._missing:
            return self._missing[index]
        if index not in self._places:
            raise ObjectMissing(
                f"latent {index} is in none of the shot's {len(self._files)} segments; render them again"
            )
        found = [self._row(number, row) for _, number, row in sorted(self._places[index])]
        total = found[0]
        for other in found[1:]:
            total = total + other
        return (total if len(found) == 1 else total / len(found)).float()

    def _row(self, number: int, row: int) -> Tensor:
        part: Tensor = self._files[number].get_slice("latents")[row : row + 1]
        return part[0]
