"""The audio emotion module: a face's expression taken from a picture (Eq. 6, arXiv:2505.20156).

m tokens of a picture, n tokens of one latent, d hidden width, a adapter width, kv = 2 a keys and values.
The release has no such tensors: gamma starts at zero, so that weights without them give the released result.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.adapter import cross_attention
from model.config import NetworkConfig
from model.linear import AffineNorm, Linear


class EmotionAdapter(nn.Module):
    """Cross-attention from the tokens of each latent to the tokens of an emotion picture, gated by gamma."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden, width = config.hidden, config.adapter_width
        self.norm1 = AffineNorm(hidden, eps=1e-5)
        self.norm2 = AffineNorm(hidden, eps=1e-5)
        self.to_q = Linear(hidden, width, bias=False)
        self.to_kv = Linear(hidden, 2 * width, bias=False)
        self.to_out = Linear(width, hidden, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def query(self, y: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n a"]:
        """Return the queries of tokens; all voices share them."""
        out: Tensor = self.to_q(self.norm2(y))
        return out

    def keys(self, tokens: Float[Tensor, "*b m d"]) -> Float[Tensor, "*b m kv"]:
        """Return keys and values of a picture's tokens; they depend on the picture alone."""
        out: Tensor = self.to_kv(self.norm1(tokens))
        return out

    def forward(self, q: Float[Tensor, "*b n a"], keys: Float[Tensor, "*b m kv"]) -> Float[Tensor, "*b n d"]:
        """Return gamma x what one picture says to the tokens."""
        out: Tensor = self.gamma * self.to_out(cross_attention(q, keys))
        return out
