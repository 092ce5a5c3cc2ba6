"""The manifests of other talking-video projects, in: what they show, who is heard, and where the faces are. Pure.

* MultiTalk and InfiniteTalk: one JSON object, `cond_image` (or `cond_video`), `prompt`, `cond_audio: {person1: file}`,
  `audio_type: para | add` (together, or one after the other) and `bbox: {person1: [row, column, row, column]}`: rows
  first, in pixels of the picture, although the names in their code say x and y.
* AnyTalker: a list (or a mapping by name) of objects with an image, a prompt and a list of sounds, bound to the people
  from left to right; `pad` sounds run together, `concat` sounds follow each other.
* The released HunyuanVideo-Avatar: a CSV `videoid,image,audio,prompt,fps`, often with a byte-order mark.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal

from tasks.plan.types import FaceBox
from tasks.script.types import key_of

PictureSize = Callable[[str], tuple[int, int]]  # path as written -> (width, height) in pixels


@dataclass(frozen=True)
class PeerVoice:
    """One person of a peer's shot: key, sound file, and face box if one was written."""

    character: str
    audio: str
    face: FaceBox | None = None


@dataclass(frozen=True)
class PeerShot:
    """One clip of a peer: `order` says whether voices run together or one after the other."""

    id: str
    picture: str
    prompt: str
    voices: tuple[PeerVoice, ...]
    order: Literal["together", "in_turn"] = "together"
    fps: float = 25.0


def row_first_box(box: Sequence[Any], width: int, height: int) -> FaceBox:
    """Return the normalised box of [top row, left column, bottom row, right column] in pixels.

    Raises: ValueError when it is not four numbers or lies outside the picture, with a hint when swapping axes fits.
    """
    try:
        top, left, bottom, right = (float(value) for value in box)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"bbox {box!r} is not four numbers: top row, left column, bottom row, right column") from exc
    inside = 0 <= top < bottom <= height and 0 <= left < right <= width
    if not inside:
        swapped = 0 <= top < bottom <= width and 0 <= left < right <= height
        hint = "; it would fit with x and y swapped: write rows first" if swapped else ""
        raise ValueError(
            f"bbox {list(box)!r} does not lie in a picture of {width} x {height} pixels (rows first){hint}"
        )
    return FaceBox(
        round(left / width, 4),
        round(top / height, 4),
        round((right - left) / width, 4),
        round((bottom - top) / height, 4),
    )


def _fields(value: Any, source: str, names: Sequence[str]) -> Any:
    for name in names:
        if isinstance(value, dict) and value.get(name):
            return value[name]
    raise ValueError(f"{source}: has none of {', '.join(names)}")


def _object(text: str, source: str) -> Any:
    try:
        return json.loads(text.lstrip("\ufeff"))
    except json.JSONDecodeError as exc:
        raise ValueError(f"{source}:{exc.lineno}: is not JSON ({exc.msg})") from exc


def parse_multitalk(text: str, picture_size: PictureSize, source: str = "MultiTalk JSON") -> tuple[PeerShot, ...]:
    """Return the one shot of a MultiTalk or InfiniteTalk file.

    `picture_size` is asked only where boxes are written. Raises: ValueError for what is missing or does not fit.
    """
    value = _object(text, source)
    picture = str(_fields(value, source, ("cond_image", "cond_video")))
    audio = _fields(value, source, ("cond_audio",))
    boxes = value.get("bbox") or {}
    if not isinstance(audio, Mapping) or not isinstance(boxes, Mapping):
        raise ValueError(f"{source}: cond_audio and bbox map person1, person2, ... to a file and to a box")
    if boxes and set(boxes) != set(audio):
        raise ValueError(
            f"{source}: bbox has {sorted(boxes)}, cond_audio has {sorted(audio)}; give both the same people"
        )
    size = picture_size(picture) if boxes else (0, 0)
    voices = tuple(
        PeerVoice(key_of(name), str(audio[name]), row_first_box(boxes[name], *size) if boxes else None)
        for name in sorted(audio)
    )
    order: Literal["together", "in_turn"] = "in_turn" if value.get("audio_type") == "add" else "together"
    name = key_of(PurePosixPath(picture).stem) or "shot"
    return (PeerShot(name, picture, str(value.get("prompt", "")), voices, order),)


_IMAGES = ("cond_image", "image", "image_path", "img_path")
_AUDIOS = ("audio_paths", "cond_audio", "audio_list", "audios", "audio", "audio_path")


def parse_anytalker(text: str, source: str = "AnyTalker JSON") -> tuple[PeerShot, ...]:
    """Return the shots of an AnyTalker batch; people are person1, person2, ... from left to right.

    Raises: ValueError for what is missing.
    """
    value = _object(text, source)
    if isinstance(value, dict) and not any(name in value for name in _IMAGES):
        items = [(str(name), item) for name, item in value.items()]
    else:
        items = [("", item) for item in (value if isinstance(value, list) else [value])]
    shots = []
    for number, (name, item) in enumerate(items, start=1):
        where = f"{source}: item {name or number}"
        picture = str(_fields(item, where, _IMAGES))
        audio = _fields(item, where, _AUDIOS)
        files = list(audio.values()) if isinstance(audio, dict) else [audio] if isinstance(audio, str) else list(audio)
        voices = tuple(PeerVoice(f"person{place}", str(file)) for place, file in enumerate(files, start=1))
        prompt = str(item.get("prompt") or item.get("caption") or "")
        mode = str(item.get("audio_mode") or item.get("mode") or "pad")
        shot_id = key_of(name or str(item.get("id") or f"{PurePosixPath(picture).stem}_{number}"))
        shots.append(PeerShot(shot_id, picture, prompt, voices, "in_turn" if mode == "concat" else "together"))
    return tuple(shots)


def parse_released_csv(text: str, source: str = "CSV") -> tuple[PeerShot, ...]:
    """Return the shots of a released CSV, one a row, one person each.

    Raises: ValueError for a missing column or value, naming the line.
    """
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    missing = [name for name in ("image", "audio") if name not in (reader.fieldnames or [])]
    if missing:
        raise ValueError(f"{source}:1: no column {', '.join(missing)}; the header is videoid,image,audio,prompt,fps")
    shots: list[PeerShot] = []
    for row in reader:
        if not row["image"] or not row["audio"]:
            raise ValueError(f"{source}:{reader.line_num}: a row needs an image and an audio file")
        shot_id = key_of(row.get("videoid") or "") or f"shot_{len(shots) + 1}"
        try:
            fps = float(row.get("fps") or 25)
        except ValueError as exc:
            raise ValueError(f"{source}:{reader.line_num}: fps {row['fps']!r} is not a number") from exc
        voice = PeerVoice("person1", row["audio"])
        shots.append(PeerShot(shot_id, row["image"], row.get("prompt") or "", (voice,), "together", fps))
    return tuple(shots)


def with_unique_ids(shots: Sequence[PeerShot]) -> tuple[PeerShot, ...]:
    """Return the shots, a second one of the same id called ID_2, and so on."""
    seen: dict[str, int] = {}
    unique = []
    for shot in shots:
        seen[shot.id] = seen.get(shot.id, 0) + 1
        unique.append(shot if seen[shot.id] == 1 else replace(shot, id=f"{shot.id}_{seen[shot.id]}"))
    return tuple(unique)
