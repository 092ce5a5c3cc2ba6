"""What one item of a batch is told: text, reference picture, voices, motion. Everything covers exactly one window.

c latent channels, t latents of the window, h w latent height and width (pixels / 8), f audio frames = 4 t - 3,
r rows per audio frame, l layers, d audio width, e emotion pictures, eh ew their latent size, s text tokens, p pooled.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int, Real
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Voice:
    """One character's speech, where it may act, and the emotion it is spoken with.

    `mask` is in [0, 1] on the latent grid (one frame stands for all) and is brought to the token grid by the
    nearest rule: token (y, x) reads latent (2y, 2x). `strength` scales the voice alone, `emotion_strength` the
    emotion alone; the mask confines both. `emotion` holds VAE latents (mode, scaled), one per picture;
    `emotion_index` says which picture each latent follows (None: the first), `emotion_strength` None is 1.
    """

    audio: Float[Tensor, "f r l d"]
    mask: Float[Tensor, "#t h w"]
    strength: float | Float[Tensor, "t"] = 1.0
    emotion: Float[Tensor, "e c eh ew"] | None = None
    emotion_index: Int[Tensor, "t"] | None = None
    emotion_strength: Float[Tensor, "t"] | None = None


@dataclass(frozen=True, eq=False)
class Conditions:
    """One item, one window, one branch of the guidance pair.

    `reference` is the plate's latents; a single frame is repeated over the window. `text_mask` marks valid rows of
    `text`: its places steer the token refiner, its sum alone the joint attention, as released. `motion_exp` and
    `motion_pose` are the released knobs (30 and 25 for an ordinary take), `fps` frames a second.
    """

    text: Float[Tensor, "s d"]
    text_mask: Int[Tensor, "s"] | Bool[Tensor, "s"]
    pooled: Float[Tensor, "p"]
    reference: Float[Tensor, "c #t h w"]
    voices: tuple[Voice, ...]
    motion_exp: Real[Tensor, "4"]
    motion_pose: Real[Tensor, "4"]
    fps: float = 25.0
