"""The two kinds of block: double (image and text streams, joint attention) and single (one stream).

b batch, n image tokens, s text tokens, m = n + s, h heads, e head width, d hidden width = h e.
Modulation comes from outside, so that a table can stand in for the weights that make it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.attention import Attention, Layout, sdpa
from model.config import NetworkConfig
from model.linear import Linear, RmsNorm, modulated_norm
from model.rope import Rope, rotate


@dataclass(frozen=True)
class Options:
    """How to compute, never what: every value gives the same result up to rounding.

    `chunk_tokens` bounds the tokens whose wide intermediates exist at once (None: all, best for training).
    `masked_adapters` computes the audio and emotion adapters only where a mask lets them act.
    """

    attention: Attention = sdpa
    chunk_tokens: int | None = None
    masked_adapters: bool = False


PLAIN = Options()


def over_tokens(
    function: Callable[..., Tensor], chunk_tokens: int | None, x: Float[Tensor, "b n d"], *more: Tensor
) -> Float[Tensor, "b n o"]:
    """Apply a function of tokens to chunks of them, so that only one chunk's intermediates exist at a time."""
    if chunk_tokens is None or x.shape[1] <= chunk_tokens:
        return function(x, *more)
    parts = zip(*(torch.split(tensor, chunk_tokens, dim=1) for tensor in (x, *more)))
    return torch.cat([function(*part) for part in parts], dim=1)


class Modulation(nn.Module):
    """SiLU and one linear layer: the vector of a step to shifts, scales and gates."""

    def __init__(self, hidden: int, factor: int) -> None:
        super().__init__()
        self.linear = Linear(hidden, factor * hidden)

    def forward(self, vec: Float[Tensor, "b d"]) -> Float[Tensor, "b fd"]:
        """Return all parts side by side."""
        out: Tensor = self.linear(F.silu(vec))
        return out


class Mlp(nn.Module):
    """Linear, GELU (tanh form), Linear."""

    def __init__(self, hidden: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = Linear(hidden, ratio * hidden)
        self.fc2 = Linear(ratio * hidden, hidden)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Apply to every token."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return out


def gated(x: Float[Tensor, "b n d"], gate: Float[Tensor, "b d"], y: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Return x + gate y in the dtype of the residual stream x."""
    return torch.addcmul(x, gate.to(x.dtype)[:, None], y.to(x.dtype))


class DoubleBlock(nn.Module):
    """Image and text keep their own weights and meet in attention (MODEL 2.5)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden, width = config.hidden, config.head_width
        self.heads = config.heads
        self.img_mod, self.txt_mod = Modulation(hidden, 6), Modulation(hidden, 6)
        for stream in ("img", "txt"):
            setattr(self, f"{stream}_attn_qkv", Linear(hidden, 3 * hidden))
            setattr(self, f"{stream}_attn_q_norm", RmsNorm(width))
            setattr(self, f"{stream}_attn_k_norm", RmsNorm(width))
            setattr(self, f"{stream}_attn_proj", Linear(hidden, hidden))
            setattr(self, f"{stream}_mlp", Mlp(hidden, config.mlp_ratio))

    def heads_of(
        self, stream: str, x: Float[Tensor, "b n d"], shift: Float[Tensor, "b d"], scale: Float[Tensor, "b d"]
    ) -> tuple[Float[Tensor, "b n h e"], Float[Tensor, "b n h e"], Float[Tensor, "b n h e"]]:
        """Return q, k, v of one stream, q and k normalised."""
        qkv = getattr(self, f"{stream}_attn_qkv")(modulated_norm(x, shift, scale))
        q, k, v = rearrange(qkv, "b n (three h e) -> three b n h e", three=3, h=self.heads)
        return getattr(self, f"{stream}_attn_q_norm")(q), getattr(self, f"{stream}_attn_k_norm")(k), v

    def finish(
        self,
        stream: str,
        x: Float[Tensor, "b n d"],
        attended: Float[Tensor, "b n d"],
        parts: tuple[Tensor, ...],
        options: Options,
    ) -> Float[Tensor, "b n d"]:
        """Add attention and MLP to one stream."""
        _, _, gate1, shift2, scale2, gate2 = parts

        def rest(x: Tensor, attended: Tensor) -> Tensor:
            x = gated(x, gate1, getattr(self, f"{stream}_attn_proj")(attended))
            return gated(x, gate2, getattr(self, f"{stream}_mlp")(modulated_norm(x, shift2, scale2)))

        return over_tokens(rest, options.chunk_tokens, x, attended)

    def forward(
        self,
        img: Float[Tensor, "b n d"],
        txt: Float[Tensor, "b s d"],
        modulation: tuple[Float[Tensor, "b fd"], Float[Tensor, "b fd"]],
        rope: Rope,
        layout: Layout,
        options: Options = PLAIN,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b s d"]]:
        """Advance both streams; `modulation` is the image's and the text's."""
        img_parts, txt_parts = (part.chunk(6, dim=-1) for part in modulation)
        img_q, img_k, img_v = self.heads_of("img", img, img_parts[0], img_parts[1])
        txt_q, txt_k, txt_v = self.heads_of("txt", txt, txt_parts[0], txt_parts[1])
        q = torch.cat([rotate(img_q, rope), txt_q], dim=1)  # (b, m, h, e)
        k = torch.cat([rotate(img_k, rope), txt_k], dim=1)
        v = torch.cat([img_v, txt_v], dim=1)
        attended = rearrange(options.attention(q, k, v, layout), "b m h e -> b m (h e)")
        num_image = img.shape[1]
        img = self.finish("img", img, attended[:, :num_image], img_parts, options)
        txt = self.finish("txt", txt, attended[:, num_image:], txt_parts, options)
        return img, txt


class SingleBlock(nn.Module):
    """Attention and MLP side by side on the joint sequence (MODEL 2.7)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden, config.mlp_ratio * config.hidden
        self.heads = config.heads
        self.hidden = hidden
        self.linear1 = Linear(hidden, 3 * hidden + inner)
        self.linear2 = Linear(hidden + inner, hidden)
        self.q_norm = RmsNorm(config.head_width)
        self.k_norm = RmsNorm(config.head_width)
        self.modulation = Modulation(hidden, 3)

    def forward(
        self,
        x: Float[Tensor, "b m d"],
        modulation: Float[Tensor, "b fd"],
        rope: Rope,
        layout: Layout,
        options: Options = PLAIN,
    ) -> Float[Tensor, "b m d"]:
        """Advance the joint sequence.

        linear1 is applied in two row slices: its MLP part, four hidden widths, only exists for a chunk of tokens.
        """
        shift, scale, gate = modulation.chunk(3, dim=-1)
        whole = options.chunk_tokens is None
        normed = modulated_norm(x, shift, scale) if whole else x

        def project(y: Tensor) -> Tensor:
            y = y if whole else modulated_norm(y, shift, scale)
            out: Tensor = self.linear1(y, slice(0, 3 * self.hidden))
            return out

        def rest(x: Tensor, y: Tensor, attended: Tensor) -> Tensor:
            y = y if whole else modulated_norm(y, shift, scale)
            inner = F.gelu(self.linear1(y, slice(3 * self.hidden, None)), approximate="tanh")
            return gated(x, gate, self.linear2(torch.cat([attended.to(inner.dtype), inner], dim=-1)))

        qkv = over_tokens(project, options.chunk_tokens, normed)
        q, k, v = rearrange(qkv, "b m (three h e) -> three b m h e", three=3, h=self.heads)
        q, k = rotate(self.q_norm(q), rope), rotate(self.k_norm(k), rope)
        attended = rearrange(options.attention(q, k, v, layout), "b m h e -> b m (h e)")
        return over_tokens(rest, options.chunk_tokens, x, normed, attended)
