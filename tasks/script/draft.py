"""A first manifest from what was imported: everything the source knows, and nothing it does not. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.script.peers import PeerShot, PeerVoice
from tasks.script.types import Script, ScriptLine

PUPPET_SIZE = {"width": 192, "height": 128}
Seconds = Mapping[str, float]  # sound file as written -> its length

# What a picture or voice may be used for is for a person to say: the importers leave it open and `farm plan` asks.
UNKNOWN_CONSENT = {"kind": "licensed"}


def stem_name(shot_id: str, character: str) -> str:
    """Return the file that a sequential voice is written to, padded with silence, beside the manifest."""
    return f"stems/{shot_id}-{character}.wav"


def offsets(shot: PeerShot, seconds: Seconds) -> dict[str, float]:
    """Return when each voice of a shot begins: all at 0, or each after the one before."""
    if shot.order == "together":
        return {voice.character: 0.0 for voice in shot.voices}
    starts, now = {}, 0.0
    for voice in shot.voices:
        starts[voice.character] = now
        now += seconds[voice.audio]
    return starts


def _on_screen(name: str, voice: PeerVoice) -> dict[str, Any]:
    shown: dict[str, Any] = {"character": name}
    if voice.face is not None:
        shown["face"] = {"x": voice.face.x, "y": voice.face.y, "w": voice.face.w, "h": voice.face.h}
    return shown


def _peer_shot(shot: PeerShot, named: Mapping[str, str], seconds: Seconds) -> dict[str, Any]:
    begins = offsets(shot, seconds)
    padded = shot.order == "in_turn" and len(shot.voices) > 1
    one: dict[str, Any] = {
        "id": shot.id,
        "plate": shot.picture,
        "duration_seconds": round(max(begins[voice.character] + seconds[voice.audio] for voice in shot.voices), 3),
        "prompt": shot.prompt[:1000],
        "characters": [_on_screen(named[voice.character], voice) for voice in shot.voices],
        "stems": {
            named[voice.character]: stem_name(shot.id, voice.character) if padded else voice.audio
            for voice in shot.voices
        },
    }
    if any(voice.face is None for voice in shot.voices) and len(shot.voices) > 1:
        one["face_order"] = "left_to_right"
    return one


def draft_from_peers(shots: Sequence[PeerShot], seconds: Seconds, episode_id: str) -> dict[str, Any]:
    """Return a manifest (version 1, as plain values) of a peer's shots (unique ids), one after the other.

    `seconds` holds every sound's length. A person of one shot is not assumed to be the same in another; the plate
    stands in for the portrait. Without boxes, several people are ordered from left to right, as those projects do.
    """
    cast: dict[str, Any] = {}
    drafted = []
    for shot in shots:
        named = {voice.character: f"{shot.id}_{voice.character}"[-40:].lstrip("_") for voice in shot.voices}
        for voice in shot.voices:
            cast[named[voice.character]] = {
                "name": voice.character,
                "portrait": shot.picture,
                "consent": dict(UNKNOWN_CONSENT),
            }
        drafted.append(_peer_shot(shot, named, seconds))
    fps = Counter(shot.fps for shot in shots).most_common(1)[0][0]
    return {
        "version": 1,
        "episode": {"id": episode_id, "title": episode_id, "fps": fps, "size": dict(PUPPET_SIZE)},
        "cast": cast,
        "shots": drafted,
    }


def _cues(speaking: Sequence[ScriptLine], start: float, emotions: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Return a cue at each line of a speaker who has emotions anywhere: the line's own, or neutral again."""
    return [
        {
            "at_seconds": round((line.start_seconds or 0.0) - start, 3),
            "character": line.character,
            "emotion": {"name": line.emotion or "neutral"},
        }
        for line in speaking
        if emotions.get(line.character)
    ]


def draft_from_script(script: Script, episode_id: str, frames: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return a manifest of a script's speakers; `frames` are the shots' (start, end) in seconds.

    Pictures and stems are named after the characters, for the studio to fill in. Emotions become cues where a line
    has a time; the speaker's next line without one is neutral again.
    """
    names = dict(script.names) or {line.character: line.character for line in script.lines}
    names = {key: name for key, name in names.items() if key}
    emotions = {
        key: sorted({line.emotion for line in script.lines if line.character == key and line.emotion}) for key in names
    }
    shots = []
    for number, (start, end) in enumerate(frames, start=1):
        speaking = [
            line for line in script.lines if line.start_seconds is not None and start <= line.start_seconds < end
        ]
        present = sorted({line.character for line in speaking if line.character}) or sorted(names)
        cues = _cues(speaking, start, emotions)
        shot: dict[str, Any] = {
            "id": f"shot_{number:03d}",
            "plate": f"pictures/shot_{number:03d}.png",
            "start_seconds": round(start, 3),
            "duration_seconds": round(end - start, 3),
            "characters": [{"character": name} for name in present[:6]],
        }
        shots.append(shot | ({"cues": cues} if cues else {}))
    return {
        "version": 1,
        "episode": {"id": episode_id, "title": script.title or episode_id, "size": dict(PUPPET_SIZE)},
        "cast": {key: _character(key, name, emotions[key]) for key, name in names.items()},
        "audio": {"stems": {key: f"audio/{key}.wav" for key in names}},
        "shots": shots,
    }


def _character(key: str, name: str, emotions: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "portrait": f"pictures/{key}.png",
        "emotions": {emotion: f"pictures/{key}-{emotion}.png" for emotion in emotions if emotion != "neutral"},
        "consent": dict(UNKNOWN_CONSENT),
    }
