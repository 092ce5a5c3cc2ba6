"""Any script or peer manifest file, read by what it is."""

import json
from pathlib import Path

from PIL import Image as Pillow

from tasks.errors import MediaError
from tasks.script.fountain import parse_fountain
from tasks.script.peers import PeerShot, parse_anytalker, parse_multitalk, parse_released_csv, with_unique_ids
from tasks.script.rttm import parse_rttm
from tasks.script.subtitles import parse_srt, parse_vtt
from tasks.script.types import Script, ScriptLine

FORMATS = {
    "fountain": (".fountain", ".spmd", ".txt"),
    "srt": (".srt",),
    "vtt": (".vtt",),
    "rttm": (".rttm",),
    "multitalk": (),
    "anytalker": (),
    "csv": (".csv",),
}


def format_of(path: Path, text: str) -> str:
    """Return the format's name, from the file's ending and for JSON from what is in it. Raises: ValueError."""
    ending = path.suffix.lower()
    for name, endings in FORMATS.items():
        if ending in endings:
            return name
    if ending == ".json":
        value = json.loads(text.lstrip("\ufeff"))
        one = isinstance(value, dict) and isinstance(value.get("cond_audio"), dict)
        return "multitalk" if one else "anytalker"
    known = ", ".join(end for endings in FORMATS.values() for end in endings)
    raise ValueError(f"{path.name}: unknown ending {ending!r}; known are {known}, .json, or say which format it is")


class PictureSizeReader:
    """Reads sizes of pictures beside a manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> tuple[int, int]:
        """Return (width, height). Raises: MediaError when the picture cannot be opened."""
        try:
            with Pillow.open(self.folder / name) as picture:
                return picture.width, picture.height
        except OSError as exc:
            raise MediaError(f"{name}: its boxes are in pixels, so the picture is needed ({exc})") from exc


def read_script(path: Path, as_format: str = "") -> Script | tuple[PeerShot, ...]:
    """Return a script, or the shots of a peer's manifest.

    Raises: MediaError when the file cannot be read or is not what it should be.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        kind = as_format or format_of(path, text)
        if kind == "fountain":
            return parse_fountain(text)
        if kind == "srt":
            return parse_srt(text, path.name)
        if kind == "vtt":
            return parse_vtt(text, path.name)
        if kind == "rttm":
            turns = parse_rttm(text, path.name)
            return Script(
                tuple(ScriptLine(one.character, "", None, one.start_seconds, one.end_seconds) for one in turns)
            )
        if kind == "multitalk":
            return with_unique_ids(parse_multitalk(text, PictureSizeReader(path.parent), path.name))
        if kind == "anytalker":
            return with_unique_ids(parse_anytalker(text, path.name))
        if kind == "csv":
            return with_unique_ids(parse_released_csv(text, path.name))
    except (OSError, ValueError) as exc:
        raise MediaError(f"{path}: {exc}") from exc
    raise MediaError(f"{path}: format {kind!r} is not known; known are {', '.join(FORMATS)}")
