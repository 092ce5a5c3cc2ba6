"""The video transformer: latents, a timestep and conditions to a velocity. HunyuanVideo-Avatar, arXiv:2505.20156.

b batch, c latent channels, t latents of the window, h w latent size, m image tokens, s text rows, d hidden width.

    prepare   conditions -> everything the blocks read beside the tokens (tables.py keeps parts of it for a whole shot)
    embed     latents -> image tokens, reference first
    features  double blocks with the audio and emotion adapters, then all single blocks but the last
    head      the last single block and the projection to a velocity
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from model.attention import Layout, joint_layout
from model.blocks import PLAIN, DoubleBlock, Options, SingleBlock
from model.conditions import Conditions
from model.config import NetworkConfig
from model.embed import FinalLayer
from model.prepare import ConditionReader, Reference
from model.rope import Rope, rope_table
from model.voices import PreparedVoice, inject, keep_masked


@dataclass(frozen=True, eq=False)
class Modulations:
    """Shifts, scales and gates of every block: a function of timestep, pooled text, motion and fps alone."""

    double: tuple[tuple[Tensor, Tensor], ...]  # (image, text) of each double block, (b, 6d) each
    single: tuple[Tensor, ...]  # (b, 3d)
    final: Tensor  # (b, 2d)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything the blocks read beside the image tokens, for one batch."""

    grid: tuple[int, int, int]  # latents, token rows, token columns
    modulations: Modulations
    text: Float[Tensor, "b s d"]  # valid rows only, padded to the longest item
    reference: Reference
    voices: tuple[PreparedVoice, ...]
    rope: Rope  # of image and text rows
    layout: Layout


@dataclass(frozen=True, eq=False)
class Stream:
    """Tokens between two blocks: the reference's and the latents', then the text's."""

    image: Float[Tensor, "b m d"]
    text: Float[Tensor, "b s d"]


class VideoTransformer(ConditionReader):
    """The network; its tensors have the names and shapes of the released file."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        double = nn.ModuleList(DoubleBlock(config) for _ in range(config.double_blocks))
        single = nn.ModuleList(SingleBlock(config) for _ in range(config.single_blocks))
        self.double_blocks = cast("Sequence[DoubleBlock]", double)
        self.single_blocks = cast("Sequence[SingleBlock]", single)
        self.final_layer = FinalLayer(config.hidden, config.latent_channels, config.patch)

    def forward(
        self,
        x: Float[Tensor, "b c t h w"],
        t: Float[Tensor, "b"],
        conditions: Sequence[Conditions],
        options: Options = PLAIN,
    ) -> Float[Tensor, "b c t h w"]:
        """Return the velocity (noise - data) at timestep t in (0, 1000], in the dtype of x.

        Raises ValueError when conditions do not fit the window.
        """
        prepared = self.prepare(t, conditions, self.grid_of(x, conditions), options)
        stream = self.features(self.embed(x, prepared), prepared, options)
        return self.head(stream, prepared, options).to(x.dtype)

    def prepare(
        self,
        t: Float[Tensor, "b"],
        conditions: Sequence[Conditions],
        grid: tuple[int, int, int],
        options: Options = PLAIN,
    ) -> Prepared:
        """Turn conditions into what the blocks read."""
        text, num_text = self.prepare_text(t, conditions)
        voices = self.prepare_voices(conditions, grid)
        return Prepared(
            grid=grid,
            modulations=self.modulations(self.vector(t, conditions)),
            text=text,
            reference=self.prepare_reference(conditions),
            voices=tuple(keep_masked(voice) for voice in voices) if options.masked_adapters else voices,
            rope=rope_table(*grid, self.config, device=t.device).with_text(max(num_text)),
            layout=joint_layout((grid[0] + 1) * grid[1] * grid[2], num_text, t.device),
        )

    def modulations(self, vec: Float[Tensor, "b d"]) -> Modulations:
        """Evaluate the modulation weights, a quarter of the released network, once."""
        return Modulations(
            double=tuple((block.img_mod(vec), block.txt_mod(vec)) for block in self.double_blocks),
            single=tuple(block.modulation(vec) for block in self.single_blocks),
            final=self.final_layer.modulation(vec),
        )

    def embed(self, x: Float[Tensor, "b c t h w"], prepared: Prepared) -> Stream:
        """Tokenise latents behind the reference."""
        video = self.img_in(x)
        if prepared.reference.added is not None:
            video = rearrange(video, "b (t n) d -> b t n d", t=prepared.grid[0])
            added = rearrange(prepared.reference.added, "b (t n) d -> b t n d", n=video.shape[2])
            video = (video + added).flatten(1, 2)
        image = torch.cat([prepared.reference.tokens.to(video.dtype), video], dim=1)
        return Stream(image.to(self.stream_dtype), prepared.text)

    def features(self, stream: Stream, prepared: Prepared, options: Options = PLAIN) -> Float[Tensor, "b ms d"]:
        """Run all blocks but the last single one; its input is what the released feature cache keeps."""
        stream = self.run_double(stream, prepared, range(len(self.double_blocks)), options)
        return self.run_single(torch.cat([stream.image, stream.text], dim=1), prepared, options)

    def run_double(self, stream: Stream, prepared: Prepared, blocks: range, options: Options = PLAIN) -> Stream:
        """Run some double blocks, each second one (or as configured) followed by the voices."""
        image, text = stream.image, stream.text
        every = self.config.adapter_every
        for index in blocks:
            modulation = prepared.modulations.double[index]
            image, text = self.double_blocks[index](image, text, modulation, prepared.rope, prepared.layout, options)
            if (index + 1) % every == 0 and prepared.voices:
                image = self.speak(image, prepared, (index + 1) // every - 1)
        return Stream(image, text)

    def speak(self, image: Float[Tensor, "b m d"], prepared: Prepared, index: int) -> Float[Tensor, "b m d"]:
        """Let the voices act on the tokens of the latents; the reference's stay as they are."""
        num_reference = image.shape[1] // (prepared.grid[0] + 1)
        y = rearrange(image[:, num_reference:], "b (t n) d -> b t n d", t=prepared.grid[0])
        emotion = self.emotion_blocks[index] if self.config.emotion else None
        y = inject(y, prepared.voices, index, self.audio_adapter_blocks[index], emotion)
        return torch.cat([image[:, :num_reference], rearrange(y, "b t n d -> b (t n) d")], dim=1)

    def run_single(
        self, x: Float[Tensor, "b ms d"], prepared: Prepared, options: Options = PLAIN
    ) -> Float[Tensor, "b ms d"]:
        """Run all single blocks but the last."""
        for index, block in enumerate(self.single_blocks[:-1]):
            x = block(x, prepared.modulations.single[index], prepared.rope, prepared.layout, options)
        return x

    def head(
        self, features: Float[Tensor, "b ms d"], prepared: Prepared, options: Options = PLAIN
    ) -> Float[Tensor, "b c t h w"]:
        """Run the last single block and project the latents' tokens to a velocity."""
        modulations = prepared.modulations
        x = self.single_blocks[-1](features, modulations.single[-1], prepared.rope, prepared.layout, options)
        return self.project(x, prepared)

    def project(self, x: Float[Tensor, "b ms d"], prepared: Prepared) -> Float[Tensor, "b c t h w"]:
        """Drop reference and text, and turn each token into its patch of velocity."""
        num_image = prepared.layout.num_image
        num_reference = num_image // (prepared.grid[0] + 1)
        out: Tensor = self.final_layer(x[:, num_reference:num_image], prepared.modulations.final, prepared.grid)
        return out

    def grid_of(self, x: Float[Tensor, "b c t h w"], conditions: Sequence[Conditions]) -> tuple[int, int, int]:
        """Return (latents, token rows, token columns); check that the conditions fit them."""
        num_latents, height, width = x.shape[2:]
        patch = self.config.patch
        if len(conditions) != len(x) or height % patch or width % patch:
            raise ValueError(
                f"{len(conditions)} conditions for latents {tuple(x.shape)}: one each, whole patches of {patch}"
            )
        for item in conditions:
            if item.reference.shape[1] not in (1, num_latents) or item.reference.shape[2:] != x.shape[3:]:
                raise ValueError(f"reference {tuple(item.reference.shape)} does not fit the window {tuple(x.shape)}")
            for voice in item.voices:
                if len(voice.audio) != 4 * num_latents - 3:
                    raise ValueError(f"{len(voice.audio)} audio frames for {num_latents} latents: 4 t - 3 are needed")
                if len(voice.mask) not in (1, num_latents) or voice.mask.shape[1:] != x.shape[3:]:
                    raise ValueError(f"mask {tuple(voice.mask.shape)} does not fit the window {tuple(x.shape)}")
        return num_latents, height // patch, width // patch
