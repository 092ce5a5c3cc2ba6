"""Examples for the network: drawn clips with the voices, masks and pictures that explain them.

k characters, f frames, r rows, l layers, d audio width, t latents, h w latent sides, c channels.
An example is drawn and listened to once (pixels), then encoded by a trained autoencoder (latents).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from model.audio import build_encoder, encode_track
from model.config import PUPPET
from model.facemask import Face, latent_masks
from model.vae import encode_clip, encode_image, to_unit
from tasks.plan.types import FaceBox
from tasks.puppet.expression import EMOTIONS
from tasks.puppet.motion import Acting, Mood
from tasks.puppet.voices import RATE, augment, mouth_track, normalise_level, speak
from tasks.puppet.world import (
    DYES,
    LIGHTS,
    SIZE,
    ClipSpec,
    draw_clip,
    draw_plate,
    draw_portrait,
    hash_seed,
    prompt_of,
    roomy_size,
)

FRAMES = 37  # 10 latents
EMOTION_SIDE = 64  # pixels of an emotion picture
AUDIO_SEED = 1
_SESSION_SECONDS = 16.0
_HELD_FOR_TESTS = 1 << 40  # seeds from here on are never trained on
Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Session:
    """A voice that babbles with pauses: clean samples for the mouth, recorded ones for the ear."""

    clean: NDArray[np.float64]
    heard: NDArray[np.float64]
    kept: dict[float, Tensor]  # audio windows of the whole track per fps

    def windows(self, encoder: Any, fps: float) -> Tensor:
        """Return the audio windows of every frame: (f, r, l, d) in half precision, made once."""
        if fps not in self.kept:
            heard = torch.from_numpy(self.heard.astype(np.float32))
            self.kept[fps] = encode_track(heard, encoder, fps, int(_SESSION_SECONDS * fps)).half()
        return self.kept[fps]


def draw_session(seed: int) -> Session:
    """Return one synthetic speaker's track, level-normalised, and how a microphone hears it."""
    clean = normalise_level(speak(seed, _SESSION_SECONDS)).astype(np.float64)
    return Session(clean, augment(clean, np.random.default_rng([seed, 41])), {})


def draw_silence(seed: int) -> Session:
    """Return a silent track: digital silence, or a quiet room."""
    rng = np.random.default_rng([seed, 42])
    nothing = np.zeros(int(_SESSION_SECONDS * RATE))
    return Session(nothing, nothing if rng.random() < 0.6 else augment(nothing, rng), {})


def box_pixels(box: FaceBox, size: tuple[int, int] = SIZE) -> tuple[float, float, float, float]:
    """Return (x, y, width, height) of a face in pixels."""
    return box.x * size[0], box.y * size[1], box.w * size[0], box.h * size[1]


def _shaken(rng: Generator, box: FaceBox) -> FaceBox:
    """Return a face box as another detector might have found it."""
    dx, dy, grow = rng.normal(0, 0.04), rng.normal(0, 0.04), float(np.exp(rng.normal(0, 0.07)))
    width, height = box.w * grow, box.h * grow
    x, y = box.x + box.w * (0.5 + dx) - width / 2, box.y + box.h * (0.5 + dy) - height / 2
    return FaceBox(max(x, 0.0), max(y, 0.0), min(width, 1.0), min(height, 1.0))


def _speakers(rng: Generator, count: int) -> list[bool]:
    """Return who speaks: mostly one, sometimes several, sometimes nobody."""
    how_many = int(rng.choice([0, 1, 2, 3], p=[0.1, 0.65, 0.2, 0.05]))
    chosen = rng.permutation(count)[: min(how_many, count)]
    return [k in chosen for k in range(count)]


def _moods(rng: Generator) -> tuple[Mood, ...]:
    def strength() -> float:
        return float(rng.uniform(0.4, 1.4)) if rng.random() < 0.4 else 1.0

    first = Mood(0, EMOTIONS[int(rng.integers(len(EMOTIONS)))], strength())
    if rng.random() > 0.12:
        return (first,)
    return first, Mood(int(rng.integers(8, 30)), EMOTIONS[int(rng.integers(len(EMOTIONS)))], strength())


def draw_example(seed: int, sessions: list[Session], silences: list[Session], encoder: Any) -> dict[str, Any]:
    """Draw example number `seed`: pixels, audio windows, masks and knobs."""
    rng = np.random.default_rng([seed, 51])
    count = int(rng.choice([1, 2, 3], p=[0.2, 0.55, 0.25]))
    fps = float(rng.choice([25.0, 12.5, 24.0, 30.0], p=[0.88, 0.06, 0.03, 0.03]))
    knobs = rng.uniform(0, 1, 2) if rng.random() < 0.5 else np.full(2, 0.5)
    plate_seed = hash_seed(seed, 52) % _HELD_FOR_TESTS
    acting: list[Acting] = []
    voices: list[dict[str, Any]] = []
    for speaks in _speakers(rng, count):
        session = (sessions if speaks else silences)[int(rng.integers(len(sessions if speaks else silences)))]
        start = int(rng.integers(0, int(_SESSION_SECONDS * fps) - FRAMES - 8))
        strength = float(rng.uniform(0.3, 1.6)) if rng.random() < 0.15 else 1.0
        mouth = mouth_track(session.clean, fps, FRAMES, start)
        mouth[:, 0] = np.clip(mouth[:, 0] * strength, 0, 1.1)
        acting.append(Acting(mouth, _moods(rng), float(knobs[0]), float(knobs[1])))
        windows = session.windows(encoder, fps)[start : start + FRAMES]
        pictures = [
            draw_portrait(hash_seed(seed, 53, len(voices)) % _HELD_FOR_TESTS, i, mood.emotion, size=EMOTION_SIDE)
            for i, mood in enumerate(acting[-1].moods)
        ]
        voices.append(
            {"windows": windows.clone(), "strength": strength, "pictures": torch.from_numpy(np.stack(pictures))}
        )
    light = str(rng.choice(list(LIGHTS))) if rng.random() < 0.12 else ""
    dye = str(rng.choice(list(DYES))) if rng.random() < 0.1 else ""
    size = roomy_size(count) if rng.random() < 0.7 else SIZE
    spec = ClipSpec(plate_seed, tuple(acting), fps, light, dye, size)
    plate, boxes = draw_plate(plate_seed, count, size)
    for voice, who in zip(voices, acting, strict=True):
        voice["moods"] = [(mood.frame, mood.strength) for mood in who.moods]
    return {
        "clip": torch.from_numpy(draw_clip(spec, seed)), "plate": torch.from_numpy(plate), "prompt": prompt_of(spec),
        "fps": fps, "head": float(knobs[0]), "expression": float(knobs[1]), "voices": voices,
        "boxes": torch.tensor([box_pixels(box, size) for box in boxes]),
        "masks": latent_masks([Face(box_pixels(_shaken(rng, box), size)) for box in boxes], *size),
    }  # fmt: skip


def encode_example(example: dict[str, Any], vae: Any) -> dict[str, Any]:
    """Return an example with latents in place of pixels: clip (c, t, h, w), plate (c, h, w), pictures (e, c, h, w)."""

    def still(picture: Tensor) -> Tensor:
        return encode_image(vae, to_unit(picture.permute(2, 0, 1)))[:, 0]

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        clip = encode_clip(vae, to_unit(example["clip"].permute(3, 0, 1, 2)))
        voices = [
            {**voice, "pictures": torch.stack([still(picture) for picture in voice["pictures"]]).half()}
            for voice in example["voices"]
        ]
        return {**example, "clip": clip.half(), "plate": still(example["plate"]).half(), "voices": voices}


def draw_shards(folder: Path, first: int, last: int, step: int = 1, shard: int = 16) -> None:
    """Draw shards [first, last) of 16 examples each into `folder`; those already there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = build_encoder(PUPPET.audio, AUDIO_SEED)
    silences = [draw_silence(i) for i in range(6)]
    for index in range(first, last, step):
        file = folder / f"pixels-{index:04d}.pt"
        if file.exists():
            continue
        sessions = [draw_session(4 * index + i) for i in range(4)]
        part = file.with_suffix(".part")
        torch.save([draw_example(shard * index + i, sessions, silences, encoder) for i in range(shard)], part)
        part.replace(file)


def encode_shards(folder: Path, vae: Any) -> int:
    """Encode every drawn shard that is not encoded yet; return how many there are."""
    for file in sorted(folder.glob("pixels-*.pt")):
        target = folder / file.name.replace("pixels", "latents")
        if not target.exists():
            examples = [encode_example(example, vae) for example in torch.load(file, weights_only=False)]
            torch.save(examples, target.with_suffix(".part"))
            target.with_suffix(".part").replace(target)
    return len(list(folder.glob("latents-*.pt")))


def latent_statistics(examples: list[dict[str, Any]], vae: Any) -> tuple[Tensor, Tensor]:
    """Return mean and scale of every latent channel: (c,) each.

    Scaled so, a channel's spread follows how much of the picture it carries. With even spreads most of the loss went
    into fine detail that nothing predicts, and lips stayed shut.
    """
    values = torch.cat([example["clip"].float().flatten(1) for example in examples], dim=1)
    mean, std = values.mean(dim=1), values.std(dim=1)
    clips, narrow = [example["clip"] for example in examples[:6]], SIZE[0] // 8  # pictures may differ in width
    weight = picture_share(vae, torch.stack([clip[:, 3:6, :, :narrow].float() for clip in clips]), std)
    return mean, std / weight


@torch.no_grad()
def picture_share(vae: Any, z: Tensor, std: Tensor) -> Tensor:
    """Return how much a channel's usual deviation moves the pixels, as root mean square 1: (c,)."""
    whole, energy = vae.decoder(z), []
    for channel in range(z.shape[1]):
        shaken = z.clone()
        shaken[:, channel] += 0.3 * std[channel] * torch.randn(z[:, channel].shape)
        energy.append(((vae.decoder(shaken) - whole) ** 2).mean())
    share = torch.stack(energy).sqrt()
    share = (share / share.square().mean().sqrt()).clamp(0.3, 1.8)
    return share / share.square().mean().sqrt()


def scaled(example: dict[str, Any], mean: Tensor, std: Tensor) -> dict[str, Any]:
    """Return an encoded example normalised per channel."""

    def shift(z: Tensor, axis: int) -> Tensor:
        shape = [1] * z.dim()
        shape[axis] = -1
        return ((z.float() - mean.view(shape)) / std.view(shape)).half()

    voices = [{**voice, "pictures": shift(voice["pictures"], 1)} for voice in example["voices"]]
    return {**example, "clip": shift(example["clip"], 0), "plate": shift(example["plate"], 0), "voices": voices}
