"""A plan as editors know it: OpenTimelineIO (one sound track per character, shots and segments as clips) and EDL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import opentimelineio as otio

from tasks.plan.spans import segment_frames
from tasks.plan.types import Plan, ShotPlan, Turn


@dataclass(frozen=True)
class Mark:
    """Something that a person should look at: when, how long, and one sentence."""

    start_seconds: float
    end_seconds: float
    text: str


@dataclass(frozen=True)
class TimelineMedia:
    """Addresses that the timeline points to: the film, and each character's stem. Empty: no media reference."""

    film: str = ""
    stems: Mapping[str, str] | None = None


def _span(plan: Plan, start_frame: float, num_frames: float) -> otio.opentime.TimeRange:
    return otio.opentime.TimeRange(
        otio.opentime.RationalTime(start_frame, plan.fps), otio.opentime.RationalTime(num_frames, plan.fps)
    )


def _reference(url: str, plan: Plan) -> otio.core.MediaReference:
    if not url:
        return otio.schema.MissingReference()
    return otio.schema.ExternalReference(target_url=url, available_range=_span(plan, 0, plan.num_frames))


def _clip(
    plan: Plan, name: str, start_frame: int, num_frames: int, url: str, facts: dict[str, str]
) -> otio.schema.Clip:
    return otio.schema.Clip(
        name=name,
        media_reference=_reference(url, plan),
        source_range=_span(plan, start_frame, num_frames),
        metadata={"avatar-farm": facts},
    )


def _shot_track(plan: Plan, url: str) -> otio.schema.Track:
    track = otio.schema.Track(name="shots", kind=otio.schema.TrackKind.Video)
    for shot in plan.shots:
        facts = {"key": shot.key, "cut": ", ".join(cut.reason for cut in shot.cuts), "prompt": shot.prompt}
        track.append(_clip(plan, shot.id, shot.start_frame, shot.num_frames, url, facts))
    return track


def _segment_track(plan: Plan, url: str) -> otio.schema.Track:
    track = otio.schema.Track(name="segments", kind=otio.schema.TrackKind.Video)
    for shot in plan.shots:
        for segment in shot.segments:
            start, end = segment_frames(plan, shot, segment)
            name = f"{shot.id}/{segment.index}"
            facts = {"key": segment.key, "windows": str(segment.num_windows)}
            track.append(_clip(plan, name, shot.start_frame + start, end - start, url, facts))
    return track


def episode_turns(plan: Plan) -> tuple[Turn, ...]:
    """Return the turns of all shots in episode time, pieces of one turn joined again."""
    found: list[Turn] = []
    for turn in sorted((turn for shot in plan.shots for turn in shot.turns), key=lambda one: (one.character, one)):
        last = found[-1] if found else None
        if last and last.character == turn.character and turn.start_seconds <= last.end_seconds + 0.001:
            found[-1] = Turn(last.start_seconds, max(last.end_seconds, turn.end_seconds), turn.character)
        else:
            found.append(turn)
    return tuple(sorted(found))


def _voice_track(plan: Plan, character: str, url: str) -> otio.schema.Track:
    track = otio.schema.Track(name=character, kind=otio.schema.TrackKind.Audio)
    cursor = 0
    for turn in episode_turns(plan):
        if turn.character != character:
            continue
        start, end = round(turn.start_seconds * plan.fps), round(turn.end_seconds * plan.fps)
        start, end = max(start, cursor), min(max(end, start + 1), plan.num_frames)
        if end <= start:
            continue
        if start > cursor:
            track.append(otio.schema.Gap(source_range=_span(plan, 0, start - cursor)))
        track.append(_clip(plan, f"{character} speaks", start, end - start, url, {"character": character}))
        cursor = end
    return track


def make_timeline(
    plan: Plan, media: TimelineMedia = TimelineMedia(), marks: Sequence[Mark] = ()
) -> otio.schema.Timeline:
    """Return the plan as a timeline: tracks `shots` and `segments`, a sound track per character, a marker per mark."""
    timeline = otio.schema.Timeline(name=plan.title)
    timeline.metadata["avatar-farm"] = {"episode": plan.episode, "plan": plan.key, "profile": plan.profile}
    shots = _shot_track(plan, media.film)
    for mark in marks:
        span = _span(
            plan,
            round(mark.start_seconds * plan.fps),
            max(1, round((mark.end_seconds - mark.start_seconds) * plan.fps)),
        )
        shots.markers.append(otio.schema.Marker(name=mark.text, marked_range=span, color=otio.schema.MarkerColor.RED))
    timeline.tracks.append(shots)
    timeline.tracks.append(_segment_track(plan, media.film))
    stems = media.stems or {}
    for character in sorted({who.character for shot in plan.shots for who in shot.characters} | set(stems)):
        timeline.tracks.append(_voice_track(plan, character, stems.get(character, "")))
    return timeline


def format_otio(plan: Plan, media: TimelineMedia = TimelineMedia(), marks: Sequence[Mark] = ()) -> str:
    """Return the plan as an .otio text."""
    return str(otio.adapters.write_to_string(make_timeline(plan, media, marks), "otio_json")) + "\n"


def timecode(frame: int, fps: float) -> str:
    """Return HH:MM:SS:FF without dropped frames; 12.5 fps counts in 25ths."""
    base = round(fps) if fps == round(fps) else round(2 * fps)
    count = round(frame * base / fps)
    seconds, frames = divmod(count, base)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def format_edl(plan: Plan) -> str:
    """Return the plan as a CMX 3600 edit list: one event per shot, its name and why it begins."""
    lines = [f"TITLE: {plan.title[:70]}", "FCM: NON-DROP FRAME", ""]
    for number, shot in enumerate(plan.shots, start=1):
        lines += _event(plan, number, shot)
    return "\n".join(lines) + "\n"


def _event(plan: Plan, number: int, shot: ShotPlan) -> list[str]:
    start, end = timecode(shot.start_frame, plan.fps), timecode(shot.start_frame + shot.num_frames, plan.fps)
    reason = shot.cuts[0].reason if shot.cuts else "declared"
    return [
        f"{number:03d}  AX       V     C        {start} {end} {start} {end}",
        f"* FROM CLIP NAME: {shot.id}",
        f"* COMMENT: {reason}, {shot.num_frames} frames, {len(shot.segments)} segments",
        "",
    ]
