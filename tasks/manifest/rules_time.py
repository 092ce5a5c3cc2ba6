"""Rules of time: the shots follow one another without gaps, stay within the sound, and their cues within them."""

from collections.abc import Iterator, Mapping

from tasks.manifest.findings import Finding
from tasks.manifest.models import Manifest
from tasks.manifest.times import Span, shot_spans, sound_seconds
from tasks.plan.types import MediaFact

LONGEST_SHOT_SECONDS = 600.0  # 118 windows of the released network
LONGEST_EPISODE_SECONDS = 4 * 3600.0
FRAMES_PER_LATENT = 4


def time_findings(manifest: Manifest, facts: Mapping[str, MediaFact]) -> Iterator[Finding]:
    """Yield what is wrong with times; what depends on a sound that could not be read is left out."""
    spans = shot_spans(manifest, facts)
    sound = sound_seconds(manifest, facts)
    tolerance = 0.5 / manifest.episode.fps
    for index, span in enumerate(spans):
        before = spans[index - 1].end_seconds if index else 0.0
        yield from _start(index, span, before, manifest, tolerance)
        yield from _length(index, span, manifest, sound_known=sound is not None or _own_sound(manifest, facts))
        if sound is not None:
            yield from _within_sound(index, span, manifest, sound, tolerance)
        yield from _cues(index, span, manifest)
    end = spans[-1].end_seconds
    if end is not None and sound is not None and end < sound - 2 * tolerance:
        message = (
            f"the picture ends at {end:.2f} s, the sound at {sound:.2f} s; leave duration_seconds of the last shot out"
        )
        yield Finding(("shots", len(spans) - 1), "picture-ends-early", message)
    if max(end or 0.0, sound or 0.0) > LONGEST_EPISODE_SECONDS:
        message = (
            f"the episode runs {max(end or 0.0, sound or 0.0):.0f} s, the limit is {LONGEST_EPISODE_SECONDS:.0f} s"
        )
        yield Finding(("episode",), "episode-too-long", message + "; split it into parts")


def _own_sound(manifest: Manifest, facts: Mapping[str, MediaFact]) -> bool:
    """Whether nothing about lengths is unknown only because a sound could not be read."""
    paths = [manifest.audio.mix, *manifest.audio.stems.values()]
    paths += [stem for shot in manifest.shots for stem in shot.stems.values()]
    return all(path is None or path in facts for path in paths)


def _start(index: int, span: Span, before: float | None, manifest: Manifest, tolerance: float) -> Iterator[Finding]:
    if span.start_seconds is None or before is None:
        return
    shot, start = manifest.shots[index], span.start_seconds
    path = ("shots", index, "start_seconds")
    previous = manifest.shots[index - 1].id if index else ""
    if index == 0 and start > tolerance:
        message = f"the first shot starts at {start:g} s, the film at 0; write start_seconds: 0 or leave it out"
        yield Finding(path, "first-shot-late", message)
    elif index and start < before - tolerance:
        message = f"shot {shot.id!r} starts at {start:g} s, {previous!r} ends at {before:.6g} s; shorten {previous!r}"
        yield Finding(path, "shots-overlap", message + " or start later")
    elif index and start > before + tolerance:
        message = (
            f"nothing is seen from {before:.6g} s to {start:g} s; lengthen {previous!r} or start {shot.id!r} earlier"
        )
        yield Finding(path, "shot-gap", message)


def _length(index: int, span: Span, manifest: Manifest, *, sound_known: bool) -> Iterator[Finding]:
    shot = manifest.shots[index]
    if span.end_seconds is None:
        if sound_known and span.start_seconds is not None:
            message = (
                f"nothing says how long shot {shot.id!r} is; add duration_seconds or the next shot's start_seconds"
            )
            yield Finding(("shots", index), "shot-length-unknown", message)
        return
    if span.start_seconds is None:
        return
    seconds, shortest = span.end_seconds - span.start_seconds, FRAMES_PER_LATENT / manifest.episode.fps
    if 0 < seconds < shortest - 1e-9:
        message = (
            f"shot {shot.id!r} lasts {seconds:.3g} s, one latent frame is {shortest:.3g} s; merge it with its neighbour"
        )
        yield Finding(("shots", index), "shot-too-short", message)
    if seconds > LONGEST_SHOT_SECONDS:
        message = f"shot {shot.id!r} lasts {seconds:.0f} s, the limit is {LONGEST_SHOT_SECONDS:.0f} s; split it"
        yield Finding(("shots", index), "shot-too-long", message)


def _within_sound(index: int, span: Span, manifest: Manifest, sound: float, tolerance: float) -> Iterator[Finding]:
    shot, path = manifest.shots[index], ("shots", index)
    if span.start_seconds is not None and span.start_seconds >= sound - tolerance:
        message = (
            f"shot {shot.id!r} starts at {span.start_seconds:.6g} s, after the sound ends at {sound:.2f} s; remove it"
        )
        yield Finding(path, "shot-after-sound", message + " or lengthen the sound")
    elif span.end_seconds is not None and span.end_seconds > sound + 2 * tolerance:
        message = f"shot {shot.id!r} ends at {span.end_seconds:.6g} s, the sound at {sound:.2f} s; shorten the shot"
        yield Finding(path, "shot-past-sound", message + " or lengthen the sound")


def _cues(index: int, span: Span, manifest: Manifest) -> Iterator[Finding]:
    if span.start_seconds is None or span.end_seconds is None:
        return
    seconds = span.end_seconds - span.start_seconds
    for place, cue in enumerate(manifest.shots[index].cues):
        if cue.at_seconds >= seconds > 0:
            message = (
                f"the cue is at {cue.at_seconds:g} s, its shot lasts {seconds:.6g} s; cues count from the shot's start"
            )
            yield Finding(("shots", index, "cues", place, "at_seconds"), "cue-outside-shot", message)
