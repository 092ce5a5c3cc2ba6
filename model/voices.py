"""The voices of a batch, ready for the adapters, and what they add to the image tokens.

v voices, b batch, t latents, n tokens of one latent, m tokens computed of one latent, f audio frames, k keys,
e pictures, d hidden width, a adapter width, kv = 2 a keys and values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from einops import repeat
from jaxtyping import Float, Int
from torch import Tensor

from model.adapter import AudioAdapter
from model.conditions import Conditions, Voice
from model.emotion import EmotionAdapter

Strength = float | Float[Tensor, "t"] | None


@dataclass(frozen=True, eq=False)
class PreparedVoice:
    """Voice number i of every item: where it acts, and its keys and values for every adapter.

    `audio` has one entry per adapter: (16 keys,) or (16 keys, 40 extended keys). `emotion` is None when no item of
    this voice has a picture. `tokens` restricts the work to tokens with a gain, padded with tokens of gain zero.
    """

    gain: Float[Tensor, "b t n"]
    audio: tuple[tuple[Tensor, ...], ...]  # each (b, t, k, kv)
    emotion_gain: Float[Tensor, "b t n"] | None = None
    emotion_index: Int[Tensor, "b t"] | None = None
    emotion: tuple[Tensor, ...] | None = None  # each (b, e, k, kv)
    tokens: Int[Tensor, "b t m"] | None = None

    def with_emotion(
        self, gain: Float[Tensor, "b t n"], index: Int[Tensor, "b t"], keys: tuple[Tensor, ...]
    ) -> "PreparedVoice":
        """Return the same voice with an emotion."""
        return replace(self, emotion_gain=gain, emotion_index=index, emotion=keys)


def token_gain(
    voice: Voice, strength: Strength, grid: tuple[int, int, int], device: torch.device
) -> Float[Tensor, "t n"]:
    """Return mask x strength at every token: the mask's nearest latent is (p y, p x) for token (y, x), p the patch."""
    num_latents, rows, columns = grid
    mask = voice.mask[:, :: voice.mask.shape[1] // rows, :: voice.mask.shape[2] // columns]
    gain = mask.to(device, torch.float32).flatten(1).expand(num_latents, -1)
    if isinstance(strength, Tensor):
        return gain * strength.to(device, torch.float32)[:, None]
    return gain if strength is None or strength == 1 else gain * strength


def voices_in_order(conditions: Sequence[Conditions]) -> Iterator[list[Voice | None]]:
    """Yield voice 0 of every item, then voice 1, ...; None where an item has fewer."""
    for index in range(max(len(item.voices) for item in conditions)):
        yield [item.voices[index] if index < len(item.voices) else None for item in conditions]


def stack_audio(conditions: Sequence[Conditions]) -> Float[Tensor, "v b f r l w"]:
    """Stack all audio windows; zeros where an item has no such voice."""
    some = next(voice for item in conditions for voice in item.voices).audio
    rows = [
        torch.stack([torch.zeros_like(some) if voice is None else voice.audio for voice in row])
        for row in voices_in_order(conditions)
    ]
    return torch.stack(rows)


def stack_gains(
    row: Sequence[tuple[Voice, Strength] | None], grid: tuple[int, int, int], device: torch.device
) -> Float[Tensor, "b t n"]:
    """Return mask x strength of one voice for every item; zeros where an item has none."""
    silent = torch.zeros(grid[0], grid[1] * grid[2], device=device)
    return torch.stack([silent if entry is None else token_gain(*entry, grid, device) for entry in row])


def stack_pictures(conditions: Sequence[Conditions]) -> Float[Tensor, "v b e c eh ew"] | None:
    """Stack all emotion pictures, zeros where there is none; None when nobody has one.

    Raises ValueError when pictures differ in size.
    """
    shapes = {tuple(v.emotion.shape[1:]) for item in conditions for v in item.voices if v.emotion is not None}
    if not shapes:
        return None
    if len(shapes) > 1:
        raise ValueError(
            f"emotion pictures of one batch have the latent sizes {sorted(shapes)}; bring them to one size"
        )
    pictures = [v.emotion for item in conditions for v in item.voices if v.emotion is not None]
    empty = pictures[0].new_zeros(max(len(p) for p in pictures), *shapes.pop())
    rows = []
    for row in voices_in_order(conditions):
        padded = [
            empty if v is None or v.emotion is None else torch.cat([v.emotion, empty[len(v.emotion) :]]) for v in row
        ]
        rows.append(torch.stack(padded))
    return torch.stack(rows)


def stack_index(row: Sequence[Voice | None], num_latents: int, device: torch.device) -> Int[Tensor, "b t"]:
    """Return which picture every latent of every item follows; the first where nothing is said."""
    none = torch.zeros(num_latents, dtype=torch.long, device=device)
    return torch.stack(
        [none if v is None or v.emotion_index is None else v.emotion_index.to(device, torch.long) for v in row]
    )


def keep_masked(voice: PreparedVoice) -> PreparedVoice:
    """Restrict the work of a voice to the tokens where it has a gain (same result up to the order of sums)."""
    active = voice.gain != 0
    if voice.emotion_gain is not None:
        active = active | (voice.emotion_gain != 0)
    count = int(active.sum(-1).max())
    order = active.to(torch.int8).argsort(dim=-1, descending=True, stable=True)  # active tokens first, in order
    return replace(voice, tokens=order[..., :count])


def inject(
    y: Float[Tensor, "b t n d"],
    voices: Sequence[PreparedVoice],
    index: int,
    audio: AudioAdapter,
    emotion: EmotionAdapter | None,
) -> Float[Tensor, "b t n d"]:
    """Let every voice act on the image tokens: y + sum of gain x adapter(voice, y), then the same for emotions.

    One voice with strength 1 is the released formula to the bit. `index` is the adapter's.
    """
    q = None if all(voice.tokens is not None for voice in voices) else audio.query(y)
    out = y
    for voice in voices:
        if voice.tokens is None:
            assert q is not None
            out = out + (voice.gain[..., None] * audio(q, voice.audio[index])).to(y.dtype)
        else:
            said = audio(audio.query(take(y, voice.tokens)), voice.audio[index])
            out = put(out, voice.tokens, take(voice.gain[..., None], voice.tokens) * said)
    felt = [voice for voice in voices if voice.emotion is not None]
    if emotion is None or not felt:
        return out
    y, q = out, None if all(voice.tokens is not None for voice in felt) else emotion.query(out)
    for voice in felt:
        assert voice.emotion is not None and voice.emotion_index is not None and voice.emotion_gain is not None
        items = torch.arange(len(y), device=y.device)[:, None]
        keys = voice.emotion[index][items, voice.emotion_index]  # (b, t, k, kv)
        gain = voice.emotion_gain[..., None]
        if voice.tokens is None:
            assert q is not None
            out = out + (gain * emotion(q, keys)).to(y.dtype)
        else:
            shown = emotion(emotion.query(take(y, voice.tokens)), keys)
            out = put(out, voice.tokens, take(gain, voice.tokens) * shown)
    return out


def take(x: Float[Tensor, "b t n d"], tokens: Int[Tensor, "b t m"]) -> Float[Tensor, "b t m d"]:
    """Pick tokens of each latent."""
    return x.gather(2, repeat(tokens, "b t m -> b t m d", d=x.shape[-1]))


def put(
    x: Float[Tensor, "b t n d"], tokens: Int[Tensor, "b t m"], y: Float[Tensor, "b t m d"]
) -> Float[Tensor, "b t n d"]:
    """Add to tokens of each latent."""
    return x.scatter_add(2, repeat(tokens, "b t m -> b t m d", d=x.shape[-1]), y.to(x.dtype))
