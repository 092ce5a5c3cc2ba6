"""Sound files and arrays as blocks of 16 kHz mono samples: hours of sound in little memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.errors import MediaError
from tasks.speech.vad import SAMPLE_RATE

FRAME_SAMPLES_READ = 1 << 16  # a few seconds: hours of stems in few calls
LAYOUTS = {1: "mono", 2: "stereo"}

Samples = NDArray[np.float32]
Sound = Path | str | NDArray[Any]  # a file, or 16 kHz mono samples -1..1 (integers are taken as 16-bit)


def _array_blocks(samples: NDArray[Any], num_samples: int) -> Iterator[Samples]:
    scale = 1 / 32768 if np.issubdtype(samples.dtype, np.integer) else 1.0
    for start in range(0, len(samples), num_samples):
        yield (samples[start : start + num_samples] * scale).astype(np.float32)


def _file_pieces(path: Path) -> Iterator[Samples]:
    """Yield a file's first sound stream, resampled to 16 kHz and mixed to one channel, a few seconds at a time."""
    import av

    try:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        for frame in _frames(path):
            frame.pts = None  # sound is taken gapless, as the planner counts samples
            for out in resampler.resample(frame):
                yield out.to_ndarray()[0]
        for out in resampler.resample(None):
            yield out.to_ndarray()[0]
    except (OSError, ValueError) as exc:  # PyAV's errors derive from these
        raise MediaError(f"{path}: cannot be read as sound ({exc}); convert it to WAV") from exc


def _frames(path: Path) -> Iterator[Any]:
    """Yield a file's sound as PyAV frames: large ones of what libsndfile reads, else a packet's each."""
    import av

    try:
        sound = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        sound = None
    if sound is None or sound.channels not in LAYOUTS:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path}: no sound in this file; give a WAV, FLAC, MP3 or M4A")
            yield from container.decode(audio=0)
        return
    with sound:
        while len(block := sound.read(FRAME_SAMPLES_READ, dtype="float32", always_2d=True)):
            planes = np.ascontiguousarray(block.T)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=LAYOUTS[sound.channels])
            frame.sample_rate = sound.samplerate
            yield frame


def sound_blocks(sound: Sound, num_samples: int) -> Iterator[Samples]:
    """Yield the sound as float32 blocks of `num_samples`; the last may be shorter.

    Raises: MediaError when a file is missing, has no sound or cannot be decoded.
    """
    if not isinstance(sound, str | Path):
        yield from _array_blocks(np.asarray(sound), num_samples)
        return
    held: list[Samples] = []
    count = 0
    for piece in _file_pieces(Path(sound)):
        held.append(piece)
        count += len(piece)
        while count >= num_samples:
            joined = np.concatenate(held)
            yield joined[:num_samples]
            held, count = [joined[num_samples:]], count - num_samples
    if count:
        yield np.concatenate(held)


def stem_blocks(stems: Mapping[str, Sound], num_samples: int) -> Iterator[Samples]:
    """Yield blocks (s, n) of all stems together; shorter stems end in silence."""
    readers = [sound_blocks(sound, num_samples) for sound in stems.values()]
    while True:
        pieces = [next(reader, np.zeros(0, np.float32)) for reader in readers]
        longest = max((len(piece) for piece in pieces), default=0)
        if not longest:
            return
        yield np.stack([np.pad(piece, (0, longest - len(piece))) for piece in pieces])


def read_sound(sound: Sound) -> Samples:
    """Return the whole sound at 16 kHz, mono."""
    return np.concatenate([np.zeros(0, np.float32), *sound_blocks(sound, 60 * SAMPLE_RATE)])
