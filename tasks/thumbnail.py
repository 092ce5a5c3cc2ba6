"""One frame of a segment, decoded as soon as its last step is done: what people look at while a shot still renders."""

import logging
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from model.sampler import Predictions
from model.vae import decode_frames, to_pixels
from tasks.network import Bundle
from tasks.publish import Output
from tasks.sheet import save_thumbnail

log = logging.getLogger(__name__)
WIDTH = 240


def make_thumbnail(predictions: Predictions, bundle: Bundle, folder: Path, name: str) -> tuple[Output, ...]:
    """Return a picture of the segment's middle as something to publish with it; nothing when it cannot be decoded.

    Two latents are decoded, so it costs a few frames; a preview, as the frames before them are not looked at.
    """
    latents = {latent: value for (_, latent), value in sorted(predictions.items())}
    middle = len(latents) // 2
    pair = [latents[index] for index in sorted(latents)[max(0, middle - 1) : middle + 1]]
    path = folder / "thumbnail.jpg"
    try:
        frames = list(decode_frames(bundle.vae, torch.stack(pair, dim=1).float()))
        newest = rearrange(to_pixels(frames[-1][-1]), "c h w -> h w c")
        save_thumbnail(np.ascontiguousarray(newest.cpu().numpy()), path, WIDTH)
    except Exception as exc:  # noqa: BLE001 - what renders must not end because nobody can watch it
        log.warning("no thumbnail", extra={"segment": name, "failure": str(exc)})
        return ()
    return (Output(path, "thumbnail", ".jpg", name),)
