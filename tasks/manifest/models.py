"""Manifest version 1 as types; the JSON Schema that `farm schema` prints comes from here.

Seconds are floats from the start of the episode unless a name says otherwise; boxes are normalised 0..1 of the plate.
Paths are relative to the manifest's folder, or `s3://` addresses.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Unit = Annotated[float, Field(ge=0, le=1)]
MediaPath = Annotated[str, Field(min_length=1, max_length=400)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Strength = Annotated[float, Field(ge=0, le=2)]
Seconds = Annotated[float, Field(ge=0, le=86400)]
FRAME_RATES = (12.5, 24.0, 25.0, 30.0)


def _known_rate(fps: float) -> float:
    if fps not in FRAME_RATES:
        raise ValueError("one of 12.5, 24, 25, 30")
    return fps


Fps = Annotated[float, AfterValidator(_known_rate), Field(json_schema_extra={"enum": [12.5, 24, 25, 30]})]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Size(Strict):
    """Film size in pixels; both sides multiples of 16 (of 64 for `avatar`)."""

    width: Annotated[int, Field(ge=64, le=1600, multiple_of=16)]
    """Width of the film in pixels."""
    height: Annotated[int, Field(ge=64, le=1600, multiple_of=16)]
    """Height of the film in pixels."""


class Sampler(Strict):
    """How the network is sampled; unset fields take the profile's own value."""

    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    """Denoising steps; more is slower and cleaner."""
    guidance: Annotated[float, Field(ge=1, le=20)] | None = None
    """Weight of prompt and voice against the unconditioned picture; 1 halves the computing."""
    fusion: Literal["released", "aligned", "guarded"] | None = None
    """How the windows of a long take are joined; see docs/architecture.md."""
    shift_latents: Annotated[int, Field(ge=0, le=32)] | None = None
    """By how many latents the windows move at each step; smaller than the window."""
    window_latents: Annotated[int, Field(ge=2, le=33)] | None = None
    """Length of a window in latents (the first is 1 frame, each later one 4)."""
    windows_per_segment: Annotated[int, Field(ge=1, le=64)] | None = None
    """How many windows of a shot one pod renders."""
    cache: Literal["off", "released", "residual"] = "off"
    """Reuse of features between steps: faster, not bit-identical to `off`."""


class Episode(Strict):
    """What the film is, and how it is computed."""

    id: Name
    """Name of the episode in the store and the database."""
    title: Annotated[str, Field(min_length=1, max_length=200)]
    """Title for people."""
    show: Annotated[str, Field(max_length=200)] = ""
    """The show it belongs to; costs are summed by it."""
    fps: Fps = 25.0
    """Frames per second of the film; 25 is what the network was trained around."""
    size: Size
    """Size of the film; plates are resized to it."""
    seed: Seed = 0
    """Every random number of the episode comes from it."""
    profile: Literal["puppet", "avatar"] = "puppet"
    """`puppet`: the small network that ships. `avatar`: the released 13-billion-parameter one."""
    sampler: Sampler = Sampler()
    """How the network is sampled."""


class Consent(Strict):
    """`synthetic`: nobody is portrayed. `licensed`: a record that covers this use and has not expired."""

    kind: Literal["synthetic", "licensed"]
    """Whether a real person's likeness or voice is used."""
    record: MediaPath | None = None
    """File with the signed record, or a note that says where it lies; its digest goes into the lineage."""
    scope: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(max_length=100)] = ()
    """Episode ids or show names that the record covers; `*` stands for any run of characters."""
    expires: date | None = None
    """Last day on which the likeness may be rendered (YYYY-MM-DD)."""


class Character(Strict):
    """Who may appear, and why that is allowed."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """Name for people."""
    portrait: MediaPath
    """Reference picture: whose face this is."""
    emotions: Annotated[dict[Name, MediaPath], Field(max_length=32)] = {}
    """Emotion name -> picture that shows it; without one the portrait is `neutral`."""
    voice: MediaPath | None = None
    """A few seconds of this voice alone: names the speaker when only a mix exists."""
    consent: Consent
    """Proof that the likeness may be used."""


class Audio(Strict):
    """One stem per character for the whole episode; `mix` is what the audience hears, untouched."""

    stems: Annotated[dict[Name, MediaPath], Field(max_length=64)] = {}
    """Character -> track of that voice alone, from the start of the episode."""
    mix: MediaPath | None = None
    """The finished sound. Without it the film carries the sum of the stems."""
    turns: MediaPath | None = None
    """RTTM file that says who speaks when; without it the turns are found in the sound."""


class Box(Strict):
    """Top left corner, width and height, as shares of the plate."""

    x: Unit
    """Left edge: 0 is the plate's left."""
    y: Unit
    """Upper edge: 0 is the plate's top."""
    w: Annotated[float, Field(gt=0, le=1)]
    """Width; `x + w` stays within 1."""
    h: Annotated[float, Field(gt=0, le=1)]
    """Height; `y + h` stays within 1."""


class Emotion(Strict):
    """An emotion of a character, and how much of it."""

    name: Name
    """One of the character's `emotions`, or `neutral`."""
    strength: Strength = 1.0
    """0 is none, 1 as in the picture."""


class Motion(Strict):
    """Liveliness of the head and of the expression; 0.5 is what the network was trained around."""

    head: Unit = 0.5
    """Movement of the head."""
    expression: Unit = 0.5
    """Movement of the face."""


class OnScreen(Strict):
    """A character that is seen in a shot."""

    character: Name
    """One of the cast."""
    face: Box | Literal["auto"] = "auto"
    """Where the face is on the plate; `auto` looks for it and compares it with the portrait."""
    margin: Annotated[float, Field(ge=0, le=2)] = 1.0
    """How far the voice may act around the face box, in boxes on each side."""
    emotion: Emotion | None = None
    """Emotion from the shot's start on."""
    voice_strength: Strength = 1.0
    """How strongly the voice moves the face."""


class Cue(Strict):
    """From `at_seconds` (from the shot's start) on, these inputs change; unset ones stay."""

    at_seconds: Seconds
    """When, counted from the start of the shot."""
    character: Name | None = None
    """Whom it concerns; left out for `motion`, which concerns the whole shot."""
    emotion: Emotion | None = None
    """New emotion."""
    motion: Motion | None = None
    """New liveliness of the shot."""
    voice_strength: Strength | None = None
    """New strength of the voice."""
    face: Box | None = None
    """New place of the face."""


class Shot(Strict):
    """One continuous take. Without `start_seconds` it begins where the shot before it ends."""

    id: Name
    """Name of the shot, once per episode."""
    plate: MediaPath
    """Reference picture with the shot's characters in it."""
    start_seconds: Seconds | None = None
    """Start in the episode; left out, the shot begins where the one before it ends."""
    duration_seconds: Annotated[float, Field(gt=0, le=86400)] | None = None
    """Length; left out, the shot runs to the next one's start, to the end of its own stems or of the sound."""
    prompt: Annotated[str, Field(max_length=1000)] = ""
    """What the picture shows, in words."""
    characters: Annotated[tuple[OnScreen, ...], Field(max_length=6)]
    """Who is seen; may be empty for a shot without faces."""
    face_order: Literal["identity", "left_to_right"] = "identity"
    """How `auto` faces are told apart: by the portraits, or in the order of this list from left to right."""
    motion: Motion = Motion()
    """Liveliness from the shot's start on."""
    cues: Annotated[tuple[Cue, ...], Field(max_length=1000)] = ()
    """Changes inside the shot, in order of time."""
    stems: Annotated[dict[Name, MediaPath], Field(max_length=6)] = {}
    """Character -> track for this shot only, from the shot's start."""
    seed: Seed | None = None
    """Seed of this shot; left out, it comes from the episode's."""


class Labels(Strict):
    """What the film says about itself."""

    synthetic_media: bool = True
    """Mark the file as synthetic media."""
    comment: Annotated[str, Field(max_length=500)] = ""
    """Free text for the file's metadata."""


class Output(Strict):
    """The file that comes out."""

    container: Literal["mp4", "mov"] = "mp4"
    """mp4: H.264 and AAC. mov: 10-bit ProRes and PCM."""
    loudness_lufs: Annotated[float, Field(ge=-40, le=-5)] | None = None
    """Integrated loudness to bring the sound to; left out, the mix is not touched."""
    labels: Labels = Labels()
    """What the file says about itself."""


class Manifest(Strict):
    """One episode: its cast, its sound, its shots and the film that comes out."""

    version: Literal[1]
    """Version of this format."""
    episode: Episode
    """What is made, and with which network."""
    cast: Annotated[dict[Name, Character], Field(min_length=1, max_length=64)]
    """Character key -> who it is."""
    audio: Audio = Audio()
    """The sound of the whole episode."""
    shots: Annotated[tuple[Shot, ...], Field(min_length=1, max_length=2000)]
    """The takes, in order of time."""
    output: Output = Output()
    """The film file."""
