"""Who speaks when in one mixed track: a diarizer finds voices, voice samples say whose they are.

Three diarizers behind one interface: turns that are already written (RTTM), sherpa-onnx and pyannote.audio with models
that the studio supplies. Voices that no sample names clearly are asked for, never guessed.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.errors import ConfigError, PermanentError
from tasks.faces.assign import assign
from tasks.plan.types import Turn
from tasks.script.rttm import read_rttm
from tasks.speech.sound import Sound, read_sound
from tasks.speech.vad import SAMPLE_RATE
from tasks.speech.voiceprint import SPECTRAL_LEAST, SPECTRAL_MARGIN, spectral_voiceprint, voice_likeness

Samples = NDArray[np.float32]
MOST_SECONDS_PER_VOICE = 60.0
LEAST_SECONDS_PER_VOICE = 1.0


class UnknownVoices(PermanentError):
    """Voices of a mix could not be told apart with the samples given."""


class Diarizer(Protocol):
    """Finds voices in a mix. `least` and `margin` are what its voiceprints need to name one (0..1)."""

    name: str
    least: float
    margin: float

    def diarize(self, samples: Samples, num_speakers: int) -> tuple[Turn, ...]:
        """Return turns of nameless voices in 16 kHz samples; `num_speakers` 0: not known."""
        ...

    def voiceprint(self, samples: Samples) -> NDArray[np.float64]:
        """Return a vector that is alike for sounds of one voice."""
        ...


class WrittenTurns:
    """Turns from an RTTM file; voices are compared by their spectra."""

    name = "rttm"
    least, margin = SPECTRAL_LEAST, SPECTRAL_MARGIN

    def __init__(self, path: Path) -> None:
        """Raises: MediaError when the file cannot be read."""
        self.turns = read_rttm(path)

    def diarize(self, samples: Samples, num_speakers: int) -> tuple[Turn, ...]:
        """Return the written turns."""
        return self.turns

    def voiceprint(self, samples: Samples) -> NDArray[np.float64]:
        """Return the voice's spectral signature."""
        return spectral_voiceprint(samples)


class SherpaDiarizer:
    """sherpa-onnx with segmentation*.onnx (pyannote) and embedding*.onnx from one folder."""

    name = "sherpa"
    least, margin = 0.35, 0.1

    def __init__(self, folder: Path) -> None:
        """Raises: ConfigError when sherpa-onnx or a model is missing."""
        try:
            import sherpa_onnx
        except ImportError as exc:
            raise ConfigError("sherpa-onnx is not installed; pip install sherpa-onnx") from exc
        self._library: Any = sherpa_onnx
        self._segmentation = _one(folder, "segmentation*.onnx")
        self._embedding = sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(_one(folder, "embedding*.onnx")))
        try:
            self._extractor = sherpa_onnx.SpeakerEmbeddingExtractor(self._embedding)
        except RuntimeError as exc:
            raise ConfigError(f"{folder}: embedding model cannot be loaded ({exc})") from exc

    def diarize(self, samples: Samples, num_speakers: int) -> tuple[Turn, ...]:
        """Return turns of voices voice_0, voice_1, ..."""
        lib = self._library
        pyannote = lib.OfflineSpeakerSegmentationPyannoteModelConfig(model=str(self._segmentation))
        config = lib.OfflineSpeakerDiarizationConfig(
            segmentation=lib.OfflineSpeakerSegmentationModelConfig(pyannote=pyannote),
            embedding=self._embedding,
            clustering=lib.FastClusteringConfig(num_clusters=num_speakers or -1, threshold=0.5),
        )
        found = lib.OfflineSpeakerDiarization(config).process(samples).sort_by_start_time()
        return tuple(Turn(float(one.start), float(one.end), f"voice_{one.speaker}") for one in found)

    def voiceprint(self, samples: Samples) -> NDArray[np.float64]:
        """Return the embedding model's vector."""
        stream = self._extractor.create_stream()
        stream.accept_waveform(SAMPLE_RATE, samples)
        stream.input_finished()
        return np.asarray(self._extractor.compute(stream), np.float64)


class PyannoteDiarizer:
    """pyannote.audio with a pipeline configuration in a local folder."""

    name = "pyannote"
    least, margin = SPECTRAL_LEAST, SPECTRAL_MARGIN

    def __init__(self, folder: Path) -> None:
        """Raises: ConfigError when pyannote.audio or the configuration is missing."""
        try:
            pyannote = import_module("pyannote.audio")
        except ImportError as exc:
            raise ConfigError("pyannote.audio is not installed; pip install pyannote.audio") from exc
        self._pipeline: Any = pyannote.Pipeline.from_pretrained(_one(folder, "config.y*ml"))

    def diarize(self, samples: Samples, num_speakers: int) -> tuple[Turn, ...]:
        """Return turns of the pipeline's voices."""
        import torch

        sound = {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE}
        found = self._pipeline(sound, num_speakers=num_speakers or None)
        tracks = found.itertracks(yield_label=True)
        return tuple(sorted(Turn(float(span.start), float(span.end), str(label)) for span, _, label in tracks))

    def voiceprint(self, samples: Samples) -> NDArray[np.float64]:
        """Return the voice's spectral signature."""
        return spectral_voiceprint(samples)


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise ConfigError(f"{folder}: no {pattern} in it; put the model there")
    return found[0]


def open_diarizer(what: str) -> Diarizer:
    """Return the diarizer that `rttm:FILE`, `sherpa:FOLDER` or `pyannote:FOLDER` names.

    Raises: PermanentError when it names none of them, ConfigError when what it needs is not there.
    """
    kind, _, place = what.partition(":")
    known: Mapping[str, type[WrittenTurns] | type[SherpaDiarizer] | type[PyannoteDiarizer]] = {
        "rttm": WrittenTurns,
        "sherpa": SherpaDiarizer,
        "pyannote": PyannoteDiarizer,
    }
    if kind not in known or not place:
        raise PermanentError(f"diarizer {what!r}: write rttm:FILE, sherpa:FOLDER or pyannote:FOLDER")
    return known[kind](Path(place))


def alone(turns: Sequence[Turn], voice: str) -> list[tuple[float, float]]:
    """Return the spans in which only this voice speaks."""
    spans = [(turn.start_seconds, turn.end_seconds) for turn in turns if turn.character == voice]
    for other in turns:
        if other.character != voice:
            a, b = other.start_seconds, other.end_seconds
            spans = [
                part
                for start, end in spans
                for part in ((start, min(end, a)), (max(start, b), end))
                if part[1] > part[0]
            ]
    return spans


def name_voices(
    samples: Samples, turns: Sequence[Turn], voices: Mapping[str, Samples], diarizer: Diarizer
) -> tuple[Turn, ...]:
    """Return the turns under the cast's names. `voices`: character -> some seconds of that voice alone.

    A voice whose name is a character's already keeps it. Raises: UnknownVoices naming what could not be told, and how
    long each unnamed voice speaks first.
    """
    found = sorted({turn.character for turn in turns})
    if all(voice in voices for voice in found):
        return tuple(sorted(turns))
    if len(found) > len(voices):
        raise UnknownVoices(_ask(turns, found, f"{len(found)} voices were found, {len(voices)} have a voice sample"))
    prints = {voice: diarizer.voiceprint(_gathered(samples, alone(turns, voice))) for voice in found}
    known = {name: diarizer.voiceprint(sample) for name, sample in voices.items()}
    alike = np.array([[voice_likeness(prints[voice], known[name]) for name in known] for voice in found])
    result = assign(found, alike, diarizer.least, diarizer.margin)
    if result.doubts:
        raise UnknownVoices(_ask(turns, found, "; ".join(result.doubts)))
    names = dict(zip(found, (list(known)[index] for index in result.faces), strict=True))
    return tuple(sorted(Turn(turn.start_seconds, turn.end_seconds, names[turn.character]) for turn in turns))


def _gathered(samples: Samples, spans: Sequence[tuple[float, float]]) -> Samples:
    parts = [samples[round(a * SAMPLE_RATE) : round(b * SAMPLE_RATE)] for a, b in spans]
    joined = np.concatenate([np.zeros(0, np.float32), *parts])[: round(MOST_SECONDS_PER_VOICE * SAMPLE_RATE)]
    return np.pad(joined, (0, max(0, round(LEAST_SECONDS_PER_VOICE * SAMPLE_RATE) - len(joined))))


def _ask(turns: Sequence[Turn], found: Sequence[str], why: str) -> str:
    heard = []
    for voice in found:
        first = min(turn for turn in turns if turn.character == voice)
        heard.append(f"{voice} speaks first at {first.start_seconds:.2f} to {first.end_seconds:.2f} s")
    return (
        f"{why}. {'; '.join(heard)}. Give each character a `voice` sample of its own, or an RTTM with the cast's names"
    )


def turns_from_mix(mix: Sound, voices: Mapping[str, Sound], diarizer: Diarizer) -> tuple[Turn, ...]:
    """Return who speaks when in a mix, by the names of `voices`. Raises: MediaError, UnknownVoices."""
    samples = read_sound(mix)
    turns = diarizer.diarize(samples, len(voices))
    return name_voices(samples, turns, {name: read_sound(sound) for name, sound in voices.items()}, diarizer)
