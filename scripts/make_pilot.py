"""Arrange the pilot: stems and mix from recorded lines, drawn plates and portraits, and the manifest's face boxes.

The same inputs give the same bytes. Run it from the repository root: python scripts/make_pilot.py
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

from tasks.plan.types import FaceBox
from tasks.puppet.expression import Expression
from tasks.puppet.identity import draw_identity
from tasks.puppet.scene import draw_scene
from tasks.puppet.world import Stand, draw_frame, draw_plate, draw_portrait, face_box

FOLDER = Path(__file__).parent.parent / "examples" / "pilot"
RATE = 16_000
Floats = npt.NDArray[np.float64]
CAST_SEED = 529
WIDTH, HEIGHT = 192, 128
LEVEL_DB = -23.0  # RMS of every line: two microphones, one conversation
PEAK = 0.45  # of full scale: two voices at once do not clip
FADE_SECONDS = 0.01
SECONDS = 16.0
CLOSE_UP = Stand(0.5, 0.5, 0.3)


@dataclass(frozen=True)
class Line:
    """A recorded line: who says it, which part of the file, and when it begins in the dialogue (seconds)."""

    character: str
    file: str
    first: float
    last: float
    at: float


# Ana falls in with Ben's first line for half a second; the other turns are 0.4 and 0.3 s apart.
LINES = (
    Line("ben", "caller_go_forward.wav", 0.40, 2.70, at=0.40),
    Line("ana", "reader_not_ill_disposed.wav", 0.00, 2.97, at=2.20),
    Line("ben", "caller_numbers.wav", 0.00, 4.00, at=5.57),
    Line("ana", "reader_had_he_married.wav", 0.20, 5.85, at=9.87),
)
PICTURES = (("ana", 0, ("happy", "sad")), ("ben", 1, ("surprised", "angry")))


def main() -> None:
    """Write stems, mix, pictures and episode.yaml into the pilot's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out: Path = parser.parse_args().out
    write_sound(out / "audio")
    boxes = write_pictures(out / "pictures")
    template = Template((FOLDER / "episode.template.yaml").read_text())
    (out / "episode.yaml").write_text(template.substitute(boxes))
    print(f"{out / 'episode.yaml'}: {SECONDS:g} s, {len(LINES)} lines")


def write_sound(folder: Path) -> None:
    """Write one track per character over the whole dialogue, and their sum."""
    folder.mkdir(parents=True, exist_ok=True)
    stems = {name: np.zeros(round(SECONDS * RATE)) for name in ("ana", "ben")}
    for line in LINES:
        samples = read_line(line)
        start = round(line.at * RATE)
        stems[line.character][start : start + len(samples)] += samples
    tracks: dict[str, npt.NDArray[np.int16]] = {name: to_int16(samples) for name, samples in stems.items()}
    tracks["mix"] = tracks["ana"] + tracks["ben"]
    for name, track in tracks.items():
        soundfile.write(folder / f"{name}.wav", track, RATE, subtype="PCM_16")


def read_line(line: Line) -> Floats:
    """Return the line's samples at the common level, faded at both ends: (samples,)."""
    samples, rate = soundfile.read(FOLDER / "audio" / "lines" / line.file, dtype="float64")
    if rate != RATE:
        raise ValueError(f"{line.file} has {rate} samples per second, the pilot {RATE}; resample it")
    part = samples[round(line.first * RATE) : round(line.last * RATE)]
    gain = 10 ** (LEVEL_DB / 20) / np.sqrt(np.mean(part**2))
    part = part * min(gain, PEAK / np.abs(part).max())
    ramp = np.linspace(0, 1, round(FADE_SECONDS * RATE))
    part[: len(ramp)] *= ramp
    part[-len(ramp) :] *= ramp[::-1]
    return np.asarray(part)


def to_int16(samples: Floats) -> npt.NDArray[np.int16]:
    """Return float samples as 16-bit ones."""
    return np.round(samples * 32767).astype(np.int16)


def write_pictures(folder: Path) -> dict[str, str]:
    """Write plates, portraits and emotion pictures; return the face boxes as the template names them."""
    folder.mkdir(parents=True, exist_ok=True)
    both, boxes = draw_plate(CAST_SEED, 2, (WIDTH, HEIGHT))
    save(both, folder / "both.png")
    found = {"both_ana": flow(boxes[0]), "both_ben": flow(boxes[1])}
    background, _ = draw_scene(CAST_SEED, 2 * WIDTH, 2 * HEIGHT)
    for name, number, emotions in PICTURES:
        who = draw_identity(CAST_SEED, number)
        save(draw_frame(background, (who,), (CLOSE_UP,), (Expression(),)), folder / f"{name}-close.png")
        found[f"close_{name}"] = flow(face_box(CLOSE_UP, who, (WIDTH, HEIGHT)))
        save(draw_portrait(CAST_SEED, number), folder / f"{name}.png")
        for emotion in emotions:
            save(draw_portrait(CAST_SEED, number, emotion), folder / f"{name}-{emotion}.png")
    return found


def flow(box: FaceBox) -> str:
    """Return a box as the manifest writes it."""
    return f"{{x: {box.x:.3f}, y: {box.y:.3f}, w: {box.w:.3f}, h: {box.h:.3f}}}"


def save(picture: npt.NDArray[np.uint8], path: Path) -> None:
    """Write (height, width, 3) RGB as PNG."""
    Image.fromarray(picture).save(path, optimize=True)


if __name__ == "__main__":
    main()
