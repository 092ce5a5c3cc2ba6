"""Linear layers that fit their input to their weight, and the two norms every block uses.

b batch, n tokens, d width. A weight may be float32, bfloat16, or float8_e4m3fn with one scale per layer.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer whose input is cast to its weight, and whose weight may be 8-bit.

    With an 8-bit weight, `scale` holds the layer's scale and the product runs in the bias's dtype:
    weight = w.to(bf16) * scale, as the released 8-bit file means it (MODEL 2.1).
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("scale", None)

    def full_weight(self, rows: slice = slice(None)) -> Float[Tensor, "o i"]:
        """Return the rows of the weight in a dtype that can be multiplied."""
        weight = self.weight[rows]
        if weight.dtype != torch.float8_e4m3fn:
            return weight
        scale = self.get_buffer("scale")
        return weight.to(scale.dtype) * scale

    def forward(self, x: Float[Tensor, "*b i"], rows: slice = slice(None)) -> Float[Tensor, "*b o"]:
        """Multiply by the weight, or only by some of its rows (for a product that is made in parts)."""
        weight = self.full_weight(rows)
        bias = None if self.bias is None else self.bias[rows].to(weight.dtype)
        return F.linear(fitting(x, weight), weight, bias)


def fitting(x: Float[Tensor, "..."], weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return x in the dtype of a weight, unless autocast is going to cast both."""
    casts = not x.is_meta and torch.is_autocast_enabled(x.device.type)
    return x if casts or x.dtype == weight.dtype else x.to(weight.dtype)


def modulated_norm(
    x: Float[Tensor, "b n d"], shift: Float[Tensor, "b d"], scale: Float[Tensor, "b d"]
) -> Float[Tensor, "b n d"]:
    """Return LayerNorm(x) (1 + scale) + shift, in float32: half precision would lose the small shifts."""
    width = (x.shape[-1],)
    gain, shift, x = 1 + scale.float(), shift.float(), x.float()
    if len(x) == 1:  # one item: the modulation is the norm's own affine part, one pass over the tokens instead of three
        return F.layer_norm(x, width, gain[0], shift[0], eps=1e-6)
    return torch.addcmul(shift[:, None], F.layer_norm(x, width, eps=1e-6), gain[:, None])


class RmsNorm(nn.Module):
    """x / rms(x) over the last axis in float32, cast back before the gain is applied (MODEL 2.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalise every vector of the last axis."""
        normed = F.rms_norm(x.float(), (x.shape[-1],), eps=1e-6)
        return normed.to(x.dtype) * self.weight.to(x.dtype)


class AffineNorm(nn.LayerNorm):
    """LayerNorm with gain and bias in float32, whatever the dtype of its input or weight."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__(width, eps=eps)

    def forward(self, input: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:  # noqa: A002, torch's own name
        """Normalise every vector of the last axis."""
        return F.layer_norm(input.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)


@torch.no_grad()
def to_float8_(module: nn.Module) -> None:
    """Turn the weight of every Linear below `module` into 8 bits with one scale per layer: largest value to 448."""
    for layer in module.modules():
        if isinstance(layer, Linear):
            scale = (layer.weight.abs().amax().float() / torch.finfo(torch.float8_e4m3fn).max).to(torch.bfloat16)
            rounded = (layer.weight.float() / scale).to(torch.float8_e4m3fn)
            layer.weight = nn.Parameter(rounded, requires_grad=False)
            layer.scale = scale
