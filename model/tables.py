"""What a shot's steps have in common, computed once: modulations, refined text, plate, voices' keys, rope.

Exact: the same functions of the same values (MODEL 6). Modulations, text and plate are evaluated in the shapes of the
plain path, so to its bits; the voices' keys are one product over all frames of the shot instead of one per window,
so equal up to the order of sums.

t latents of a window, f audio frames of the shot, k keys, kv keys and values side by side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.attention import joint_layout
from model.blocks import PLAIN, Options
from model.conditions import Conditions, Voice
from model.guidance import Branch
from model.prepare import Keys, Reference
from model.rope import Rope, rope_table
from model.schedule import Step
from model.shot import ShotConditions, ShotVoice
from model.transformer import Modulations, Prepared, VideoTransformer
from model.voices import PreparedVoice, keep_masked, stack_gains, stack_index
from model.windows import Window, window_audio_frames

TextKey = tuple[bool, int]  # negative prompt?, step
VectorKey = tuple[bool, int, tuple[float, ...]]  # ..., motion


@dataclass(frozen=True, eq=False)
class VoiceTable:
    """Keys and values of one voice for every adapter; the last frame of `audio` is silence (zeros of the features)."""

    audio: Keys  # each (f + 1, tokens of a frame, kv)
    emotion: tuple[Tensor, ...] | None  # each (1, pictures, k, kv)

    def silent(self, num_latents: int) -> Keys:
        """Return the keys of the unconditional branch: a frame's four tokens alone stand for four equal frames."""
        return tuple(tuple(kind[-1:].expand(num_latents, -1, -1)[None] for kind in keys) for keys in self.audio)

    def speaking(self, frames: Int[Tensor, "t 4"]) -> Keys:
        """Return the keys of a window whose latents see these frames."""
        return tuple(
            tuple(rearrange(kind[frames], "t four k kv -> 1 t (four k) kv") for kind in keys) for keys in self.audio
        )


@dataclass(frozen=True, eq=False)
class ShotTables:
    """Everything of one shot that does not depend on the latents. `prepared` is what the blocks read."""

    network: VideoTransformer
    conditions: ShotConditions
    steps: tuple[Step, ...]
    options: Options
    reference: Reference
    voices: tuple[VoiceTable, ...]
    texts: dict[TextKey, tuple[Tensor, int]] = field(default_factory=dict)
    modulations: dict[VectorKey, Modulations] = field(default_factory=dict)
    ropes: dict[tuple[int, int], Rope] = field(default_factory=dict)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Token rows and columns."""
        patch = self.network.config.patch
        return self.conditions.reference.shape[2] // patch, self.conditions.reference.shape[3] // patch

    def prepared(self, window: Window, step: Step, branch: Branch) -> Prepared:
        """Return what the blocks read for one window, step and branch; equal parts are the same objects."""
        told = self.conditions.window(window, step, branch)
        grid = (len(window.latents), *self.token_grid)
        text, num_text = self.text(told, step)
        device = self.reference.tokens.device
        if (grid[0], num_text) not in self.ropes:
            rope = rope_table(*grid, self.network.config, device)
            self.ropes[grid[0], num_text] = rope.with_text(num_text)
        voices = tuple(
            self.voice(table, voice, window, grid, branch)
            for table, voice in zip(self.voices, told.voices, strict=True)
        )
        return Prepared(
            grid=grid,
            modulations=self.modulation(told, step),
            text=text,
            reference=self.plate(grid),
            voices=tuple(keep_masked(voice) for voice in voices) if self.options.masked_adapters else voices,
            rope=self.ropes[grid[0], num_text],
            layout=joint_layout((grid[0] + 1) * grid[1] * grid[2], (num_text,), device),
        )

    def text(self, told: Conditions, step: Step) -> tuple[Float[Tensor, "1 s d"], int]:
        """Return refined text and its number of rows."""
        key = (told.text is not self.conditions.positive.text, step.index)
        if key not in self.texts:
            text, (num_text,) = self.network.prepare_text(self.time(step), [told])
            self.texts[key] = (text, num_text)
        return self.texts[key]

    def modulation(self, told: Conditions, step: Step) -> Modulations:
        """Return the modulations of a step under one prompt and motion."""
        motion = tuple(float(value) for knob in (told.motion_exp, told.motion_pose) for value in knob.tolist())
        key = (told.pooled is not self.conditions.positive.pooled, step.index, motion)
        if key not in self.modulations:
            self.modulations[key] = self.network.modulations(self.network.vector(self.time(step), [told]))
        return self.modulations[key]

    def time(self, step: Step) -> Float[Tensor, "1"]:
        """Return the step's timestep as the network takes it."""
        return torch.tensor([step.t], device=self.reference.tokens.device)

    def plate(self, grid: tuple[int, int, int]) -> Reference:
        """Return the plate's tokens; a plate sampled per position is cut to the window's length."""
        added = self.reference.added
        if added is None or added.shape[1] == grid[1] * grid[2]:
            return self.reference
        return replace(self.reference, added=added[:, : grid[0] * grid[1] * grid[2]])

    def voice(
        self, table: VoiceTable, told: Voice, window: Window, grid: tuple[int, int, int], branch: Branch
    ) -> PreparedVoice:
        """Return one voice in one window."""
        device = self.reference.tokens.device
        if branch == "uncond":
            keys = table.silent(grid[0])
        else:
            keys = table.speaking(latent_frames(window, self.conditions, len(table.audio[0][0]) - 1).to(device))
        voice = PreparedVoice(stack_gains([(told, told.strength)], grid, device), keys)
        if told.emotion is None or table.emotion is None:
            return voice
        gain = stack_gains([(told, told.emotion_strength)], grid, device)
        return voice.with_emotion(gain, stack_index([told], grid[0], device), table.emotion)


def latent_frames(window: Window, conditions: ShotConditions, num_frames: int) -> Int[Tensor, "t 4"]:
    """Return the four audio frames of each latent of a window; `num_frames` stands for silence after the track."""
    frames = torch.tensor(window_audio_frames(window, conditions.shot)).clamp(max=num_frames)
    latents: Tensor = rearrange(torch.cat([frames[:1].repeat(3), frames]), "(t four) -> t four", four=4)
    return latents


def voice_table(network: VideoTransformer, voice: ShotVoice) -> VoiceTable:
    """Project a voice's whole track and emotion pictures and make their keys for every adapter."""
    silence = torch.zeros_like(voice.audio[:1])
    tokens = network.audio_tokens(torch.cat([voice.audio, silence]))
    emotion = None
    if voice.emotion is not None:
        emotion = tuple(keys[0] for keys in network.batched_emotion_keys(voice.emotion[None, None]))
    return VoiceTable(network.audio_keys(tokens), emotion)


@torch.no_grad()
def build_tables(
    network: VideoTransformer, conditions: ShotConditions, steps: Iterable[Step], options: Options = PLAIN
) -> ShotTables:
    """Compute a shot's tables: one evaluation per step and prompt of text refiner and modulation weights."""
    steps = tuple(steps)
    told = [conditions.window(Window(0, (latent,)), steps[0], "cond") for latent in motion_latents(conditions)]
    plate = replace(told[0], reference=conditions.reference)
    tables = ShotTables(
        network=network,
        conditions=conditions,
        steps=steps,
        options=options,
        reference=network.prepare_reference([plate]),
        voices=tuple(voice_table(network, voice) for voice in conditions.voices),
    )
    for step in steps:
        for latent in motion_latents(conditions):
            for branch in prompts_of(step):
                item = conditions.window(Window(0, (latent,)), step, branch)
                tables.text(item, step)
                tables.modulation(item, step)
    return tables


def prompts_of(step: Step) -> Sequence[Branch]:
    """Return branches that between them read every prompt of a step."""
    return ("uncond", "cond") if step.negative and step.guidance != 1 else ("cond",)


def motion_latents(conditions: ShotConditions) -> list[int]:
    """Return latents that between them show every value of the motion knobs."""
    return list(range(max(len(conditions.motion_exp), len(conditions.motion_pose))))


def drop_tabled_weights_(network: VideoTransformer) -> int:
    """Free the weights that complete tables stand in for; return how many bytes that was.

    After it the network only runs from tables. Modulation weights and text refiner: 29 % of the released network.
    """
    tabled: list[nn.Module] = [network.txt_in, network.time_in, network.vector_in, network.fps_proj]
    tabled += [network.motion_exp, network.motion_pose, network.final_layer.adaLN_modulation]
    tabled += [part for block in network.double_blocks for part in (block.img_mod, block.txt_mod)]
    tabled += [block.modulation for block in network.single_blocks]
    freed = sum(p.numel() * p.element_size() for module in tabled for p in module.parameters())
    for module in tabled:
        module.to("meta")
    return freed
