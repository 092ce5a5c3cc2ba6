"""Utterances by speaker from a folder of `SPEAKER_anything.wav`; missing speakers are made by shifting the pitch."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.speech.conversation import another_speaker
from tasks.speech.sound import read_sound

SHIFTS = (0.84, 1.2, 0.92, 1.1)  # pitch and formants; beyond a third the voice stops being one


def load_clips(folder: Path, num_speakers: int) -> dict[str, list[NDArray[np.float32]]]:
    """Return `num_speakers` speakers' utterances at 16 kHz; speakers that the folder lacks are shifted ones.

    Raises: MediaError for a file that cannot be read, ValueError for a folder without WAV files.
    """
    clips: dict[str, list[NDArray[np.float32]]] = {}
    for path in sorted(folder.glob("*.wav")):
        clips.setdefault(path.stem.split("_")[0], []).append(read_sound(path))
    if not clips:
        raise ValueError(f"{folder}: no .wav in it; name the files SPEAKER_anything.wav")
    real = list(clips)
    for extra in range(num_speakers - len(real)):
        shift = SHIFTS[extra % len(SHIFTS)]
        source = real[extra % len(real)]
        clips[f"{source}_at_{shift}"] = [another_speaker(clip, shift) for clip in clips[source]]
    return {name: clips[name] for name in list(clips)[:num_speakers]}
