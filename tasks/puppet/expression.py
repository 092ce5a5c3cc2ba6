"""What a face does at one moment: emotions with strength, the mouth, blinks, brows and head as plain numbers."""

from dataclasses import dataclass, replace

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised")


@dataclass(frozen=True)
class Expression:
    """0 everywhere is a calm face with its mouth shut."""

    brow_raise: float = 0.0  # 1: high up
    brow_tilt: float = 0.0  # 1: inner ends up (worry), -1: inner ends down (anger)
    eye_open: float = 1.0  # 0 shut, 1 calm, 1.3 staring
    lid_slant: float = 0.0  # 1: outer corners hang, -1: inner corners pressed down
    squint: float = 0.0  # lower lids pushed up by the cheeks
    pupil: float = 1.0
    smile: float = 0.0  # 1: corners up, -1: corners down
    mouth_open: float = 0.0  # 0..1
    mouth_width: float = 0.0  # -1 rounded as in "oo", 1 wide as in "ee"
    blush: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0  # radians
    bob: float = 0.0  # head units, down
    tear: float = 0.0


_SHAPES: dict[str, dict[str, float]] = {
    "neutral": {},
    "happy": {"brow_raise": 0.35, "squint": 0.62, "smile": 1.0, "blush": 1.0, "mouth_width": 0.25},
    "sad": {
        "brow_raise": 0.15, "brow_tilt": 1.0, "lid_slant": 0.8, "smile": -0.95, "mouth_width": -0.15, "gaze_y": 0.45,
        "tear": 1.0, "pitch": 0.2,
    },
    "angry": {"brow_raise": -0.55, "brow_tilt": -1.0, "lid_slant": -1.0, "smile": -0.6, "mouth_width": 0.2},
    "surprised": {"brow_raise": 1.1, "mouth_open": 0.5, "mouth_width": -0.9, "pupil": -0.34, "pitch": -0.15},
}  # fmt: skip
_EYES = {"sad": -0.2, "angry": -0.12, "surprised": 0.38}


def express(emotion: str, strength: float = 1.0) -> Expression:
    """Return the face of an emotion; strength 0 is neutral, 1 plain, up to 1.5 broad.

    Raises: KeyError for an emotion that is not in EMOTIONS.
    """
    base = Expression()
    shape = {name: getattr(base, name) + value * strength for name, value in _SHAPES[emotion].items()}
    return replace(base, eye_open=1.0 + _EYES.get(emotion, 0.0) * strength, **shape)
