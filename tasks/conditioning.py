"""What the network is told about a shot, as objects in the store, each under the digest of what it was made from."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from model.audio import encode_track
from model.facemask import moving_masks, track_face
from model.shot import Prompt, ShotConditions, ShotVoice
from model.vae import encode_image, to_unit
from model.windows import num_audio_frames, num_latents_for_frames, shot_latents
from tasks.plan.keys import digest
from tasks.plan.types import CharacterPlan, Plan, ShotPlan
from tasks.puppet.level import normalise_level
from tasks.store.types import Store, content_key

if TYPE_CHECKING:
    from tasks.network import Bundle

Tensors = dict[str, Tensor]
T = TypeVar("T")
SOFT_EDGE_SECONDS = 0.08  # a voice fades in and out around its turns, so that a gate is never heard as a plosive
EMOTION_LATENTS = 32  # side of an emotion picture's latents at most: 256 px, enough for a face


@dataclass(frozen=True)
class Conditioner:
    """Makes and keeps the conditions of a plan's shots. `made` counts the objects that had to be computed."""

    plan: Plan
    store: Store
    bundle: "Bundle"

    def conditions(self, shot: ShotPlan) -> ShotConditions:
        """Return everything the network is told about a shot, from the store where it is there already."""
        positive = self._text(self.bundle.prompt_prefix + shot.prompt, shot)
        negative = self._text(self.bundle.negative_prompt, shot)
        plate = self._object("plate", [shot.plate_sha256, *self._size], lambda: self._plate(shot.plate_sha256))
        masks = self._object("mask", self._mask_facts(shot), lambda: self._masks(shot)).get("masks", torch.zeros(0))
        num_latents = num_latents_for_frames(shot.num_frames)
        keys = [(key[0], key[1:]) for key in shot.motion_keys]
        motion = torch.tensor([_held(keys, latent) for latent in range(num_latents)])
        return ShotConditions(
            shot=shot_latents(shot.num_frames, self.bundle.fusion(self.plan)),
            positive=self._prompt(positive),
            negative=self._prompt(negative),
            reference=self._there(plate["latents"]),
            voices=tuple(self._voice(shot, who, masks[i]) for i, who in enumerate(shot.characters)),
            motion_exp=self._there((motion[:, 1:] * 60).expand(-1, 4)),  # 0.5 is the released 30
            motion_pose=self._there((motion[:, :1] * 50).expand(-1, 4)),  # 0.5 is the released 25
            fps=self.plan.fps,
        )

    @property
    def _size(self) -> tuple[int, int]:
        return self.plan.width, self.plan.height

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.bundle.device, torch.float32 if tensor.is_floating_point() else tensor.dtype)

    def _object(self, kind: str, facts: Sequence[object], make: Callable[[], Tensors]) -> Tensors:
        key = f"conditions/{kind}/{digest([kind, self.bundle.digest, self.plan.profile, *facts])}"
        if not self.store.exists(key):
            self.store.put_once(key, save({name: t.cpu().contiguous() for name, t in make().items()}))
        tensors: Tensors = load(self.store.get(key))
        return tensors

    def _prompt(self, tensors: Tensors) -> Prompt:
        return Prompt(self._there(tensors["states"]), self._there(tensors["mask"]), self._there(tensors["pooled"]))

    def _text(self, prompt: str, shot: ShotPlan) -> Tensors:
        return self._object("text", [prompt, shot.plate_sha256], lambda: self._read(prompt, shot))

    def _read(self, prompt: str, shot: ShotPlan) -> Tensors:
        states, mask, pooled = self.bundle.encode_text(prompt, self._picture(shot.plate_sha256, self._size))
        return {"states": states, "mask": mask, "pooled": pooled}

    def _picture(self, sha256: str, size: tuple[int, int]) -> Image.Image:
        data = self.store.get(content_key(sha256))
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        return picture.resize(size, Image.Resampling.LANCZOS) if picture.size != size else picture

    def _plate(self, sha256: str) -> Tensors:
        return {"latents": self._latents(self._picture(sha256, self._size))}

    def _latents(self, picture: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(self.bundle.device)
        with torch.no_grad():
            return encode_image(self.bundle.vae, to_unit(pixels)).float()

    def _mask_facts(self, shot: ShotPlan) -> list[object]:
        return [[who.face_keys, who.margin] for who in shot.characters] + [shot.num_latents, *self._size]

    def _masks(self, shot: ShotPlan) -> Tensors:
        width, height = self._size
        moving = any(len(who.face_keys) > 1 for who in shot.characters)
        tracks = [
            track_face(
                [
                    (frame, (box.x * width, box.y * height, box.w * width, box.h * height))
                    for frame, box in who.face_keys
                ],
                shot.num_latents if moving else 1,
                1 + 2 * who.margin,
            )
            for who in shot.characters
        ]
        return {"masks": moving_masks(tracks, width, height)} if tracks else {}

    def _voice(self, shot: ShotPlan, who: CharacterPlan, mask: Tensor) -> ShotVoice:
        turns = [
            (t.start_seconds - shot.start_frame / self.plan.fps, t.end_seconds - shot.start_frame / self.plan.fps)
            for t in shot.turns
            if t.character == who.character
        ]
        fusion = self.bundle.fusion(self.plan)
        num_frames = num_audio_frames(shot_latents(shot.num_frames, fusion), fusion)  # past the end: encoded silence
        facts = [who.stem_sha256, [(round(a, 4), round(b, 4)) for a, b in turns], self.plan.fps, num_frames]
        audio = self._object("voice", facts, lambda: self._listen(who.stem_sha256, turns, num_frames))["windows"]
        pictures = sorted({sha for _, sha, _ in who.emotion_keys if sha})
        latents = range(shot.num_latents)
        feelings = [(frame, (sha, strength)) for frame, sha, strength in who.emotion_keys]
        held = [_held(feelings, latent, ("", 0.0)) for latent in latents]
        emotion = [self._object("emotion", [sha], partial(self._emotion, sha))["latents"] for sha in pictures]
        return ShotVoice(
            audio=self._there(audio),
            mask=self._there(mask),
            strength=self._there(torch.tensor([_held(who.voice_keys, latent) for latent in latents])),
            emotion=self._there(torch.stack(emotion)) if emotion else None,
            emotion_index=self._there(torch.tensor([pictures.index(sha) if sha else 0 for sha, _ in held]))
            if emotion
            else None,
            emotion_strength=self._there(torch.tensor([strength for _, strength in held])) if emotion else None,
        )

    def _listen(self, stem_sha256: str, turns: Sequence[tuple[float, float]], num_frames: int) -> Tensors:
        data = self.store.get(content_key(stem_sha256))
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768
        spoken = samples * gate(turns, len(samples))
        if self.plan.profile == "puppet":  # trained on speech of one level; the release takes stems as they are
            spoken = normalise_level(spoken).astype(np.float32)
        windows = encode_track(spoken, self.bundle.encoder, self.plan.fps, num_frames)
        return {"windows": windows.half()}

    def _emotion(self, sha256: str) -> Tensors:
        side = 8 * min(EMOTION_LATENTS, self.bundle.emotion_latents)
        return {"latents": self._latents(self._picture(sha256, (side, side)))[:, 0]}


def gate(turns: Sequence[tuple[float, float]], num_samples: int, rate: int = 16_000) -> np.ndarray:
    """Return 1 inside a voice's turns and 0 outside, with soft edges; what bleeds in from others is encoded silence.

    Without any turn the voice is silent: an empty list is a statement, not a lack of one.
    """
    seconds = np.arange(num_samples) / rate
    level = np.zeros(num_samples, np.float32)
    for start, end in turns:
        ramp = 1 - np.maximum(start - seconds, seconds - end) / SOFT_EDGE_SECONDS
        np.maximum(level, np.clip(ramp, 0, 1), out=level)
    return level


def _held(keys: Sequence[tuple[int, T]], latent: int, before: T | None = None) -> T:
    """Return a keyed value at a latent: the newest key at or before the latent's first frame."""
    frame = 0 if latent == 0 else 4 * latent - 3
    held = before
    for start, value in keys:
        if start <= frame:
            held = value
    assert held is not None
    return held
