"""A shot's latents to its picture file: decoded tile by tile, checked, encoded once, never whole in memory."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from model.vae import stream_frames
from tasks.checks import ShotChecker, ShotFacts, Speaker, Verdict, is_dead
from tasks.encode import Container, PictureWriter, rgb8
from tasks.fill import Fill
from tasks.latents import ShotReader
from tasks.plan.types import Plan, ShotPlan
from tasks.sheet import ContactSheet

if TYPE_CHECKING:
    from tasks.network import Bundle

FramesDone = Callable[[int, int], None]  # frames done, frames in all


@dataclass(frozen=True)
class DecodedShot:
    """What decoding a shot left in its folder."""

    picture: Path
    sheet: Path
    verdict: Verdict


def decode_shot(
    plan: Plan,
    shot: ShotPlan,
    segments: Sequence[Path],
    bundle: "Bundle",
    folder: Path,
    frames_done: FramesDone = lambda done, total: None,
    fill: Fill | None = None,
    plate: bytes | None = None,
) -> DecodedShot:
    """Decode, check and encode a shot into `folder`; memory does not depend on the shot's length.

    `segments` are the files with its segments' latents; `fill` says what stands in for those that were waived;
    `plate` is the shot's picture as it was given: where it is black, so may the shot be. The verdict is not enforced
    here: ask it.
    Raises: ObjectMissing when a latent is in no segment, MediaError when ffmpeg stops.
    """
    container: Container = "mov" if plan.output.container == "mov" else "mp4"
    picture = folder / f"{shot.id}.{container}"
    facts = shot_facts(plan, shot, dark_plate=plate is not None and is_dark(plate))
    checker = ShotChecker(fill.without(facts) if fill else facts)
    sheet = ContactSheet(shot.num_frames, plan.fps, title=f"{plan.title}: {shot.id}")
    reader = ShotReader(segments, dict.fromkeys(fill.how, fill.still) if fill else None)
    height, width = plan.height // 8, plan.width // 8
    left = shot.num_frames
    with PictureWriter(picture, plan.width, plan.height, plan.fps, container) as writer:
        for decoded in stream_frames(bundle.vae, reader.read, shot.num_latents, height, width):
            frames = decoded[:left].float().cpu().numpy()
            checker.feed(frames)
            pixels = rgb8(np.nan_to_num(frames))
            pixels = fill.show(pixels) if fill else pixels
            sheet.offer(pixels)
            writer.write(pixels)
            left -= len(pixels)
            frames_done(shot.num_frames - left, shot.num_frames)
    sheet.save(folder / f"{shot.id}.jpg")
    return DecodedShot(picture, folder / f"{shot.id}.jpg", checker.verdict())


def is_dark(plate: bytes) -> bool:
    """Say whether a picture file shows nothing itself, by the measure that frames are held to."""
    picture = Image.open(io.BytesIO(plate)).convert("RGB")
    return is_dead(np.asarray(picture, np.float32))


def shot_facts(plan: Plan, shot: ShotPlan, *, dark_plate: bool = False) -> ShotFacts:
    """Return what a shot must be, for its checks."""
    start = shot.start_frame / plan.fps
    speakers = tuple(
        Speaker(
            who.character,
            who.face,
            tuple(
                (round((turn.start_seconds - start) * plan.fps), round((turn.end_seconds - start) * plan.fps))
                for turn in shot.turns
                if turn.character == who.character
            ),
        )
        for who in shot.characters
    )
    return ShotFacts(shot.id, shot.num_frames, plan.width, plan.height, plan.fps, speakers, dark_plate)
