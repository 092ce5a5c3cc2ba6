"""manifest + facts -> Plan. Pure: the same input gives the same bytes in every process, without I/O or randomness."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.windows import shot_latents
from tasks.manifest.models import Box, Emotion, Manifest, OnScreen, Shot
from tasks.plan.keys import derived_seed, digest
from tasks.plan.layout import ShotRange, frame_at
from tasks.plan.types import CharacterPlan, Cut, FaceBox, MediaFact, OutputPlan, Plan, SegmentPlan, ShotPlan, Turn
from tasks.profiles import NETWORK_VERSION, PROFILES, SamplerSettings, resolve_sampler


@dataclass(frozen=True)
class PlanInputs:
    """Everything a plan is made from; gathering it is `tasks.survey`'s work."""

    manifest: Manifest
    ranges: tuple[ShotRange, ...]
    facts: Mapping[str, MediaFact]  # by path as the manifest writes it
    voices: Mapping[tuple[str, str], str]  # (shot id, character) -> digest of the 16 kHz samples the shot hears
    faces: Mapping[tuple[str, str], FaceBox]  # (shot id, character), for faces that the manifest leaves to `auto`
    turns: tuple[Turn, ...]
    weights_sha256: str
    mix_sha256: str


def plan(inputs: PlanInputs) -> Plan:
    """Return the plan of an episode: shots, segments, seeds, turns and keys.

    Raises: KeyError for a file, voice or face that `inputs` should hold and does not.
    """
    manifest = inputs.manifest
    sampler = resolve_sampler(manifest.episode.profile, manifest.episode.sampler)
    shots = tuple(_plan_shot(inputs, sampler, index) for index in range(len(manifest.shots)))
    episode = manifest.episode
    whole = Plan(
        episode=episode.id,
        title=episode.title,
        show=episode.show,
        fps=episode.fps,
        width=episode.size.width,
        height=episode.size.height,
        profile=episode.profile,
        steps=sampler.steps,
        guidance=sampler.guidance,
        fusion=sampler.fusion,
        window_latents=sampler.window_latents,
        shift_latents=sampler.shift_latents,
        cache=sampler.cache,
        weights_sha256=inputs.weights_sha256,
        network_version=NETWORK_VERSION,
        num_frames=inputs.ranges[-1].end_frame - inputs.ranges[0].start_frame,
        mix_sha256=inputs.mix_sha256,
        output=_output(manifest),
        shots=shots,
        key="",
    )
    return replace(
        whole, key=digest(["film", whole.mix_sha256, [shot.key for shot in shots], whole.output, whole.title])
    )


def _output(manifest: Manifest) -> OutputPlan:
    output = manifest.output
    return OutputPlan(output.container, output.loudness_lufs, output.labels.synthetic_media, output.labels.comment)


def _plan_shot(inputs: PlanInputs, sampler: SamplerSettings, index: int) -> ShotPlan:
    manifest, shot, frames = inputs.manifest, inputs.manifest.shots[index], inputs.ranges[index]
    episode = manifest.episode
    sizes = shot_latents(frames.num_frames, sampler.fusion_config)
    draft = ShotPlan(
        id=shot.id,
        key="",
        index=index,
        start_frame=frames.start_frame,
        num_frames=frames.num_frames,
        num_latents=sizes.kept,
        plate_sha256=inputs.facts[shot.plate].sha256,
        prompt=shot.prompt,
        seed=derived_seed(episode.seed, shot.id) if shot.seed is None else shot.seed,
        characters=tuple(_plan_character(inputs, shot, who) for who in shot.characters),
        motion_keys=_motion_keys(shot, episode.fps),
        turns=_turns_of(inputs.turns, frames, episode.fps),
        cuts=(Cut(frames.start_frame, "start" if index == 0 else "declared", 0.0),),
        segments=(),
    )
    key = shot_key(draft, sampler, inputs)
    per_segment = sampler.windows_per_segment
    segments = tuple(
        SegmentPlan(digest(["segment", key, first, count]), number, first, count)
        for number, first in enumerate(range(0, sizes.num_windows, per_segment))
        for count in [min(per_segment, sizes.num_windows - first)]
    )
    return replace(draft, key=key, segments=segments)


def shot_key(shot: ShotPlan, sampler: SamplerSettings, inputs: PlanInputs) -> str:
    """Return the digest of all that can change a shot's pixels: not its name, place in the film or split."""
    episode = inputs.manifest.episode
    own_turns = [
        (t.start_seconds, t.end_seconds, t.character) for t in _relative(shot.turns, shot.start_frame, episode.fps)
    ]
    return digest(
        {
            "kind": "shot",
            "network": NETWORK_VERSION,
            "weights": inputs.weights_sha256,
            "profile": episode.profile,
            "sampler": replace(sampler, windows_per_segment=0),
            "size": [episode.size.width, episode.size.height],
            "fps": episode.fps,
            "frames": shot.num_frames,
            "seed": shot.seed,
            "prompt": shot.prompt,
            "plate": shot.plate_sha256,
            "characters": [replace(who, character="", stem_file_sha256="") for who in shot.characters],
            "turns": [(*turn[:2], _place(shot, turn[2])) for turn in own_turns if _place(shot, turn[2]) >= 0],
            "motion": shot.motion_keys,
        }
    )


def _place(shot: ShotPlan, character: str) -> int:
    return next((i for i, who in enumerate(shot.characters) if who.character == character), -1)


def _relative(turns: tuple[Turn, ...], start_frame: int, fps: float) -> list[Turn]:
    offset = start_frame / fps
    return [Turn(round(t.start_seconds - offset, 4), round(t.end_seconds - offset, 4), t.character) for t in turns]


def _turns_of(turns: tuple[Turn, ...], frames: ShotRange, fps: float) -> tuple[Turn, ...]:
    """Return the turns inside a shot, cut at its ends, in episode time."""
    start, end = frames.start_frame / fps, frames.end_frame / fps
    inside = (Turn(max(t.start_seconds, start), min(t.end_seconds, end), t.character) for t in turns)
    return tuple(sorted(t for t in inside if t.end_seconds > t.start_seconds))


def _plan_character(inputs: PlanInputs, shot: Shot, who: OnScreen) -> CharacterPlan:
    name, fps = who.character, inputs.manifest.episode.fps
    cues = [(frame_at(cue.at_seconds, fps), cue) for cue in shot.cues if cue.character == name]
    pictures = _emotion_pictures(inputs, name)

    calm = Emotion(name="neutral") if "neutral" in pictures else None
    emotions = [(0, who.emotion or calm)] + [(frame, cue.emotion) for frame, cue in cues if cue.emotion is not None]
    voices = [(0, who.voice_strength)] + [(f, c.voice_strength) for f, c in cues if c.voice_strength is not None]
    face = inputs.faces[shot.id, name] if who.face == "auto" else face_box(who.face)
    faces = [(0, face)] + [(frame, face_box(cue.face)) for frame, cue in cues if cue.face is not None]
    return CharacterPlan(
        character=name,
        face=face,
        margin=who.margin,
        stem_sha256=inputs.voices[shot.id, name],
        stem_file_sha256=_stem_file(inputs, shot, name),
        emotion_keys=tuple((f, *_emotion(inputs, pictures, e)) for f, e in emotions if e is not None),
        voice_keys=tuple(voices),
        face_keys=tuple(faces),
    )


def _stem_file(inputs: PlanInputs, shot: Shot, character: str) -> str:
    path = shot.stems.get(character) or inputs.manifest.audio.stems.get(character)
    return inputs.facts[path].sha256 if path else ""


def _emotion_pictures(inputs: PlanInputs, name: str) -> Mapping[str, str]:
    """Return a character's emotion pictures; to a network with an emotion module the portrait is the neutral one.

    Such a network was told an emotion in nearly all of its training: told none, it would choose a mood of its own.
    """
    who = inputs.manifest.cast[name]
    if PROFILES[inputs.manifest.episode.profile].network.emotion:
        return {"neutral": who.portrait, **who.emotions}
    return who.emotions


def _emotion(inputs: PlanInputs, pictures: Mapping[str, str], emotion: Emotion) -> tuple[str, float]:
    """Return the picture's digest and the strength; `neutral` without a picture is no emotion at all."""
    if emotion.name not in pictures:
        return "", 0.0
    return inputs.facts[pictures[emotion.name]].sha256, emotion.strength


def face_box(box: Box) -> FaceBox:
    """Return a manifest's box as the plan writes it."""
    return FaceBox(box.x, box.y, box.w, box.h)


def _motion_keys(shot: Shot, fps: float) -> tuple[tuple[int, float, float], ...]:
    keys = [(0, shot.motion)] + [(frame_at(c.at_seconds, fps), c.motion) for c in shot.cues if c.motion is not None]
    return tuple((frame, motion.head, motion.expression) for frame, motion in keys)
