"""The finished film, looked at from outside: opened again, its packets counted, its tracks measured."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tasks.encode import Container
from tasks.errors import CheckFailed
from tasks.sound import sound_facts
from tasks.stitch import SYNTHETIC

CODECS = {"mp4": ("h264", "aac", "yuv420p"), "mov": ("prores", "pcm", "yuv422p10le")}
_OPTIONS = {"protocol_whitelist": "file", "use_absolute_path": "0"}


@dataclass(frozen=True)
class FilmFacts:
    """What the film must be."""

    num_frames: int
    width: int
    height: int
    fps: float
    num_samples: int
    sample_rate: int
    channels: int
    container: Container = "mp4"
    synthetic_media: bool = True


@dataclass(frozen=True)
class FilmVerdict:
    """What was found in the file; no problems: it may be published."""

    path: Path
    num_frames: int
    num_samples: int
    video_seconds: float
    audio_seconds: float
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems

    def require(self) -> None:
        """Raise CheckFailed with every problem, if there is one."""
        if self.problems:
            raise CheckFailed(f"film {self.path.name}: " + "; ".join(self.problems))


def film_facts(sound: Path, num_frames: int, width: int, height: int, fps: float, container: Container) -> FilmFacts:
    """Return what a film of this sound and these frames must be."""
    heard = sound_facts(sound)
    return FilmFacts(num_frames, width, height, fps, heard.num_samples, heard.sample_rate, heard.channels, container)


def check_film(path: Path, facts: FilmFacts, *, decode: bool = False) -> FilmVerdict:
    """Open the film again and compare it with what it must be; `decode` also decodes every frame.

    Raises: CheckFailed when it cannot be opened at all.
    """
    try:
        with av.open(str(path), format="mov", options=_OPTIONS) as film:
            return _compare(path, film, facts, decode)
    except (av.error.FFmpegError, IndexError) as exc:
        raise CheckFailed(f"film {path.name} cannot be read: {exc}; stitch it again") from exc


def _compare(path: Path, film: Any, facts: FilmFacts, decode: bool) -> FilmVerdict:
    picture, sound = film.streams.video[0], film.streams.audio[0]
    frames, problems = _count_frames(film, picture, facts, decode)
    found: dict[str, tuple[object, object]] = {
        "tracks": ((len(film.streams.video), len(film.streams.audio)), (1, 1)),
        "frames": (frames, facts.num_frames),
        "size": ((picture.width, picture.height), (facts.width, facts.height)),
        "frames per second": (picture.average_rate, Fraction(facts.fps)),
        "video seconds": (picture.duration * picture.time_base, facts.num_frames / Fraction(facts.fps)),
        "video start": (picture.start_time or 0, 0),
        "audio start": (sound.start_time or 0, 0),
        "samples": (sound.duration * sound.time_base * facts.sample_rate, facts.num_samples),
        "sample rate": (sound.rate, facts.sample_rate),
        "channels": (sound.channels, facts.channels),
        "codecs": ((picture.codec.name, sound.codec.name.split("_")[0], picture.pix_fmt), CODECS[facts.container]),
        "label": (SYNTHETIC in film.metadata.get("comment", ""), facts.synthetic_media),
        "index in front": (index_comes_first(path), True),
    }
    for name, (is_, wanted) in found.items():
        if is_ != wanted:
            problems.append(f"{name}: {is_} instead of {wanted}")
    video_seconds = float(picture.duration * picture.time_base)
    audio_seconds = float(sound.duration * sound.time_base)
    return FilmVerdict(path, frames, round(audio_seconds * sound.rate), video_seconds, audio_seconds, tuple(problems))


def _count_frames(film: Any, picture: Any, facts: FilmFacts, decode: bool) -> tuple[int, list[str]]:
    """Return the number of picture packets, and what is wrong with their times or their decoding."""
    step = 1 / (Fraction(facts.fps) * picture.time_base)
    frames = decoded = 0
    uneven: int | None = None
    for packet in film.demux(picture):
        if decode:
            decoded += len(packet.decode())
        if packet.size:
            if packet.pts != frames * step and uneven is None:
                uneven = frames
            frames += 1
    problems = [] if uneven is None else [f"frame {uneven} is not at its time"]
    if decode and decoded != frames:
        problems.append(f"{decoded} of {frames} frames can be decoded")
    return frames, problems


def index_comes_first(path: Path) -> bool:
    """Whether a player can start before it has the whole file: the `moov` box stands before `mdat`."""
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            skip = int.from_bytes(file.read(8), "big") - 16 if size == 1 else size - 8
            if skip < 0:
                return False
            file.seek(skip, 1)
    return False
