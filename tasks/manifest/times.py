"""When each shot begins and ends, as far as the manifest and the sound say so."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.manifest.models import Manifest, Shot
from tasks.plan.types import MediaFact


@dataclass(frozen=True)
class Span:
    """A shot's time in the episode; None where nothing says it."""

    start_seconds: float | None
    end_seconds: float | None


def sound_seconds(manifest: Manifest, facts: Mapping[str, MediaFact]) -> float | None:
    """Return the length of the episode's sound: the mix's, else the longest stem's, else None.

    `facts` by the path as the manifest writes it.
    """
    if manifest.audio.mix is not None:
        return facts[manifest.audio.mix].seconds if manifest.audio.mix in facts else None
    stems = manifest.audio.stems.values()
    if not stems or any(stem not in facts for stem in stems):
        return None
    return max(facts[stem].seconds for stem in stems)


def shot_spans(manifest: Manifest, facts: Mapping[str, MediaFact]) -> tuple[Span, ...]:
    """Return every shot's span. A length left out is filled from the next start, own stems, or the sound's end.

    A last shot that ends within a frame of the sound ends with it: durations are written with few digits.
    """
    sound = sound_seconds(manifest, facts)
    spans: list[Span] = []
    cursor: float | None = 0.0
    for shot, following in zip(manifest.shots, (*manifest.shots[1:], None), strict=True):
        start = cursor if shot.start_seconds is None else shot.start_seconds
        cursor = _end(shot, start, following, sound, facts)
        spans.append(Span(start, cursor))
    if sound is not None and cursor is not None and abs(cursor - sound) < 1 / manifest.episode.fps:
        spans[-1] = Span(spans[-1].start_seconds, sound)
    return tuple(spans)


def _end(
    shot: Shot, start: float | None, following: Shot | None, sound: float | None, facts: Mapping[str, MediaFact]
) -> float | None:
    if shot.duration_seconds is not None:
        return None if start is None else start + shot.duration_seconds
    if following is not None and following.start_seconds is not None:
        return following.start_seconds
    if shot.stems:
        known = all(stem in facts for stem in shot.stems.values())
        return start + max(facts[stem].seconds for stem in shot.stems.values()) if known and start is not None else None
    return sound if following is None else None
