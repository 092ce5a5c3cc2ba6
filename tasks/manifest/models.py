"""Manifest version 1 as types; the JSON Schema that `farm schema` prints comes from here.

Seconds are floats from the start of the episode unless a name says otherwise; boxes are normalised 0..1 of the plate.
Paths are relative to the manifest's folder, or `s3://` addresses.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Unit = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Size(Strict):
    """Film size in pixels; both sides multiples of 16."""

    width: Annotated[int, Field(ge=64, le=1600, multiple_of=16)]
    height: Annotated[int, Field(ge=64, le=1600, multiple_of=16)]


class Sampler(Strict):
    """How the network is sampled; unset fields take the profile's own value."""

    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    guidance: Annotated[float, Field(ge=1, le=20)] | None = None
    fusion: Literal["released", "aligned", "guarded"] | None = None
    shift_latents: Annotated[int, Field(ge=0, le=32)] | None = None
    window_latents: Annotated[int, Field(ge=2, le=33)] | None = None
    windows_per_segment: Annotated[int, Field(ge=1, le=64)] | None = None
    cache: Literal["off", "released", "residual"] = "off"


class Episode(Strict):
    id: Name
    title: Annotated[str, Field(min_length=1, max_length=200)]
    fps: Literal[12.5, 24, 25, 30] = 25
    size: Size
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    profile: Literal["puppet", "avatar"] = "puppet"
    sampler: Sampler = Sampler()


class Consent(Strict):
    """`synthetic`: nobody is portrayed. `licensed`: a record that covers this use and has not expired."""

    kind: Literal["synthetic", "licensed"]
    record: str | None = None
    scope: tuple[str, ...] = ()
    expires: date | None = None


class Character(Strict):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    portrait: str
    emotions: dict[Name, str] = {}  # emotion name -> picture
    consent: Consent


class Audio(Strict):
    """One stem per character for the whole episode; `mix` is what the audience hears, untouched."""

    stems: dict[Name, str] = {}
    mix: str | None = None


class Box(Strict):
    """Top left corner, width and height, as shares of the plate."""

    x: Unit
    y: Unit
    w: Annotated[float, Field(gt=0, le=1)]
    h: Annotated[float, Field(gt=0, le=1)]


class Emotion(Strict):
    name: Name
    strength: Annotated[float, Field(ge=0, le=2)] = 1.0


class Motion(Strict):
    """Liveliness of the head and of the expression; 0.5 is what the network was trained around."""

    head: Unit = 0.5
    expression: Unit = 0.5


class OnScreen(Strict):
    character: Name
    face: Box | Literal["auto"] = "auto"
    emotion: Emotion | None = None
    voice_strength: Annotated[float, Field(ge=0, le=2)] = 1.0


class Cue(Strict):
    """From `at_seconds` (from the shot's start) on, these inputs change; unset ones stay."""

    at_seconds: Annotated[float, Field(ge=0)]
    character: Name | None = None  # None: the whole shot (motion)
    emotion: Emotion | None = None
    motion: Motion | None = None
    voice_strength: Annotated[float, Field(ge=0, le=2)] | None = None
    face: Box | None = None


class Shot(Strict):
    """One continuous take. Without `start_seconds` it begins where the shot before it ends."""

    id: Name
    plate: str
    start_seconds: Annotated[float, Field(ge=0)] | None = None
    duration_seconds: Annotated[float, Field(gt=0)] | None = None  # last shot: may be left out, runs to the end of the sound
    prompt: Annotated[str, Field(max_length=1000)] = ""
    characters: Annotated[tuple[OnScreen, ...], Field(max_length=6)]
    motion: Motion = Motion()
    cues: tuple[Cue, ...] = ()
    stems: dict[Name, str] = {}  # for this shot only, from its start
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class Labels(Strict):
    """What the film says about itself."""

    synthetic_media: bool = True
    comment: Annotated[str, Field(max_length=500)] = ""


class Output(Strict):
    container: Literal["mp4", "mov"] = "mp4"  # mp4: H.264 + AAC; mov: 10-bit ProRes + PCM
    loudness_lufs: Annotated[float, Field(ge=-40, le=-5)] | None = None  # None: the mix is not touched
    labels: Labels = Labels()


class Manifest(Strict):
    version: Literal[1]
    episode: Episode
    cast: Annotated[dict[Name, Character], Field(min_length=1, max_length=64)]
    audio: Audio = Audio()
    shots: Annotated[tuple[Shot, ...], Field(min_length=1, max_length=2000)]
    output: Output = Output()
