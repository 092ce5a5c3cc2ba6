"""Measures of a talking film as pure functions: who speaks when, who is who, what seams and flicker there are.

Frames are RGB bytes (f, h, w, 3), signals one value a frame (f,), boxes normalised faces of the plate. The same
functions serve the ablations and the checks on every rendered segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.plan.types import FaceBox

Image = NDArray[np.uint8]
Signal = NDArray[np.float64]
SIDE = 32  # pixels of a face crop
_REACH = 0.16  # a face may wander this share of its box between plate and frame


@dataclass(frozen=True)
class Probe:
    """A linear map from what changed in a face against its plate to openness, width and emotion scores.

    Fitted on drawings alone: `weights` (n, 2 + emotions), n = 2·SIDE²·3 + 1.
    """

    weights: NDArray[np.float32]
    emotions: tuple[str, ...]


def _pixels(box: FaceBox, shape: tuple[int, ...], margin: float = 0.0) -> tuple[int, int, int, int]:
    height, width = shape[0], shape[1]
    x0, y0 = (box.x - margin * box.w) * width, (box.y - margin * box.h) * height
    x1, y1 = (box.x + (1 + margin) * box.w) * width, (box.y + (1 + margin) * box.h) * height
    return max(0, round(x0)), max(0, round(y0)), min(width, round(x1)), min(height, round(y1))


def face_crop(frame: Image, plate: Image, box: FaceBox) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a face in a frame, found near its place by eyes and brow, and in the plate: (SIDE, SIDE, 3), 0..1."""
    x0, y0, x1, y1 = _pixels(box, plate.shape)
    upper = plate[y0 : y0 + max(4, (y1 - y0) * 6 // 10), x0:x1]
    reach_x, reach_y = max(1, round(_REACH * (x1 - x0))), max(1, round(_REACH * (y1 - y0)))
    left, top = max(0, x0 - reach_x), max(0, y0 - reach_y)
    room = frame[top : y0 + len(upper) + reach_y, left : x1 + reach_x]
    score = cv2.matchTemplate(room, upper, cv2.TM_SQDIFF)
    _, _, place, _ = cv2.minMaxLoc(score)
    dx, dy = left + place[0] - x0, top + place[1] - y0
    shift = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    moved = cv2.warpAffine(frame, shift, (frame.shape[1], frame.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    crops = [cv2.resize(image[y0:y1, x0:x1], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in (moved, plate)]
    return crops[0].astype(np.float32) / 255, crops[1].astype(np.float32) / 255


def probe_features(frame: Image, plate: Image, box: FaceBox) -> NDArray[np.float32]:
    """Return what a probe sees of one face in one frame: signed and absolute change, and 1: (n,)."""
    now, rest = face_crop(frame, plate, box)
    change = (now - rest).ravel()
    return np.concatenate([change, np.abs(change), np.ones(1, np.float32)]).astype(np.float32)


def fit_probe(features: NDArray[np.float32], targets: Signal, emotions: tuple[str, ...], ridge: float = 30.0) -> Probe:
    """Fit a probe by ridge regression: features (s, n), targets (s, 2 + emotions)."""
    gram = features @ features.T  # fewer samples than features: solve on the samples' side
    dual = np.linalg.solve(gram + ridge * np.eye(len(gram), dtype=np.float32), targets.astype(np.float32))
    return Probe(np.asarray(features.T @ dual, np.float32), emotions)


def probe_face(frames: Image, plate: Image, box: FaceBox, probe: Probe) -> Signal:
    """Return a probe's reading of one face in every frame: (f, 2 + emotions)."""
    return np.stack([probe_features(frame, plate, box) @ probe.weights for frame in frames]).astype(np.float64)


def mouth_signal(frames: Image, plate: Image, box: FaceBox, probe: Probe) -> Signal:
    """Return how open the mouth of one face is in every frame: about 0 shut, 1 wide open."""
    return probe_face(frames, plate, box, probe)[:, 0]


def emotion_of(frames: Image, plate: Image, box: FaceBox, probe: Probe) -> str:
    """Return the emotion that a face shows over a take, by its mean score."""
    scores = probe_face(frames, plate, box, probe)[:, 2:].mean(axis=0)
    return probe.emotions[int(scores.argmax())]


def activity(signal: Signal) -> float:
    """Return how much a mouth moves: the standard deviation of its openness."""
    return float(signal.std())


def correlation(first: Signal, second: Signal) -> float:
    """Return Pearson's correlation; 0 where one of the two does not move."""
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 1e-9 else 0.0


@dataclass(frozen=True)
class LipSync:
    """Mouth against stem: best correlation, its lag (positive: the mouth is late), and what chance would give."""

    correlation: float
    lag_frames: int
    chance_95: float


def lip_sync(mouth: Signal, envelope: Signal, most_frames: int = 6) -> LipSync:
    """Compare a mouth with its stem's envelope over lags; chance from the envelope turned by random amounts."""

    def at(lag: int, track: Signal) -> float:
        return correlation(
            mouth[max(0, lag) : len(mouth) + min(0, lag)], track[max(0, -lag) : len(track) - max(0, lag)]
        )

    lags = range(-most_frames, most_frames + 1)
    best = max(lags, key=lambda lag: at(lag, envelope))
    turns = np.linspace(0.15, 0.85, 41) * len(envelope)
    null = [max(at(lag, np.roll(envelope, int(turn))) for lag in (-1, 0, 1)) for turn in turns]
    return LipSync(at(best, envelope), best, float(np.quantile(null, 0.95)))


def crosstalk(mouths: Sequence[Signal], envelopes: Sequence[Signal]) -> Signal:
    """Return the correlation of every mouth with every stem: (characters, stems)."""
    return np.array([[correlation(mouth, envelope) for envelope in envelopes] for mouth in mouths])


def identity_error(frames: Image, plate: Image, box: FaceBox) -> float:
    """Return the mean colour error of a face's usual look (median over frames) against a plate, 0..1."""
    x0, y0, x1, y1 = _pixels(box, plate.shape)
    usual = np.median(frames[:, y0:y1, x0:x1], axis=0)
    return float(
        np.abs(cv2.blur(usual, (5, 5)) - cv2.blur(plate[y0:y1, x0:x1].astype(np.float64), (5, 5))).mean() / 255
    )


def steps_between_frames(frames: Image) -> Signal:
    """Return the mean absolute change from each frame to the next, 0..1: (f - 1,)."""
    return np.array([np.abs(b.astype(np.int16) - a).mean() / 255 for a, b in pairwise(frames)])


def seam_ratio(frames: Image, seam_latents: Sequence[int]) -> float:
    """Return how large the change is at window seams against other latent boundaries; 1 means no seam.

    A seam at latent l is the step into its first frame, 4l - 3.
    """
    change = steps_between_frames(frames)
    seams = {4 * latent - 4 for latent in seam_latents if latent > 0}
    boundaries = range(0, len(change), 4)
    at = [change[i] for i in boundaries if i in seams]
    other = [change[i] for i in boundaries if i not in seams and i > 0]
    return float(np.mean(at) / np.mean(other)) if at and other else 1.0


def start_end_jump(frames: Image) -> float:
    """Return the step from the last frame to the first against the median step inside: small means a loop."""
    jump = np.abs(frames[-1].astype(np.int16) - frames[0]).mean() / 255
    return float(jump / (np.median(steps_between_frames(frames)) + 1e-6))


def outside(shape: tuple[int, ...], boxes: Sequence[FaceBox]) -> NDArray[np.bool_]:
    """Return the cells of a picture that belong to no character, hair and shoulders included: (h, w)."""
    free = np.ones(shape[:2], bool)
    for box in boxes:
        x0, y0, x1, _ = _pixels(box, shape, margin=0.5)
        free[y0:, x0:x1] = False
    return free


def flicker(frames: Image, boxes: Sequence[FaceBox]) -> float:
    """Return the mean second difference over time outside the characters, 0..1: shimmer, not slow change."""
    free = outside(frames.shape[1:3], boxes)
    still = frames[:, free].astype(np.float32)
    return (
        float(np.abs(still[2:] - 2 * still[1:-1] + still[:-2]).mean() / 255) if free.any() and len(still) > 2 else 0.0
    )


def save_probe(probe: Probe, file: Any) -> None:
    """Write a probe as npz, weights in half precision."""
    np.savez_compressed(file, weights=probe.weights.astype(np.float16), emotions=np.array(probe.emotions))


def load_probe(file: Any) -> Probe:
    """Read a probe."""
    held = np.load(file)
    return Probe(held["weights"].astype(np.float32), tuple(str(name) for name in held["emotions"]))
