"""Facts about one media file, taken without trusting it: content decides its kind, limits hold before decoding."""

import hashlib
import stat
import struct
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from PIL import Image

from tasks.manifest.paths import BadMedia
from tasks.plan.types import MediaFact

Kind = Literal["stem", "mix", "picture", "text", "record"]

MAX_FILE_BYTES = {"stem": 4 << 30, "mix": 8 << 30, "picture": 100 << 20, "text": 2 << 20, "record": 50 << 20}
MAX_PIXELS = 40_000_000  # 160 MB decoded; a plate larger than 8K is never needed
MIN_SIDE_PIXELS = 32
MAX_SECONDS = 4 * 3600.0
MIN_SECONDS = 0.16  # one latent frame at 25 fps
SAMPLE_RATES = (8_000, 192_000)
CHANNELS = {"stem": (1, 2), "mix": (1, 2, 6)}
_BLOCK = 1 << 16
_SUBTYPES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_EXTENSIONS = {
    "WAV": (".wav", ".wave", ".bwf"), "AIFF": (".aif", ".aiff"), "FLAC": (".flac",),
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",),
}  # fmt: skip
_SOUNDS, _PICTURES = ("WAV", "AIFF", "FLAC"), ("PNG", "JPEG", "WEBP")
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]", b"<?xml", b"<MPD", b"<smil", b"<svg", b"<ASX", b"v=0", b"URL:")


def probe(path: Path, kind: Kind, name: str = "") -> MediaFact:
    """Return digest, length and size of a file that `locate` has found.

    `name` is the path as the manifest writes it, for messages and the fact.
    Raises: BadMedia when it is too large, empty, truncated, of another kind than its name says, or hostile.
    """
    name = name or path.name
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BadMedia("media-not-a-file", f"{name!r} is not a regular file; name the file itself")
    if status.st_size == 0:
        raise BadMedia("media-empty", f"{name!r} is empty (0 bytes); export it again")
    if status.st_size > MAX_FILE_BYTES[kind]:
        limit = MAX_FILE_BYTES[kind] >> 20
        message = f"{name!r} has {status.st_size >> 20} MB, the limit is {limit} MB; export less or split the episode"
        raise BadMedia("media-too-large", message)
    if kind == "text":
        _check_text(path, name)
    elif kind == "picture":
        return _picture(path, name, status.st_size)
    elif kind in ("stem", "mix"):
        return _sound(path, kind, name, status.st_size)
    return MediaFact(name, sha256_of(path), status.st_size)


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_text(path: Path, name: str) -> None:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError as exc:
        raise BadMedia("media-not-text", f"{name!r} is not UTF-8 text (byte {exc.start}); save it as UTF-8") from exc


def _content(path: Path) -> str:
    """Return what a file's first bytes say it is: WAV, PNG, playlist, ..., or an empty string."""
    with path.open("rb") as file:
        head = file.read(64)
    form, inner = head[:4], head[8:12]
    table: dict[str, bool] = {
        "WAV": form in (b"RIFF", b"RF64") and inner == b"WAVE", "AIFF": form == b"FORM" and inner in (b"AIFF", b"AIFC"),
        "FLAC": form == b"fLaC", "PNG": head.startswith(b"\x89PNG\r\n\x1a\n"), "JPEG": head.startswith(b"\xff\xd8\xff"),
        "WEBP": form == b"RIFF" and inner == b"WEBP", "Ogg": form == b"OggS", "MP4": head[4:8] == b"ftyp",
        "MP3": head.startswith(b"ID3") or head[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"), "GIF": form == b"GIF8",
        "TIFF": form in (b"II*\0", b"MM\0*"), "Matroska": form == b"\x1a\x45\xdf\xa3",
        "playlist": head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(_PLAYLISTS),
    }  # fmt: skip
    return next((kind for kind, found in table.items() if found), "")


def _check_content(path: Path, name: str, accepted: tuple[str, ...]) -> str:
    content = _content(path)
    wanted = ", ".join(accepted)
    if content == "playlist":
        message = f"{name!r} is a playlist or markup that points elsewhere, not media; export one {wanted} file"
        raise BadMedia("media-playlist", message)
    if content not in accepted:
        kind = content or "nothing known"
        rule = "media-wrong-extension" if content in _EXTENSIONS else "media-format"
        raise BadMedia(rule, f"{name!r} is {kind} inside, accepted are {wanted}; export it as one of them")
    extensions = _EXTENSIONS[content]
    if path.suffix.lower() not in extensions:
        message = f"{name!r} is {content} inside but ends in {path.suffix!r}; rename it to {extensions[0]}"
        raise BadMedia("media-wrong-extension", message)
    return content


def _sound(path: Path, kind: Literal["stem", "mix"], name: str, num_bytes: int) -> MediaFact:
    content = _check_content(path, name, _SOUNDS)
    if content != "FLAC":
        _check_chunks(path, name, num_bytes, little=content == "WAV")
    try:
        with soundfile.SoundFile(path) as sound:
            _check_sound_header(sound, kind, name)
            num_samples = _count_samples(sound, name)
            rate, channels, promised = sound.samplerate, sound.channels, sound.frames
    except (soundfile.LibsndfileError, RuntimeError) as exc:
        raise BadMedia("media-truncated", f"{name!r} cannot be decoded to its end ({exc}); export it again") from exc
    if num_samples < promised:
        message = f"{name!r} holds {num_samples} of the {promised} samples it announces; export it again"
        raise BadMedia("media-truncated", message)
    seconds = num_samples / rate
    return MediaFact(name, sha256_of(path), num_bytes, seconds, rate, channels, num_samples)


def _check_sound_header(sound: soundfile.SoundFile, kind: Literal["stem", "mix"], name: str) -> None:
    if sound.subtype not in _SUBTYPES:
        message = f"{name!r} is compressed inside ({sound.subtype}), its samples are not exact; export PCM or FLAC"
        raise BadMedia("media-format", message)
    if sound.channels not in CHANNELS[kind]:
        allowed = " or ".join(map(str, CHANNELS[kind]))
        way_out = "export one file per voice" if kind == "stem" else "mix it down"
        message = f"{name!r} has {sound.channels} channels, a {kind} has {allowed}; {way_out}"
        raise BadMedia("media-channels", message)
    lowest, highest = SAMPLE_RATES
    if not lowest <= sound.samplerate <= highest:
        message = f"{name!r} has {sound.samplerate} samples per second, allowed are {lowest} to {highest}; resample it"
        raise BadMedia("media-sample-rate", message)
    seconds = sound.frames / sound.samplerate
    if seconds < MIN_SECONDS:
        message = f"{name!r} lasts {seconds:.3f} s, at least {MIN_SECONDS} s are needed; export the whole track"
        raise BadMedia("media-too-short", message)
    if seconds > MAX_SECONDS:
        message = f"{name!r} lasts {seconds:.0f} s, the limit is {MAX_SECONDS:.0f} s; split the episode"
        raise BadMedia("media-too-long", message)


def _count_samples(sound: soundfile.SoundFile, name: str) -> int:
    """Decode what can lie about itself: FLAC for its length, floats for values that are no numbers."""
    if sound.format != "FLAC" and sound.subtype not in ("FLOAT", "DOUBLE"):
        return int(sound.frames)
    count = 0
    while (block := sound.read(_BLOCK, dtype="float64", always_2d=True)).shape[0]:
        if not np.isfinite(block).all():
            second = (count + int(np.argmin(np.isfinite(block).all(axis=1)))) / sound.samplerate
            message = f"{name!r} has a sample that is no number at {second:.3f} s; export it again as PCM"
            raise BadMedia("media-nan", message)
        count += block.shape[0]
    return count


def _check_chunks(path: Path, name: str, num_bytes: int, *, little: bool) -> None:
    """Refuse a WAV or AIFF whose sound chunk is missing or longer than the file."""
    with path.open("rb") as file:
        long_form, long_size = file.read(12)[:4] == b"RF64", 0
        while len(header := file.read(8)) == 8:
            start = file.tell()
            size = struct.unpack("<I" if little else ">I", header[4:])[0]
            if header[:4] == b"ds64":
                long_size = struct.unpack("<Q", file.read(16)[8:].ljust(8, b"\0"))[0]
            if header[:4] in (b"data", b"SSND"):
                size = long_size if long_form else size
                if size == 0 or start + size > num_bytes:
                    announced = "no length" if size in (0, 0xFFFFFFFF) else f"{size} bytes of sound"
                    message = f"{name!r} announces {announced} and holds {num_bytes - start}; export it again"
                    raise BadMedia("media-truncated", message)
                return
            file.seek(start + size + size % 2)
    raise BadMedia("media-truncated", f"{name!r} has no sound chunk; export it again")


def _picture(path: Path, name: str, num_bytes: int) -> MediaFact:
    _check_content(path, name, _PICTURES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_PICTURES) as image:
                _check_picture_header(image, name)
                image.load()
                _check_opaque(image, name)
                width, height = image.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
        message = f"{name!r} has more pixels than the limit of {MAX_PIXELS:,}; scale it down"
        raise BadMedia("media-too-many-pixels", message) from exc
    except (OSError, SyntaxError, ValueError, struct.error) as exc:
        raise BadMedia("media-truncated", f"{name!r} cannot be decoded to its end ({exc}); export it again") from exc
    return MediaFact(name, sha256_of(path), num_bytes, width=width, height=height)


def _check_picture_header(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        message = f"{name!r} is {width} x {height}, the limit is {MAX_PIXELS:,} pixels; scale it down"
        raise BadMedia("media-too-many-pixels", message)
    if min(width, height) < MIN_SIDE_PIXELS:
        message = f"{name!r} is {width} x {height} pixels, a side needs at least {MIN_SIDE_PIXELS}; use a larger one"
        raise BadMedia("picture-too-small", message)
    if getattr(image, "n_frames", 1) > 1:
        raise BadMedia("picture-animated", f"{name!r} is animated, a plate is one picture; export one frame")
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "1"):
        message = f"{name!r} has colours of mode {image.mode}, 8-bit RGB is read; convert it to sRGB"
        raise BadMedia("picture-colours", message)
    if image.getexif().get(0x0112, 1) != 1:
        message = f"{name!r} is stored turned (EXIF orientation {image.getexif()[0x0112]}), boxes would miss the faces"
        raise BadMedia("picture-turned", message + "; save it upright")


def _check_opaque(image: Image.Image, name: str) -> None:
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise BadMedia("picture-transparent", f"{name!r} has transparent pixels; put it on a background")
