"""The one file that chooses the attention kernel; PyTorch's own is always there.

b batch, n tokens = image tokens then text tokens, h heads, d head width.

A token's place in the sequence does not matter to attention, only its rotary angle does. So several processes can
share a window by splitting the token grid *within* each frame: every one of them then holds all frames, a part of
each frame's tokens and all text tokens; the adapters need no exchange, and only the callable given as `Attention`
has to talk to the others. `Layout` tells it where its image tokens end.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """How the joint sequence is made up: image tokens first, then text, padded where items differ.

    `key_mask` is None when no item has padding. Text beyond an item's valid rows is never read (MODEL 2.5).
    """

    num_image: int
    num_text: tuple[int, ...]
    key_mask: Bool[Tensor, "b n"] | None = None


@runtime_checkable  # the shape checker of the tests asks
class Attention(Protocol):
    """Joint attention over image and text tokens, scaled by head width ** -1/2."""

    def __call__(
        self,
        q: Float[Tensor, "b n h d"],
        k: Float[Tensor, "b n h d"],
        v: Float[Tensor, "b n h d"],
        layout: Layout,
    ) -> Float[Tensor, "b n h d"]: ...


def joint_layout(num_image: int, num_text: tuple[int, ...], device: torch.device | str) -> Layout:
    """Describe a batch whose items have `num_text` valid text rows, trimmed to the longest."""
    longest = max(num_text)
    if min(num_text) == longest:
        return Layout(num_image, num_text)
    place = torch.arange(num_image + longest, device=device)
    last = torch.tensor(num_text, device=device) + num_image
    return Layout(num_image, num_text, place[None] < last[:, None])


def sdpa(
    q: Float[Tensor, "b n h d"],
    k: Float[Tensor, "b n h d"],
    v: Float[Tensor, "b n h d"],
    layout: Layout,
) -> Float[Tensor, "b n h d"]:
    """Attend with torch's scaled_dot_product_attention: every device, every dtype."""
    mask = None if layout.key_mask is None else layout.key_mask[:, None, None]
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
    return out.transpose(1, 2)
