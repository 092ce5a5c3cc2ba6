"""The audio emotion module: a face's expression taken from a picture (Eq. 6, arXiv:2505.20156).

m tokens of a picture, n tokens of one latent, d hidden width, a adapter width, kv = 2 a keys and values.
The release has no such tensors: gamma starts at zero, so that weights without them give the released result.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.adapter import CrossAdapter, cross_attention
from model.config import NetworkConfig


class EmotionAdapter(CrossAdapter):
    """Cross-attention from the tokens of each latent to the tokens of an emotion picture, gated by gamma."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, q: Float[Tensor, "*b n a"], keys: Float[Tensor, "*b m kv"]) -> Float[Tensor, "*b n d"]:
        """Return gamma x what one picture says to the tokens."""
        out: Tensor = self.gamma * self.to_out(cross_attention(q, keys))
        return out
