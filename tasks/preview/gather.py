"""From a manifest to its preview: reads pictures and sound, writes one page and a PNG per plate."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.errors import Fault
from tasks.faces.find import find_faces_or_doubts, read_picture
from tasks.faces.types import Detector
from tasks.manifest.read import LoadedManifest
from tasks.plan.cost import RATES, estimate
from tasks.plan.types import FaceBox
from tasks.preview.draw import plate_picture, save_picture
from tasks.preview.notices import notices_of
from tasks.preview.page import preview_html
from tasks.preview.types import Notice, Preview, VoiceTrack
from tasks.speech.sound import sound_blocks
from tasks.speech.vad import FRAME_SAMPLES
from tasks.survey import Survey, make_plan, survey

WHOLE = FaceBox(0.0, 0.0, 1.0, 1.0)


def sound_peaks(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the largest absolute sample of every 32 ms of a file, read in blocks. Raises: MediaError."""
    peaks = [np.zeros(0, np.float32)]
    for block in sound_blocks(path, 1000 * FRAME_SAMPLES):
        padded = np.pad(np.abs(block), (0, -len(block) % FRAME_SAMPLES))
        peaks.append(padded.reshape(-1, FRAME_SAMPLES).max(axis=1))
    return np.concatenate(peaks)


def _tracks(loaded: LoadedManifest, found: Survey) -> Iterator[VoiceTrack]:
    manifest = loaded.manifest
    for character, file in manifest.audio.stems.items():
        yield VoiceTrack(character, file, 0.0, sound_peaks(loaded.files[file]))
    for shot, frames in zip(manifest.shots, found.ranges, strict=True):
        for character, file in shot.stems.items():
            start = frames.start_frame / manifest.episode.fps
            yield VoiceTrack(character, file, start, sound_peaks(loaded.files[file]))


def _doubt(fault: Fault, starts: Mapping[str, tuple[float, float]]) -> Notice:
    shot = next((name for name in starts if f"shot {name!r}:" in fault.message), "")
    begin, end = starts.get(shot, (0.0, 0.0))
    return Notice("name-without-face", shot, "", begin, end, fault.message)


def gather_preview(loaded: LoadedManifest, detector: Detector, weights_sha256: str = "") -> Preview:
    """Return what the page shows. Faces that cannot be told apart become notices, with the whole plate as their box.

    Raises: MediaError when a picture or a stem cannot be read.
    """
    found = survey(loaded)
    boxes, faults = find_faces_or_doubts(loaded, detector)
    for shot in loaded.manifest.shots:
        for who in shot.characters:
            if who.face == "auto":
                boxes.setdefault((shot.id, who.character), WHOLE)
    plan = make_plan(loaded, found, boxes, weights_sha256)
    fps = plan.fps
    starts = {shot.id: (shot.start_frame / fps, (shot.start_frame + shot.num_frames) / fps) for shot in plan.shots}
    preview = Preview(
        plan=plan,
        names={key: character.name for key, character in loaded.manifest.cast.items()},
        plates={shot.id: read_picture(loaded.files[shot.plate]) for shot in loaded.manifest.shots},
        tracks=tuple(_tracks(loaded, found)),
        media=loaded.media,
        costs=tuple(estimate(plan, rate) for rate in RATES.values()),
        notices=(),
    )
    doubts = tuple(_doubt(fault, starts) for fault in faults)
    return replace(preview, notices=doubts + notices_of(preview))


def write_preview(preview: Preview, folder: Path) -> list[Path]:
    """Write preview.html and plate-SHOT.png for every shot; return the files, the page first."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "preview.html"]
    written[0].write_text(preview_html(preview), encoding="utf-8")
    for shot in preview.plan.shots:
        written.append(folder / f"plate-{shot.id}.png")
        save_picture(plate_picture(preview, shot), written[-1])
    return written
