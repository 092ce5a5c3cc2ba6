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
LEAN = Options(chunk_tokens=8192)  # what a render uses: a full-width block then peaks at 4 GB, not 9, at 704x1216


def over_tokens(
    function: Callable[..., tuple[Tensor, ...]], rope: Rope, chunk_tokens: int | None, *inputs: Float[Tensor, "b n _"]
) -> tuple[Tensor, ...]:
    """Apply a function of (rope, tokens ...) to chunks of tokens, so that only one chunk's intermediates exist."""
    num_tokens = inputs[0].shape[1]
    if chunk_tokens is None or num_tokens <= chunk_tokens:
        return function(rope, *inputs)
    whole: list[Tensor] = []
    for start in range(0, num_tokens, chunk_tokens):
        stop = min(start + chunk_tokens, num_tokens)
        parts = function(rope.rows(start, stop), *(tokens[:, start:stop] for tokens in inputs))
        if not whole:
            whole = [part.new_empty(len(part), num_tokens, *part.shape[2:]) for part in parts]
        for tokens, part in zip(whole, parts):
            tokens[:, start:stop] = part
    return tuple(whole)


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

    def enter(
        self, stream: str, x: Float[Tensor, "b n d"], parts: tuple[Tensor, ...], rope: Rope, options: Options
    ) -> tuple[Tensor, ...]:
        """Return q, k, v of one stream, q and k normalised and rotated."""
        project, q_norm, k_norm = (getattr(self, f"{stream}_attn_{name}") for name in ("qkv", "q_norm", "k_norm"))

        def heads(rope: Rope, x: Tensor) -> tuple[Tensor, ...]:
            qkv = project(modulated_norm(x, parts[0], parts[1]))
            q, k, v = rearrange(qkv, "b n (three h e) -> three b n h e", three=3, h=self.heads)
            return rotate(q_norm(q), rope), rotate(k_norm(k), rope), v

        return over_tokens(heads, rope, options.chunk_tokens, x)

    def leave(
        self,
        stream: str,
        x: Float[Tensor, "b n d"],
        attended: Float[Tensor, "b n d"],
        parts: tuple[Tensor, ...],
        rope: Rope,
        options: Options,
    ) -> Float[Tensor, "b n d"]:
        """Add attention and MLP to one stream."""
        project, mlp = getattr(self, f"{stream}_attn_proj"), getattr(self, f"{stream}_mlp")
        _, _, gate1, shift2, scale2, gate2 = parts

        def rest(_: Rope, x: Tensor, attended: Tensor) -> tuple[Tensor]:
            x = gated(x, gate1, project(attended))
            return (gated(x, gate2, mlp(modulated_norm(x, shift2, scale2))),)

        return over_tokens(rest, rope, options.chunk_tokens, x, attended)[0]

    def forward(
        self,
        img: Float[Tensor, "b n d"],
        txt: Float[Tensor, "b s d"],
        modulation: tuple[Float[Tensor, "b fd"], Float[Tensor, "b fd"]],
        rope: Rope,
        layout: Layout,
        options: Options = PLAIN,
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b s d"]]:
        """Advance both streams; `modulation` is the image's and the text's, `rope` covers both."""
        img_parts, txt_parts = (part.chunk(6, dim=-1) for part in modulation)
        num_image = img.shape[1]
        img_rope, txt_rope = rope.rows(0, num_image), rope.rows(num_image, num_image + txt.shape[1])
        of_image = self.enter("img", img, img_parts, img_rope, options)
        of_text = self.enter("txt", txt, txt_parts, txt_rope, options)
        q, k, v = (torch.cat(pair, dim=1) for pair in zip(of_image, of_text))  # (b, m, h, e)
        del of_image, of_text
        attended = rearrange(options.attention(q, k, v, layout), "b m h e -> b m (h e)")
        del q, k, v
        img = self.leave("img", img, attended[:, :num_image], img_parts, img_rope, options)
        txt = self.leave("txt", txt, attended[:, num_image:], txt_parts, txt_rope, options)
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

        linear1 is applied in two row slices, and the norm before it twice when in chunks: the MLP's part, four hidden
        widths, then only exists for one chunk.
        """
        shift, scale, gate = modulation.chunk(3, dim=-1)
        split = 3 * self.hidden
        normed = modulated_norm(x, shift, scale) if options.chunk_tokens is None else None

        def heads(rope: Rope, x: Tensor) -> tuple[Tensor, ...]:
            qkv = self.linear1(modulated_norm(x, shift, scale) if normed is None else normed, slice(0, split))
            q, k, v = rearrange(qkv, "b m (three h e) -> three b m h e", three=3, h=self.heads)
            return rotate(self.q_norm(q), rope), rotate(self.k_norm(k), rope), v

        def rest(_: Rope, x: Tensor, attended: Tensor) -> tuple[Tensor]:
            inner = self.linear1(modulated_norm(x, shift, scale) if normed is None else normed, slice(split, None))
            inner = F.gelu(inner, approximate="tanh")
            return (gated(x, gate, self.linear2(torch.cat([attended.to(inner.dtype), inner], dim=-1))),)

        q, k, v = over_tokens(heads, rope, options.chunk_tokens, x)
        attended = rearrange(options.attention(q, k, v, layout), "b m h e -> b m (h e)")
        del q, k, v
        return over_tokens(rest, rope, options.chunk_tokens, x, attended)[0]
