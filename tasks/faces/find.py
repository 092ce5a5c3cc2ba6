"""The faces of a manifest's shots: written boxes win, portraits decide, and what cannot be told is refused.

Order of trust: the box in the manifest; the likeness of portrait and detected face; left to right, only where the shot
asks for it with `face_order: left_to_right`.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from tasks.errors import Fault, ManifestError, MediaError
from tasks.faces.assign import Assignment, assign, left_to_right
from tasks.faces.signature import COLOUR_LEAST, COLOUR_MARGIN, EMBEDDED_LEAST, EMBEDDED_MARGIN, likeness
from tasks.faces.types import DetectedFace, Detector, Image, overlap
from tasks.manifest.models import Box, Shot
from tasks.manifest.read import LoadedManifest
from tasks.plan.types import FaceBox

Found = tuple[Image, DetectedFace]
WAY_OUT = "give each of them a face box in the manifest, or face_order: left_to_right"


def read_picture(path: Path) -> Image:
    """Return a picture file as RGB (h, w, 3). Raises: MediaError when it cannot be read."""
    try:
        with Pillow.open(path) as picture:
            return np.asarray(picture.convert("RGB"), np.uint8)
    except (OSError, ValueError) as exc:
        raise MediaError(f"{path}: cannot be read as a picture ({exc}); save it as PNG or JPEG") from exc


def match_faces(
    plate: Image, faces: Sequence[DetectedFace], names: Sequence[str], portraits: Mapping[str, Found | None]
) -> Assignment:
    """Return which of a plate's faces belongs to whom by likeness with the portraits, or why that cannot be told.

    One character and one face need no likeness. `portraits` holds None where a portrait shows no face.
    """
    if len(names) == len(faces) == 1:
        return Assignment((0,), ())
    missing = [name for name in names if portraits[name] is None]
    if missing:
        return Assignment((), tuple(f"no face was found in the portrait of {name!r}" for name in missing))
    known = {name: found for name, found in portraits.items() if found is not None}
    alike = [[likeness(known[name], (plate, face)) for face in faces] for name in names]
    embedded = all(face.embedding is not None for face in faces)
    least, margin = (EMBEDDED_LEAST, EMBEDDED_MARGIN) if embedded else (COLOUR_LEAST, COLOUR_MARGIN)
    return assign(names, np.array(alike, dtype=np.float64).reshape(len(names), len(faces)), least, margin)


def find_faces(loaded: LoadedManifest, detector: Detector) -> dict[tuple[str, str], FaceBox]:
    """Return the faces that the manifest leaves to `auto`: (shot id, character) -> box.

    Raises: ManifestError naming every shot and character that could not be told apart, with the way out.
    """
    boxes, faults = find_faces_or_doubts(loaded, detector)
    if faults:
        raise ManifestError(faults)
    return boxes


def find_faces_or_doubts(
    loaded: LoadedManifest, detector: Detector
) -> tuple[dict[tuple[str, str], FaceBox], list[Fault]]:
    """Return the faces that could be told, and one fault for everything that could not."""

    @cache
    def look(picture: str) -> tuple[Image, tuple[DetectedFace, ...]]:
        image = read_picture(loaded.files[picture])
        return image, tuple(detector.detect(image))

    def portrait(name: str) -> Found | None:
        image, faces = look(loaded.manifest.cast[name].portrait)
        return (image, max(faces, key=lambda face: face.box.w * face.box.h)) if faces else None

    boxes: dict[tuple[str, str], FaceBox] = {}
    faults: list[Fault] = []
    for index, shot in enumerate(loaded.manifest.shots):
        names = [who.character for who in shot.characters if who.face == "auto"]
        if not names:
            continue
        plate, seen = look(shot.plate)
        faces = free_faces(seen, shot)
        if shot.face_order == "left_to_right":
            result = left_to_right([face.box.x for face in faces], names)
        else:
            result = match_faces(plate, faces, names, {name: portrait(name) for name in names})
        faults += [_fault(loaded, index, shot, doubt, detector) for doubt in result.doubts]
        if not result.doubts:
            boxes |= {(shot.id, name): faces[face].box for name, face in zip(names, result.faces, strict=True)}
    return boxes, faults


def free_faces(faces: Sequence[DetectedFace], shot: Shot) -> list[DetectedFace]:
    """Return the detected faces that no written box of the shot already claims."""
    written = [to_face_box(who.face) for who in shot.characters if isinstance(who.face, Box)]
    return [face for face in faces if all(overlap(face.box, box) < 0.3 for box in written)]


def to_face_box(box: Box) -> FaceBox:
    """Return a manifest's box as the plan's."""
    return FaceBox(box.x, box.y, box.w, box.h)


def _fault(loaded: LoadedManifest, index: int, shot: Shot, doubt: str, detector: Detector) -> Fault:
    where = f"shots[{index}].characters"
    message = f"shot {shot.id!r}: {doubt} on {shot.plate!r} ({detector.name} detector); {WAY_OUT}"
    return Fault("manifest", loaded.lines.get(where, 0), where, "faces-ambiguous", message)
