"""Everything the plan needs to know about a manifest's media: found once, before anything is rendered or written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.listen import Samples, cut, digest_samples, sample_ranges, silence, stream_samples
from tasks.manifest.models import Manifest, Shot
from tasks.manifest.read import LoadedManifest
from tasks.plan.build import PlanInputs, plan
from tasks.plan.keys import digest
from tasks.plan.layout import ShotRange, lay_out
from tasks.plan.types import FaceBox, Plan, Turn
from tasks.script.rttm import read_rttm
from tasks.speech.turns import turns_from_stems

Voice = tuple[str, str]  # shot id, character


@dataclass(frozen=True)
class Survey:
    """What was found: the shots' frames, who speaks when, each voice's digest."""

    ranges: tuple[ShotRange, ...]
    turns: tuple[Turn, ...]
    voices: Mapping[Voice, str]


def survey(loaded: LoadedManifest) -> Survey:
    """Return what a checked manifest's sound says.

    Raises: MediaError when a stem cannot be decoded.
    """
    ranges = lay_out(loaded.manifest, loaded.media)
    voices = {voice: digest_samples(samples) for voice, samples in voice_samples(loaded, ranges)}
    return Survey(ranges, _turns(loaded, ranges), voices)


def make_plan(loaded: LoadedManifest, found: Survey, faces: Mapping[Voice, FaceBox], weights_sha256: str) -> Plan:
    """Return the plan of a surveyed manifest. `faces` are those that the manifest leaves to `auto`."""
    return plan(
        PlanInputs(
            manifest=loaded.manifest,
            ranges=found.ranges,
            facts=loaded.media,
            voices=found.voices,
            faces=faces,
            turns=found.turns,
            weights_sha256=weights_sha256,
            mix_sha256=mix_digest(loaded),
        )
    )


def mix_digest(loaded: LoadedManifest) -> str:
    """Return the digest of what the audience hears: the mix file, or the stems that are summed up for it."""
    audio = loaded.manifest.audio
    if audio.mix is not None:
        return loaded.media[audio.mix].sha256
    return digest(["sum", sorted(loaded.media[path].sha256 for path in sound_files(loaded.manifest))])


def sound_files(manifest: Manifest) -> list[str]:
    """Return the stems of the whole episode and of its shots, once each, as the manifest writes them."""
    own = [stem for shot in manifest.shots for stem in shot.stems.values()]
    return sorted({*manifest.audio.stems.values(), *own})


def voice_samples(loaded: LoadedManifest, ranges: tuple[ShotRange, ...]) -> Iterator[tuple[Voice, Samples]]:
    """Yield what each on-screen character of each shot says, one shot in memory at a time, each stem read once."""
    manifest = loaded.manifest
    spans = sample_ranges(ranges, manifest.episode.fps)
    for character, path in manifest.audio.stems.items():
        samples = cut(stream_samples(loaded.files[path]), spans)
        for shot, heard in zip(manifest.shots, samples, strict=True):
            if character in _on_screen(shot) and character not in shot.stems:
                yield (shot.id, character), heard
    for shot, (start, end) in zip(manifest.shots, spans, strict=True):
        for character in _on_screen(shot):
            if character in shot.stems:
                own = cut(stream_samples(loaded.files[shot.stems[character]]), [(0, end - start)])
                yield (shot.id, character), next(own)
            elif character not in manifest.audio.stems:
                yield (shot.id, character), silence(end - start)


def _on_screen(shot: Shot) -> list[str]:
    return [who.character for who in shot.characters]


def _turns(loaded: LoadedManifest, ranges: tuple[ShotRange, ...]) -> tuple[Turn, ...]:
    """Return who speaks when: as written, or as heard in the stems with a gate against what bleeds between them."""
    audio, fps = loaded.manifest.audio, loaded.manifest.episode.fps
    if audio.turns is not None:
        return tuple(sorted(read_rttm(loaded.files[audio.turns])))
    turns = list(_heard({name: loaded.files[path] for name, path in audio.stems.items()}, 0.0))
    for shot, frames in zip(loaded.manifest.shots, ranges, strict=True):
        turns += _heard({name: loaded.files[path] for name, path in shot.stems.items()}, frames.start_frame / fps)
    return tuple(sorted(turns))


def _heard(stems: Mapping[str, Path], offset_seconds: float) -> Iterator[Turn]:
    if stems:
        for turn in turns_from_stems(stems):
            yield Turn(turn.start_seconds + offset_seconds, turn.end_seconds + offset_seconds, turn.character)
