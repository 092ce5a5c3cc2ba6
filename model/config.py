"""The network's dimensions as one frozen value per profile; `avatar` is the released size, `puppet` the shipped one."""

from dataclasses import dataclass
from typing import Literal

Injection = Literal["token", "token_channel", "token_add"]  # Table 3 of arXiv:2505.20156; the release is token_add


@dataclass(frozen=True)
class AudioConfig:
    """Whisper-shaped encoder and its projection. One row is 20 ms."""

    width: int = 384
    layers: int = 4  # hidden states taken: layers + 1
    heads: int = 6
    rows_per_frame: int = 10
    chunk_rows: int = 1500  # of sound heard at once; the puppet was trained on tracks of 800, later rows mislead it
    projection: int = 1024
    tokens_per_frame: int = 4
    extended: bool = False  # the paper's 40 tokens per latent beside the released 16


@dataclass(frozen=True)
class VaeConfig:
    """Causal 3D VAE 4x8x8; tiles in latents. Time tile 17, stride 12; space tile 32, stride 24."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_groups: int = 32
    latent_channels: int = 16
    scaling: float = 0.476986
    tile_pixels: int = 256
    tile_frames: int = 64
    overlap: float = 0.25
    patches: bool = False  # the puppet's own autoencoder; channels are then encoder and decoder width
    causal_attention: bool = True  # middle attention sees earlier frames only (`mid_block_causal_attn`)


@dataclass(frozen=True)
class NetworkConfig:
    """Dimensions of the video transformer. `head_width` = hidden / heads = sum(rope_widths)."""

    name: str = "avatar"
    hidden: int = 3072
    heads: int = 24
    double_blocks: int = 20
    single_blocks: int = 40
    mlp_ratio: int = 4
    latent_channels: int = 16
    patch: int = 2
    rope_widths: tuple[int, int, int] = (16, 56, 56)  # t, y, x
    rope_theta: float = 256.0
    text_width: int = 4096
    pooled_width: int = 768
    refiner_blocks: int = 2
    adapter_width: int = 1024
    adapter_every: int = 2  # audio after double blocks 1, 3, 5, ...
    audio: AudioConfig = AudioConfig()
    vae: VaeConfig = VaeConfig()
    injection: Injection = "token_add"
    ref_shift: Literal["none", "xy"] = "none"  # xy: eq. 2 of the paper; the release has none
    emotion: bool = False  # audio emotion module, eq. 6; its tensors are not in the release

    @property
    def head_width(self) -> int:
        return self.hidden // self.heads

    @property
    def num_adapters(self) -> int:
        return self.double_blocks // self.adapter_every


AVATAR = NetworkConfig()
PUPPET = NetworkConfig(
    name="puppet",
    hidden=128,
    heads=4,
    double_blocks=2,
    single_blocks=4,
    rope_widths=(8, 12, 12),
    text_width=64,
    pooled_width=64,
    adapter_width=128,
    adapter_every=1,
    audio=AudioConfig(width=64, layers=2, heads=2, projection=128, chunk_rows=750),
    vae=VaeConfig(channels=(128, 192), layers_per_block=2, tile_pixels=512, patches=True, scaling=1.0),
    emotion=True,
)
