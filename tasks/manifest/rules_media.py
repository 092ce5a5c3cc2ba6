"""Rules of the media files that a manifest names: each one alone, and against the film and each other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import FarmError
from tasks.manifest.findings import Finding, did_you_mean
from tasks.manifest.findings import Path as Where
from tasks.manifest.models import Manifest
from tasks.manifest.paths import BadMedia, check_s3, is_s3, locate
from tasks.manifest.probe import Kind, probe
from tasks.manifest.rules import Declared
from tasks.manifest.times import shot_spans, sound_seconds
from tasks.plan.types import MediaFact

Fetch = Callable[[str], Path]  # s3 address -> local copy
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
LARGEST_STRETCH = 0.06  # the released size rule itself moves the aspect by up to 4 %
OVERHANG_SECONDS = 0.5  # a stem may ring on after the mix; more is a wrong file


@dataclass(frozen=True)
class Use:
    """One place in the manifest that names a file."""

    path: Where
    text: str
    kind: Kind


@dataclass
class Media:
    """Facts and files by the path as the manifest writes it. What could not be judged is missing."""

    facts: dict[str, MediaFact] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def media_uses(manifest: Manifest) -> Iterator[Use]:
    """Yield every file that the manifest names, in the manifest's order."""
    for key, character in manifest.cast.items():
        yield Use(("cast", key, "portrait"), character.portrait, "picture")
        for emotion, picture in character.emotions.items():
            yield Use(("cast", key, "emotions", emotion), picture, "picture")
        if character.voice is not None:
            yield Use(("cast", key, "voice"), character.voice, "stem")
        if character.consent.record is not None:
            yield Use(("cast", key, "consent", "record"), character.consent.record, "record")
    for key, stem in manifest.audio.stems.items():
        yield Use(("audio", "stems", key), stem, "stem")
    if manifest.audio.mix is not None:
        yield Use(("audio", "mix"), manifest.audio.mix, "mix")
    if manifest.audio.turns is not None:
        yield Use(("audio", "turns"), manifest.audio.turns, "text")
    for index, shot in enumerate(manifest.shots):
        yield Use(("shots", index, "plate"), shot.plate, "picture")
        for key, stem in shot.stems.items():
            yield Use(("shots", index, "stems", key), stem, "stem")


def gather(manifest: Manifest, folder: Path, fetch: Fetch | None) -> tuple[Media, list[Finding]]:
    """Probe every file once. Without `fetch`, objects on s3 are checked by their address alone."""
    media, findings = Media(), []
    problems: dict[tuple[str, Kind], BadMedia] = {}
    probed: set[tuple[str, Kind]] = set()
    for use in media_uses(manifest):
        key = (use.text, use.kind)
        if key not in probed:
            probed.add(key)
            try:
                _probe(use, folder, fetch, media)
            except BadMedia as problem:
                problems[key] = problem
        if key in problems:
            findings.append(Finding(use.path, problems[key].rule, str(problems[key])))
    return media, findings


def _probe(use: Use, folder: Path, fetch: Fetch | None, media: Media) -> None:
    if not is_s3(use.text):
        file = locate(use.text, folder)
    else:
        check_s3(use.text)
        if fetch is None:
            return
        try:
            file = fetch(use.text)
        except FarmError as exc:
            raise BadMedia("media-missing", f"{use.text!r} cannot be fetched: {exc}; check address and access") from exc
    media.facts[use.text] = probe(file, use.kind, use.text)
    media.files[use.text] = file


def media_findings(manifest: Manifest, media: Media, declared: Declared) -> Iterator[Finding]:
    """Yield what is wrong between the files and the film, or among the files."""
    yield from _plates(manifest, media.facts)
    yield from _sounds(manifest, media.facts)
    yield from _turns(manifest, media, declared)


def _plates(manifest: Manifest, facts: Mapping[str, MediaFact]) -> Iterator[Finding]:
    film = manifest.episode.size
    for index, shot in enumerate(manifest.shots):
        fact = facts.get(shot.plate)
        if fact is None or not fact.width:
            continue
        sizes = f"the plate is {fact.width} x {fact.height}, the film {film.width} x {film.height}"
        stretch = (fact.width * film.height) / (fact.height * film.width)
        if abs(max(stretch, 1 / stretch) - 1) > LARGEST_STRETCH:
            message = f"{sizes}: faces would be stretched by {max(stretch, 1 / stretch) - 1:.0%}, the limit is"
            way_out = f" {LARGEST_STRETCH:.0%}; crop the plate or change episode.size"
            yield Finding(("shots", index, "plate"), "plate-aspect", message + way_out)
        elif 2 * fact.width < film.width:
            message = f"{sizes}: it would be enlarged more than twice; use a larger plate or a smaller film"
            yield Finding(("shots", index, "plate"), "plate-too-small", message)


def _sounds(manifest: Manifest, facts: Mapping[str, MediaFact]) -> Iterator[Finding]:
    audio, sound = manifest.audio, sound_seconds(manifest, facts)
    mix = facts.get(audio.mix) if audio.mix is not None else None
    if mix is not None and manifest.output.container == "mp4" and mix.sample_rate not in AAC_RATES:
        message = f"the mix has {mix.sample_rate} samples per second, AAC knows {', '.join(map(str, AAC_RATES))}"
        yield Finding(("audio", "mix"), "mix-sample-rate", message + "; resample it or write container: mov")
    yield from _one_rate(manifest, facts)
    for key, stem in audio.stems.items():
        fact = facts.get(stem)
        if mix is not None and sound is not None and fact is not None and fact.seconds > sound + OVERHANG_SECONDS:
            message = (
                f"the stem of {key!r} lasts {fact.seconds:.2f} s, the mix {sound:.2f} s; export both over the same"
            )
            yield Finding(("audio", "stems", key), "stem-past-mix", message + " time")
    for index, (shot, span) in enumerate(zip(manifest.shots, shot_spans(manifest, facts), strict=True)):
        if span.start_seconds is None or span.end_seconds is None:
            continue
        for key, stem in shot.stems.items():
            fact, seconds = facts.get(stem), span.end_seconds - span.start_seconds
            if fact is not None and fact.seconds > seconds + OVERHANG_SECONDS:
                message = f"the stem of {key!r} lasts {fact.seconds:.2f} s, shot {shot.id!r} {seconds:.2f} s; cut it"
                yield Finding(("shots", index, "stems", key), "stem-past-shot", message + " or lengthen the shot")


def _one_rate(manifest: Manifest, facts: Mapping[str, MediaFact]) -> Iterator[Finding]:
    """Without a mix the film carries the stems' sum, and a sum needs one sample rate."""
    if manifest.audio.mix is not None:
        return
    uses = [use for use in media_uses(manifest) if "stems" in use.path and use.text in facts]
    for use in uses[1:]:
        first, rate = facts[uses[0].text].sample_rate, facts[use.text].sample_rate
        if rate != first:
            message = f"{use.text!r} has {rate} samples per second, {uses[0].text!r} {first}, and there is no mix"
            yield Finding(use.path, "stem-sample-rates", message + "; resample one or give audio.mix")


def _turns(manifest: Manifest, media: Media, declared: Declared) -> Iterator[Finding]:
    """Judge an RTTM file's lines: SPEAKER file channel start duration <NA> <NA> name <NA> <NA>."""
    file = media.files.get(manifest.audio.turns or "")
    if file is None:
        return
    sound = sound_seconds(manifest, media.facts)
    for number, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1):
        if line.strip() and not line.startswith((";", "#")):
            yield from _turn(number, line.split(), sound, declared)


def _turn(number: int, words: list[str], sound: float | None, declared: Declared) -> Iterator[Finding]:
    where: Where = ("audio", "turns")
    if words[0] != "SPEAKER":
        return
    try:
        start, seconds, name = float(words[3]), float(words[4]), words[7]
    except (IndexError, ValueError):
        message = (
            f"line {number} of the turns is not RTTM; write SPEAKER file 1 start duration <NA> <NA> name <NA> <NA>"
        )
        yield Finding(where, "turns-format", message)
        return
    if name not in declared.characters:
        message = (
            f"line {number} of the turns names {name!r}, not in the cast; {did_you_mean(name, declared.characters)}"
        )
        yield Finding(where, "turns-unknown-name", message)
    if not (start >= 0 and seconds > 0) or (sound is not None and start + seconds > sound + OVERHANG_SECONDS):
        limit = "the end" if sound is None else f"{sound:.2f} s"
        message = (
            f"line {number} of the turns runs from {start:g} s for {seconds:g} s, the sound from 0 to {limit}"
            "; correct it"
        )
        yield Finding(where, "turns-outside-sound", message)
