"""How a character moves over a clip: head, blinks, brows and a mouth that follows the sound. f frames."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tasks.puppet.expression import Expression, express

Track = NDArray[np.float64]


@dataclass(frozen=True)
class Mood:
    """An emotion with its strength, from a frame of the clip on."""

    frame: int
    emotion: str
    strength: float = 1.0


@dataclass(frozen=True)
class Acting:
    """What one character does in a clip. `mouth` (f, 2): openness 0..1 and width -1..1, as `voices.mouth_track` gives.

    `head` and `expression` are the motion knobs 0..1, 0.5 being ordinary.
    """

    mouth: Track
    moods: tuple[Mood, ...] = (Mood(0, "neutral"),)
    head: float = 0.5
    expression: float = 0.5


def _sway(rng: Generator, seconds: Track, amplitude: float) -> Track:
    """Return a slow smooth wander around 0: (f,)."""
    track = np.zeros_like(seconds)
    for low, high, share in ((0.12, 0.3, 0.75), (0.35, 0.65, 0.4)):
        track += share * np.sin(2 * np.pi * rng.uniform(low, high) * seconds + rng.uniform(0, 2 * np.pi))
    return amplitude * track


def _blinks(rng: Generator, seconds: Track) -> Track:
    """Return how far the lids are open: 1, with a dip of about 0.2 s every few seconds: (f,)."""
    opened = np.ones_like(seconds)
    moment = float(rng.uniform(0.0, 3.5))
    while moment < seconds[-1] + 0.2:
        opened = np.minimum(opened, np.clip(np.abs(seconds - moment) / 0.09 - 0.25, 0, 1))
        moment += 1.4 + float(rng.exponential(2.2))
    return opened


def _glances(rng: Generator, seconds: Track) -> tuple[Track, Track]:
    """Return where the eyes look; they rest on the viewer and wander now and then: (f,), (f,)."""
    looks = np.zeros((2, len(seconds)))
    moment = float(rng.uniform(0.0, 5.0))
    while moment < seconds[-1]:
        length = float(rng.uniform(0.5, 1.2))
        rise = np.clip((seconds - moment) / 0.1, 0, 1) * np.clip((moment + length - seconds) / 0.1, 0, 1)
        looks += rng.uniform([[-1.0], [-0.6]], [[1.0], [0.6]]) * rise
        moment += length + 2.0 + float(rng.exponential(3.0))
    return looks[0], looks[1]


def smooth_track(track: Track, frames: float) -> Track:
    """Return a track smoothed over about `frames` frames: (f,)."""
    reach = max(1, round(2 * frames))
    kernel = np.hanning(2 * reach + 1)
    return np.convolve(np.pad(track, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _mood_at(moods: tuple[Mood, ...], gain: float, frame: int, fps: float) -> Expression:
    """Return the expression at a frame; a new mood takes 0.3 s to arrive."""
    face = express(moods[0].emotion, moods[0].strength * gain)
    for mood in moods[1:]:
        share = float(np.clip((frame - mood.frame) / (0.3 * fps) + 0.5, 0, 1))
        share = share * share * (3 - 2 * share)
        target = express(mood.emotion, mood.strength * gain)
        blend = {
            item.name: (1 - share) * getattr(face, item.name) + share * getattr(target, item.name)
            for item in fields(Expression)
        }
        face = Expression(**blend)
    return face


def act(seed: int, acting: Acting, fps: float) -> tuple[Expression, ...]:
    """Return the expression of every frame; deterministic from the seed. The mouth follows the sound alone."""
    rng = np.random.default_rng([seed, 11])
    count = len(acting.mouth)
    seconds = np.arange(count) / fps
    lively = 2 * acting.head
    yaw, pitch = _sway(rng, seconds, 0.11 * lively), _sway(rng, seconds, 0.07 * lively)
    roll, bob = _sway(rng, seconds, 0.006 * lively), _sway(rng, seconds, 0.005 * lively)
    lids, (gaze_x, gaze_y) = _blinks(rng, seconds), _glances(rng, seconds)
    opened, width = acting.mouth[:, 0], acting.mouth[:, 1]
    stress = smooth_track(opened, 0.12 * fps)
    gain = 0.6 + 0.8 * acting.expression
    faces = []
    for f in range(count):
        calm = _mood_at(acting.moods, gain, f, fps)
        held = 0.55 * calm.mouth_open
        faces.append(
            replace(
                calm,
                yaw=float(yaw[f]),
                pitch=float(calm.pitch + pitch[f] + 0.12 * lively * stress[f]),
                roll=float(roll[f]),
                bob=float(bob[f] - 0.01 * lively * stress[f]),
                eye_open=float(calm.eye_open * lids[f]),
                gaze_x=float(0.45 * gaze_x[f]),
                gaze_y=float(calm.gaze_y + 0.35 * gaze_y[f]),
                brow_raise=float(calm.brow_raise + 0.9 * acting.expression * stress[f]),
                mouth_open=float(held + (1 - held) * opened[f]),
                mouth_width=float(np.clip(0.5 * calm.mouth_width + width[f] * min(1.0, 2 * opened[f]), -1.2, 1.2)),
            )
        )
    return tuple(faces)
