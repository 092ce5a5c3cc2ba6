"""Reading conditions: text, plate, voices and numbers to what the blocks read. The network's base class.

b batch, v voices, c latent channels, t latents, h w latent size, n tokens of one latent, s text rows, f audio frames,
d hidden width, a adapter width, kv = 2 a keys and values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.adapter import AudioAdapter, AudioProjection, AudioProjectionExtended, group_frames
from model.conditions import Conditions
from model.config import NetworkConfig
from model.embed import PatchEmbed, ScalarEmbed, VectorEmbed
from model.emotion import EmotionAdapter
from model.linear import Linear
from model.refiner import TextRefiner
from model.voices import PreparedVoice, stack_audio, stack_gains, stack_index, stack_pictures, voices_in_order

Keys = tuple[tuple[Tensor, ...], ...]  # adapter, then (16 keys,) or (16 keys, 40 extended keys)


@dataclass(frozen=True, eq=False)
class Reference:
    """The plate as the blocks see it: `tokens` stand before the video, `added` is added to the video's (or is None)."""

    tokens: Float[Tensor, "b n d"]
    added: Float[Tensor, "b m d"] | None  # one latent's tokens or all latents'


class ConditionReader(nn.Module):
    """Everything of the network that reads conditions; their results do not depend on the latents."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        hidden, channels, patch = config.hidden, config.latent_channels, config.patch
        self.img_in = PatchEmbed(channels, hidden, patch)
        if config.injection != "token":
            self.ref_in = PatchEmbed(channels, hidden, patch)
        if config.injection == "token_add":
            self.before_proj = Linear(hidden, hidden)
        if config.injection == "token_channel":
            self.channel_in = PatchEmbed(channels, hidden, patch, bias=False)
        self.txt_in = TextRefiner(config)
        self.time_in = ScalarEmbed(hidden)
        self.vector_in = VectorEmbed(config.pooled_width, hidden)
        self.motion_exp = ScalarEmbed(hidden // 4)
        self.motion_pose = ScalarEmbed(hidden // 4)
        self.fps_proj = ScalarEmbed(hidden)
        self.audio_proj = AudioProjection(config)
        adapters = range(config.num_adapters)
        self.audio_adapter_blocks = cast(
            "Sequence[AudioAdapter]", nn.ModuleList(AudioAdapter(config) for _ in adapters)
        )
        if config.audio.extended:
            self.audio_proj_ext = AudioProjectionExtended(config)
        if config.emotion:
            self.emo_in = PatchEmbed(channels, hidden, patch)
            self.emo_fc = Linear(hidden, hidden)
            self.emotion_blocks = cast(
                "Sequence[EmotionAdapter]", nn.ModuleList(EmotionAdapter(config) for _ in adapters)
            )

    @property
    def stream_dtype(self) -> torch.dtype:
        """The dtype of tokens between blocks."""
        return self.img_in.proj.weight.dtype

    def vector(self, t: Float[Tensor, "b"], conditions: Sequence[Conditions]) -> Float[Tensor, "b d"]:
        """Return the sum of timestep, motion, fps and pooled text, which drives every modulation (MODEL 2.4)."""
        exp = torch.stack([item.motion_exp for item in conditions]).to(t.device)
        pose = torch.stack([item.motion_pose for item in conditions]).to(t.device)
        fps = torch.tensor([float(item.fps) for item in conditions], device=t.device)
        vec: Tensor = (
            self.time_in(t) + self.motion_exp(exp.float()).flatten(1) + self.motion_pose(pose.float()).flatten(1)
        )
        vec = vec + self.fps_proj(fps) + self.vector_in(torch.stack([item.pooled for item in conditions]))
        return vec

    def prepare_text(
        self, t: Float[Tensor, "b"], conditions: Sequence[Conditions]
    ) -> tuple[Float[Tensor, "b s d"], tuple[int, ...]]:
        """Refine the text and drop the padding behind the longest item: nothing in the blocks reads it."""
        valid = nn.utils.rnn.pad_sequence([item.text_mask.bool() for item in conditions], batch_first=True)
        text = nn.utils.rnn.pad_sequence([item.text for item in conditions], batch_first=True)
        num_text = tuple(valid.sum(1).tolist())
        return self.refine(text, valid, t)[:, : max(num_text)], num_text

    def refine(
        self, text: Float[Tensor, "b s w"], valid: Bool[Tensor, "b s"], t: Float[Tensor, "b"]
    ) -> Float[Tensor, "b s d"]:
        """Return text tokens of one timestep in the dtype of the stream."""
        out: Tensor = self.txt_in(text, valid, t)
        return out.to(self.stream_dtype)

    def prepare_reference(self, conditions: Sequence[Conditions]) -> Reference:
        """Tokenise the plate; one frame is projected once and added to every latent (Table 3, arXiv:2505.20156)."""
        longest = max(item.reference.shape[1] for item in conditions)
        plate = torch.stack([item.reference.expand(-1, longest, -1, -1) for item in conditions])
        first = plate[:, :, :1]
        if self.config.injection == "token":
            return Reference(self.img_in(first), None)
        if self.config.injection == "token_channel":  # two convolutions summed are one over the joined channels
            return Reference(self.ref_in(first), self.channel_in(plate))
        return Reference(self.img_in(first), self.before_proj(self.ref_in(plate)))

    def audio_tokens(self, audio: Float[Tensor, "*b f r l w"]) -> tuple[Tensor, ...]:
        """Return the tokens of audio frames: four each, and ten each if the config is extended."""
        tokens: Tensor = self.audio_proj(audio)
        return (tokens, self.audio_proj_ext(audio)) if self.config.audio.extended else (tokens,)

    def audio_keys(self, tokens: tuple[Tensor, ...]) -> Keys:
        """Return keys and values of audio tokens for every adapter."""
        return tuple(
            (block.keys(tokens[0]), *(block.keys_extended(more) for more in tokens[1:]))
            for block in self.audio_adapter_blocks
        )

    def emotion_keys(self, pictures: Float[Tensor, "e c h w"]) -> tuple[Float[Tensor, "e k kv"], ...]:
        """Return keys and values of emotion pictures, FC(E) of Eq. 6, for every adapter."""
        tokens = self.emo_fc(self.emo_in(pictures[:, :, None]))
        return tuple(block.keys(tokens) for block in self.emotion_blocks)

    def prepare_voices(self, conditions: Sequence[Conditions], grid: tuple[int, int, int]) -> tuple[PreparedVoice, ...]:
        """Project audio and emotion pictures of all voices and compute their keys and values for every adapter."""
        if not any(item.voices for item in conditions):
            return ()
        audio = stack_audio(conditions)
        batch = len(conditions)
        tokens = self.audio_tokens(audio.flatten(0, 1))
        keys = self.audio_keys(tuple(group_frames(part) for part in tokens))  # each (v b, t, k, kv)
        pictures = stack_pictures(conditions)
        felt = None if pictures is None else self.batched_emotion_keys(pictures)  # each (v, b, e, k, kv)
        voices = []
        for index, row in enumerate(voices_in_order(conditions)):
            mine = slice(index * batch, (index + 1) * batch)
            gain = stack_gains([(v, v.strength) if v else None for v in row], grid, audio.device)
            voice = PreparedVoice(gain, tuple(tuple(kind[mine] for kind in adapter) for adapter in keys))
            if felt is not None:
                marks = [(v, v.emotion_strength) if v and v.emotion is not None else None for v in row]
                voice = voice.with_emotion(
                    stack_gains(marks, grid, audio.device),
                    stack_index(row, grid[0], audio.device),
                    tuple(adapter[index] for adapter in felt),
                )
            voices.append(voice)
        return tuple(voices)

    def batched_emotion_keys(self, pictures: Float[Tensor, "v b e c h w"]) -> tuple[Tensor, ...]:
        """Return (v, b, e, k, kv) for every adapter.

        Raises ValueError when the network has no emotion module.
        """
        if not self.config.emotion:
            raise ValueError(
                f"an emotion picture is given, but {self.config.name} has no emotion module; set emotion=True"
            )
        v, b, e = pictures.shape[:3]
        keys = self.emotion_keys(rearrange(pictures, "v b e c h w -> (v b e) c h w"))
        return tuple(rearrange(adapter, "(v b e) k a -> v b e k a", v=v, b=b, e=e) for adapter in keys)
