"""The token refiner: two small blocks that bring text states to the network's width, aware of the timestep.

b batch, s text rows, w text width, d hidden width.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.config import NetworkConfig
from model.embed import ScalarEmbed
from model.linear import AffineNorm, Linear


class CaptionEmbed(nn.Module):
    """Mean text state to the network's width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = Linear(width, hidden)
        self.linear_2 = Linear(hidden, hidden)

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b d"]:
        """Linear, SiLU, Linear."""
        out: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return out


class RefinerMlp(nn.Module):
    """Linear, SiLU, Linear; four times wider inside."""

    def __init__(self, hidden: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = Linear(hidden, ratio * hidden)
        self.fc2 = Linear(ratio * hidden, hidden)

    def forward(self, x: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        """Apply to every row."""
        out: Tensor = self.fc2(F.silu(self.fc1(x)))
        return out


class RefinerBlock(nn.Module):
    """Self-attention and MLP with affine norms and a gate each; no rotary positions, no query norm."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.heads = config.heads
        self.norm1 = AffineNorm(hidden, eps=1e-6)
        self.self_attn_qkv = Linear(hidden, 3 * hidden)
        self.self_attn_proj = Linear(hidden, hidden)
        self.norm2 = AffineNorm(hidden, eps=1e-6)
        self.mlp = RefinerMlp(hidden, config.mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear(hidden, 2 * hidden))

    def forward(
        self, x: Float[Tensor, "b s d"], c: Float[Tensor, "b d"], mask: Bool[Tensor, "b 1 s s"] | None
    ) -> Float[Tensor, "b s d"]:
        """Refine the rows once."""
        gate1, gate2 = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        qkv = self.self_attn_qkv(self.norm1(x))
        q, k, v = rearrange(qkv, "b s (three h d) -> three b h s d", three=3, h=self.heads)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = torch.addcmul(x, gate1, self.self_attn_proj(rearrange(attended, "b h s d -> b s (h d)")))
        return torch.addcmul(x, gate2, self.mlp(self.norm2(x)))


class Blocks(nn.Module):
    """A list of refiner blocks under the name that the released file gives it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(RefinerBlock(config) for _ in range(config.refiner_blocks))


class TextRefiner(nn.Module):
    """Text states to text tokens of one timestep."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.input_embedder = Linear(config.text_width, config.hidden)
        self.t_embedder = ScalarEmbed(config.hidden)
        self.c_embedder = CaptionEmbed(config.text_width, config.hidden)
        self.individual_token_refiner = Blocks(config)

    def forward(
        self, text: Float[Tensor, "b s w"], valid: Bool[Tensor, "b s"], t: Float[Tensor, "b"]
    ) -> Float[Tensor, "b s d"]:
        """Refine; `valid` hides rows by place (the released mask has a hole, golden case B pins it)."""
        weight = valid.float()[..., None]
        mean = (text.float() * weight).sum(1) / weight.sum(1)  # float32: a sum of 800 rows leaves half precision
        c = self.t_embedder(t) + self.c_embedder(mean)
        x: Tensor = self.input_embedder(text).to(self.input_embedder.weight.dtype)
        mask = None if bool(valid.all()) else refiner_mask(valid)
        for block in self.individual_token_refiner.blocks:
            x = block(x, c, mask)
        return x


def refiner_mask(valid: Bool[Tensor, "b s"]) -> Bool[Tensor, "b 1 s s"]:
    """Valid rows see valid rows; row 0 is always seen, so that a padding row sees something (MODEL 2.4)."""
    mask = valid[:, None, :, None] & valid[:, None, None, :]
    mask[..., 0] = True
    return mask
