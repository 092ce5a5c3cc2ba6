"""Rules across the fields of one manifest: names, consent, sampler, faces, cues. Pure; media are judged elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from tasks.manifest.findings import Finding, Path, did_you_mean
from tasks.manifest.models import Box, Character, Cue, Emotion, Manifest, OnScreen, Shot

NEUTRAL = "neutral"  # the emotion that needs no picture
LARGEST_SIDE = {"puppet": 640, "avatar": 1600}
SIZE_MULTIPLE = {"puppet": 16, "avatar": 64}  # the released sizes are multiples of 64
LARGEST_AREA = 576 * 1600  # the largest of the released sizes
WINDOW_LATENTS = {"puppet": 9, "avatar": 33}
LARGEST_WINDOW = {"puppet": 14, "avatar": 33}
PROMPT_WORDS = {"puppet": 16, "avatar": 150}  # avatar: 245 tokens less the fixed prefix, at 1.4 tokens a word
PROMPT_BYTES = {"puppet": 1000, "avatar": 800}
SMALLEST_FACE_PIXELS = 16  # two latent cells: a smaller face cannot be told from its neighbours


@dataclass(frozen=True)
class Declared:
    """Names that the file declares, faulty entries included, so that one fault does not cause others."""

    characters: frozenset[str]
    emotions: Mapping[str, frozenset[str]]


def rule_findings(manifest: Manifest, declared: Declared, today: date) -> Iterator[Finding]:
    """Yield what is wrong between the fields. `today` decides whether a consent has expired."""
    yield from _film(manifest)
    for key, character in manifest.cast.items():
        yield from _consent(("cast", key, "consent"), key, character, manifest, today)
    yield from _audio(manifest, declared)
    yield from _shot_names(manifest)
    for index, shot in enumerate(manifest.shots):
        yield from _shot(("shots", index), shot, manifest, declared)


def _film(manifest: Manifest) -> Iterator[Finding]:
    episode, profile = manifest.episode, manifest.episode.profile
    size: Path = ("episode", "size")
    step, side = SIZE_MULTIPLE[profile], LARGEST_SIDE[profile]
    for name, value in (("width", episode.size.width), ("height", episode.size.height)):
        if value % step:
            way_out = f"write {value // step * step} or {value // step * step + step}"
            message = f"{name} is {value}, profile {profile!r} needs multiples of {step}; {way_out}"
            yield Finding((*size, name), "size-for-profile", message)
        elif value > side:
            message = f"{name} is {value}, profile {profile!r} was trained for at most {side}; make the film smaller"
            yield Finding((*size, name), "size-for-profile", message)
    area = episode.size.width * episode.size.height
    if area > LARGEST_AREA and profile == "avatar":
        message = f"{episode.size.width} x {episode.size.height} is {area} pixels, the limit is {LARGEST_AREA}"
        yield Finding(size, "film-too-large", message + "; make one side shorter")
    sampler: Path = ("episode", "sampler")
    window = episode.sampler.window_latents or WINDOW_LATENTS[profile]
    if window > LARGEST_WINDOW[profile]:
        limit = LARGEST_WINDOW[profile]
        message = f"window_latents is {window}, profile {profile!r} was trained for at most {limit}; write {limit}"
        yield Finding((*sampler, "window_latents"), "window-for-profile", message)
    shift = episode.sampler.shift_latents
    if shift is not None and shift >= window:
        message = (
            f"shift_latents is {shift}, it must stay below the window of {window} latents; write {window - 1} or less"
        )
        yield Finding((*sampler, "shift_latents"), "shift-too-large", message)


def _consent(path: Path, key: str, character: Character, manifest: Manifest, today: date) -> Iterator[Finding]:
    consent = character.consent
    if consent.kind == "synthetic":
        if consent.record is not None or consent.scope or consent.expires is not None:
            message = f"{key!r} is synthetic, yet has a record, scope or expiry; remove them or write kind: licensed"
            yield Finding(path, "consent-kind", message)
        return
    if consent.record is None:
        message = f"{key!r} is licensed without a record; add the signed consent as consent.record"
        yield Finding(path, "consent-record", message)
    if consent.expires is None:
        message = f"{key!r} is licensed without an expiry; add expires: YYYY-MM-DD from the contract"
        yield Finding(path, "consent-expiry", message)
    elif consent.expires < today:
        message = f"the consent of {key!r} expired on {consent.expires} (today is {today}); renew it or recast the part"
        yield Finding((*path, "expires"), "consent-expired", message)
    names = [name.casefold() for name in (manifest.episode.id, manifest.episode.show) if name]
    if not any(fnmatchcase(name, scope.casefold()) for name in names for scope in consent.scope):
        covered = ", ".join(consent.scope) or "nothing"
        message = (
            f"the consent of {key!r} covers {covered}, not episode {manifest.episode.id!r}; get it and name it in scope"
        )
        yield Finding((*path, "scope") if consent.scope else path, "consent-scope", message)
    if not manifest.output.labels.synthetic_media:
        message = f"{key!r} is a real person, so the film must say that it is synthetic; set synthetic_media: true"
        yield Finding(("output", "labels", "synthetic_media"), "label-required", message)


def _audio(manifest: Manifest, declared: Declared) -> Iterator[Finding]:
    audio = manifest.audio
    for key in audio.stems:
        if key not in declared.characters:
            message = f"stem {key!r} belongs to nobody in the cast; {did_you_mean(key, declared.characters)}"
            yield Finding(("audio", "stems", key), "stem-without-character", message)
    own = any(shot.stems for shot in manifest.shots)
    if audio.mix is None and not audio.stems and not own:
        message = "the episode has no sound: no mix, no stems; add audio.stems with one track per speaker"
        yield Finding(("audio",), "no-sound", message)
    if audio.mix is not None and not audio.stems and not own and audio.turns is None:
        seen = {face.character for shot in manifest.shots for face in shot.characters}
        mute = sorted(key for key in seen if key in manifest.cast and manifest.cast[key].voice is None)
        if len(seen) > 1 and mute:
            message = f"only a mix is given and nothing tells the voice of {', '.join(mute)} apart"
            way_out = "; add audio.stems, audio.turns or a voice sample for each"
            yield Finding(("audio",), "mix-without-turns", message + way_out)


def _shot_names(manifest: Manifest) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, shot in enumerate(manifest.shots):
        if shot.id in first:
            message = f"shot id {shot.id!r} is used by shots[{first[shot.id]}] too, ids are unique; rename one"
            yield Finding(("shots", index, "id"), "duplicate-shot", message)
        first.setdefault(shot.id, index)


def _shot(path: Path, shot: Shot, manifest: Manifest, declared: Declared) -> Iterator[Finding]:
    yield from _prompt((*path, "prompt"), shot, manifest.episode.profile)
    seen: dict[str, int] = {}
    for index, face in enumerate(shot.characters):
        here: Path = (*path, "characters", index)
        if face.character not in declared.characters:
            message = (
                f"nobody in the cast is called {face.character!r}; {did_you_mean(face.character, declared.characters)}"
            )
            yield Finding((*here, "character"), "unknown-character", message)
        elif face.character in seen:
            message = f"{face.character!r} is on screen twice in shot {shot.id!r}; remove one, or cast a twin"
            yield Finding((*here, "character"), "on-screen-twice", message)
        seen.setdefault(face.character, index)
        yield from _emotion((*here, "emotion"), face.character, face.emotion, declared)
        if isinstance(face.face, Box):
            yield from _box((*here, "face"), face.face, manifest)
    yield from _coinciding(path, shot)
    yield from _left_to_right(path, shot)
    for key in shot.stems:
        if key not in declared.characters:
            message = f"stem {key!r} belongs to nobody in the cast; {did_you_mean(key, declared.characters)}"
            yield Finding((*path, "stems", key), "stem-without-character", message)
        elif key not in seen:
            message = f"shot {shot.id!r} has a stem of {key!r} but no face for it; add {key!r} to its characters"
            yield Finding((*path, "stems", key), "voice-without-face", message)
    for index, cue in enumerate(shot.cues):
        yield from _cue((*path, "cues", index), cue, shot, seen, manifest, declared)
        if index and cue.at_seconds < shot.cues[index - 1].at_seconds:
            before = shot.cues[index - 1].at_seconds
            message = f"the cue at {cue.at_seconds:g} s follows the one at {before:g} s; write cues in order of time"
            yield Finding((*path, "cues", index, "at_seconds"), "cue-order", message)


def _prompt(path: Path, shot: Shot, profile: str) -> Iterator[Finding]:
    words, size = len(shot.prompt.split()), len(shot.prompt.encode())
    if words > PROMPT_WORDS[profile] or size > PROMPT_BYTES[profile]:
        limit = f"{PROMPT_WORDS[profile]} words and {PROMPT_BYTES[profile]} bytes"
        message = f"the prompt has {words} words and {size} bytes, profile {profile!r} reads {limit}; shorten it"
        yield Finding(path, "prompt-too-long", message)


def _emotion(path: Path, character: str, emotion: Emotion | None, declared: Declared) -> Iterator[Finding]:
    if emotion is None or emotion.name == NEUTRAL or character not in declared.emotions:
        return
    known = declared.emotions[character]
    if emotion.name not in known:
        message = (
            f"{character!r} has no picture of emotion {emotion.name!r}; {did_you_mean(emotion.name, known | {NEUTRAL})}"
        )
        yield Finding((*path, "name"), "unknown-emotion", message)


def _box(path: Path, box: Box, manifest: Manifest) -> Iterator[Finding]:
    for corner, length, at, extent in (("x", "w", box.x, box.w), ("y", "h", box.y, box.h)):
        if at + extent > 1 + 1e-6:
            message = (
                f"{corner} + {length} is {at + extent:.4g}, the plate ends at 1"
                f"; write {length}: {max(1 - at, 0):.4g} or less"
            )
            yield Finding(path, "box-leaves-plate", message)
    size = manifest.episode.size
    width, height = box.w * size.width, box.h * size.height
    if min(width, height) < SMALLEST_FACE_PIXELS:
        message = (
            f"the face is {width:.0f} x {height:.0f} pixels in the film, at least {SMALLEST_FACE_PIXELS} are needed"
        )
        yield Finding(path, "face-too-small", message + "; crop the plate closer or enlarge the film")


def _coinciding(path: Path, shot: Shot) -> Iterator[Finding]:
    boxes = [(index, face) for index, face in enumerate(shot.characters) if isinstance(face.face, Box)]
    for place, (index, face) in enumerate(boxes):
        for _, other in boxes[:place]:
            share = _overlap(face, other)
            if share > 0.7:
                message = f"the faces of {other.character!r} and {face.character!r} share {share:.0%} of their area"
                way_out = ", at most 70% can be told apart; draw the boxes around each face alone"
                yield Finding((*path, "characters", index, "face"), "faces-coincide", message + way_out)


def _overlap(one: OnScreen, two: OnScreen) -> float:
    """Return intersection over union of two faces given as boxes."""
    a, b = one.face, two.face
    if not isinstance(a, Box) or not isinstance(b, Box):
        return 0.0
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    both = max(width, 0.0) * max(height, 0.0)
    return both / (a.w * a.h + b.w * b.h - both)


def _left_to_right(path: Path, shot: Shot) -> Iterator[Finding]:
    boxes = [face.face for face in shot.characters if isinstance(face.face, Box)]
    if shot.face_order == "left_to_right" and boxes and len(boxes) < len(shot.characters):
        message = f"{len(boxes)} of {len(shot.characters)} faces have boxes, left_to_right orders faces without any"
        yield Finding((*path, "face_order"), "mixed-face-order", message + "; give every face a box, or none")


def _cue(
    path: Path, cue: Cue, shot: Shot, seen: Mapping[str, int], manifest: Manifest, declared: Declared
) -> Iterator[Finding]:
    personal = [name for name in ("emotion", "voice_strength", "face") if getattr(cue, name) is not None]
    if not personal and cue.motion is None:
        yield Finding(path, "cue-empty", f"the cue at {cue.at_seconds:g} s changes nothing; set something or remove it")
    if personal and cue.character is None:
        message = f"the cue at {cue.at_seconds:g} s changes {personal[0]} of nobody; add character"
        yield Finding(path, "cue-without-character", message)
    if cue.motion is not None and cue.character is not None:
        message = f"motion concerns the whole shot, not {cue.character!r} alone; move it to a cue without character"
        yield Finding((*path, "motion"), "cue-motion-character", message)
    if cue.character is not None and cue.character not in seen:
        who = did_you_mean(cue.character, seen)
        message = f"{cue.character!r} is not on screen in shot {shot.id!r}; {who}"
        rule = "cue-off-screen" if cue.character in declared.characters else "unknown-character"
        yield Finding((*path, "character"), rule, message)
    if cue.character is not None:
        yield from _emotion((*path, "emotion"), cue.character, cue.emotion, declared)
    if cue.face is not None:
        yield from _box((*path, "face"), cue.face, manifest)
