"""Speech into the picture: the audio projection and the face-aware audio adapter.

b batch, f audio frames = 4 t - 3, t latents, n tokens of one latent, k keys of one latent (16, and 40 extended),
r rows, l layers, w audio width, d hidden width, a adapter width, kv = 2 a keys and values.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from model.config import NetworkConfig
from model.linear import AffineNorm, Linear


class AudioProjection(nn.Module):
    """A frame's window of encoder states to four tokens (MODEL 2.6)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        audio = config.audio
        self.tokens = audio.tokens_per_frame
        self.proj1 = Linear(audio.rows_per_frame * (audio.layers + 1) * audio.width, audio.projection)
        self.proj2 = Linear(audio.projection, audio.projection)
        self.proj3 = Linear(audio.projection, self.tokens * config.hidden)
        self.norm = AffineNorm(config.hidden, eps=1e-5)

    def forward(self, audio: Float[Tensor, "*b r l w"]) -> Float[Tensor, "*b four d"]:
        """Project every frame on its own, so that a frame's tokens can be kept for a whole shot."""
        x = F.relu(self.proj1(audio.flatten(-3)))
        x = F.relu(self.proj2(x))
        out: Tensor = self.norm(self.proj3(x).unflatten(-1, (self.tokens, -1)))
        return out


class AudioProjectionExtended(nn.Module):
    """A frame's ten rows to ten tokens, so that a latent sees 40 (Section 3.3, arXiv:2505.20156)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.proj = Linear((config.audio.layers + 1) * config.audio.width, config.hidden)
        self.norm = AffineNorm(config.hidden, eps=1e-5)

    def forward(self, audio: Float[Tensor, "*b r l w"]) -> Float[Tensor, "*b r d"]:
        """Project every row on its own."""
        out: Tensor = self.norm(self.proj(audio.flatten(-2)))
        return out


def group_frames(tokens: Float[Tensor, "b f k d"]) -> Float[Tensor, "b t four_k d"]:
    """Give each latent the tokens of its frames: latent j >= 1 frames 4j-3 .. 4j, latent 0 four copies of frame 0."""
    padded = torch.cat([repeat(tokens[:, :1], "b 1 k d -> b three k d", three=3), tokens], dim=1)
    grouped: Tensor = rearrange(padded, "b (t four) k d -> b t (four k) d", four=4)
    return grouped


def cross_attention(q: Float[Tensor, "*b n a"], keys: Float[Tensor, "*b k kv"]) -> Float[Tensor, "*b n a"]:
    """Attend from tokens to the keys of their own latent: one head as wide as the adapter, softmax in float32.

    q and k are scaled by width ** -1/4 each, as released, so that half precision does not overflow.
    """
    k, v = keys.chunk(2, dim=-1)
    scale = q.shape[-1] ** -0.25
    weights = torch.matmul(q * scale, (k * scale).transpose(-1, -2)).float().softmax(dim=-1)
    return torch.matmul(weights.to(v.dtype), v)


class CrossAdapter(nn.Module):
    """Tokens of each latent that ask, and tokens from outside the picture that answer."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden, width = config.hidden, config.adapter_width
        self.norm1 = AffineNorm(hidden, eps=1e-5)
        self.norm2 = AffineNorm(hidden, eps=1e-5)
        self.to_q = Linear(hidden, width, bias=False)
        self.to_kv = Linear(hidden, 2 * width, bias=False)
        self.to_out = Linear(width, hidden, bias=False)

    def query(self, y: Float[Tensor, "*b n d"]) -> Float[Tensor, "*b n a"]:
        """Return the queries of tokens; all voices share them."""
        out: Tensor = self.to_q(self.norm2(y))
        return out

    def keys(self, tokens: Float[Tensor, "*b k d"]) -> Float[Tensor, "*b k kv"]:
        """Return keys and values of what answers; they depend on it alone."""
        out: Tensor = self.to_kv(self.norm1(tokens))
        return out


class AudioAdapter(CrossAdapter):
    """Cross-attention from the tokens of each latent to the speech of that latent."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        hidden, width = config.hidden, config.adapter_width
        if config.audio.extended:  # zero where it joins, so that released weights give the released result
            self.to_kv_ext = Linear(hidden, 2 * width, bias=False)
            self.to_out_ext = Linear(width, hidden, bias=False)

    def keys_extended(self, tokens: Float[Tensor, "*b k d"]) -> Float[Tensor, "*b k kv"]:
        """Return keys and values of the extended tokens."""
        out: Tensor = self.to_kv_ext(self.norm1(tokens))
        return out

    def forward(self, q: Float[Tensor, "*b n a"], keys: tuple[Tensor, ...]) -> Float[Tensor, "*b n d"]:
        """Return what one voice says to the tokens; `keys` are the 16 and, if the config asks for it, the 40."""
        out: Tensor = self.to_out(cross_attention(q, keys[0]))
        return out if len(keys) == 1 else out + self.to_out_ext(cross_attention(q, keys[1]))
