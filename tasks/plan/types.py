"""What a plan is made of: small frozen values; times in frames, or in latents (4 frames each, the first one 1)."""

from dataclasses import dataclass
from typing import Literal

from model.windows import FusionMode

CacheName = Literal["off", "released", "residual"]
CutReason = Literal[
    "start", "end", "declared", "silence", "turn", "sentence", "low_energy", "forced",
]  # fmt: skip


@dataclass(frozen=True, order=True)
class Turn:
    """One character speaks from `start_seconds` to `end_seconds` (half-open, episode time)."""

    start_seconds: float
    end_seconds: float
    character: str


@dataclass(frozen=True)
class Cut:
    """Why a shot or a piece of it begins at `frame` (episode frames), and what it cost the cutter."""

    frame: int
    reason: CutReason
    cost: float


@dataclass(frozen=True)
class FaceBox:
    """A face on the plate, normalised 0..1."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class MediaFact:
    """What the plan needs to know about one file: digest, and seconds or pixels (0 where it has none)."""

    path: str
    sha256: str
    num_bytes: int
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    num_samples: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class SegmentPlan:
    """A run of consecutive windows of one shot: the unit of fan-out, retry and lineage."""

    key: str
    index: int
    first_window: int
    num_windows: int


@dataclass(frozen=True)
class CharacterPlan:
    """One character in one shot: its face, its voice samples' digest, and its emotion over time."""

    character: str
    face: FaceBox
    margin: float  # how far the voice may act around the box, in boxes on each side
    stem_sha256: str  # of the 16 kHz samples that this shot uses
    stem_file_sha256: str  # of the file they come from ("": none); lineage only, no part of any key
    emotion_keys: tuple[tuple[int, str, float], ...]  # (from shot frame, picture sha256 or "" for none, strength)
    voice_keys: tuple[tuple[int, float], ...]  # (from shot frame, strength)
    face_keys: tuple[tuple[int, FaceBox], ...]  # moving face: (from shot frame, box)


@dataclass(frozen=True)
class ShotPlan:
    """One continuous take. `key` hashes all that can change its pixels."""

    id: str
    key: str
    index: int
    start_frame: int
    num_frames: int
    num_latents: int
    plate_sha256: str
    prompt: str
    seed: int
    characters: tuple[CharacterPlan, ...]
    motion_keys: tuple[tuple[int, float, float], ...]  # (from shot frame, head, expression)
    turns: tuple[Turn, ...]
    cuts: tuple[Cut, ...]
    segments: tuple[SegmentPlan, ...]


@dataclass(frozen=True)
class OutputPlan:
    """The film file: container, loudness (None: the mix untouched) and what it says about itself."""

    container: str
    loudness_lufs: float | None
    synthetic_media: bool
    comment: str


@dataclass(frozen=True)
class Plan:
    """A whole episode. The same manifest and media give the same bytes in every process."""

    episode: str
    title: str
    show: str
    fps: float
    width: int
    height: int
    profile: str
    steps: int
    guidance: float
    fusion: FusionMode
    window_latents: int
    shift_latents: int
    cache: CacheName
    weights_sha256: str
    network_version: str
    num_frames: int
    mix_sha256: str
    output: OutputPlan
    shots: tuple[ShotPlan, ...]
    key: str
