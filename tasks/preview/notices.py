"""What a person should look at before rendering, each with character, shot, time and a way out. Pure."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from model.facemask import Face, latent_masks
from tasks.faces.types import overlap
from tasks.plan.types import CharacterPlan, FaceBox, Plan, ShotPlan, Turn
from tasks.preview.types import PEAKS_PER_SECOND, Notice, Preview, VoiceTrack

LEAST_FACE_PIXELS = 40  # five latent cells: under that a mouth is less than two cells wide
MOST_BOX_OVERLAP = 0.05
LEAST_OWN_MASK = 0.75  # of a face's own box that its voice may act on
SILENT_PEAK = 0.003  # -50 dBFS
CLIPPED_PEAK = 0.9995
CLIPPED_IN_A_ROW = 3
OUTSIDE_SECONDS = 0.2


def _seconds(plan: Plan, shot: ShotPlan) -> tuple[float, float]:
    return shot.start_frame / plan.fps, (shot.start_frame + shot.num_frames) / plan.fps


def small_faces(preview: Preview) -> Iterator[Notice]:
    """Faces of so few pixels that a mouth cannot move in them."""
    plan = preview.plan
    for shot in plan.shots:
        for who in shot.characters:
            side = min(who.face.w * plan.width, who.face.h * plan.height)
            if side < LEAST_FACE_PIXELS:
                text = (
                    f"the face is {side:.0f} pixels across in the film, {LEAST_FACE_PIXELS} are needed for a mouth that"
                    " moves; frame the plate closer, or render larger"
                )
                yield Notice("face-too-small", shot.id, who.character, *_seconds(plan, shot), text)


def pixel_face(who: CharacterPlan, plan: Plan, box: FaceBox | None = None) -> Face:
    """Return a character's face in the film's pixels with the margin of its mask."""
    face = box or who.face
    size = (face.x * plan.width, face.y * plan.height, face.w * plan.width, face.h * plan.height)
    return Face(size, 1 + 2 * who.margin)


def overlapping_masks(preview: Preview) -> Iterator[Notice]:
    """Faces that lie on each other, and voices that may hardly act on their own face."""
    plan = preview.plan
    for shot in plan.shots:
        for a, b in itertools.combinations(shot.characters, 2):
            share = overlap(a.face, b.face)
            if share > MOST_BOX_OVERLAP:
                text = f"the face shares {share:.0%} of its area with {b.character!r}; move the boxes apart"
                yield Notice("masks-overlap", shot.id, a.character, *_seconds(plan, shot), text)
        if len(shot.characters) > 1:
            yield from _squeezed(plan, shot)


def _squeezed(plan: Plan, shot: ShotPlan) -> Iterator[Notice]:
    masks = latent_masks([pixel_face(who, plan) for who in shot.characters], plan.width, plan.height).numpy()
    alone = [
        latent_masks([pixel_face(who, plan)._replace(margin=1)], plan.width, plan.height).numpy()[0]
        for who in shot.characters
    ]
    for who, mask, own in zip(shot.characters, masks, alone, strict=True):
        share = float((mask * own).sum() / max(own.sum(), 1))
        if share < LEAST_OWN_MASK:
            text = f"only {share:.0%} of the face is the voice's own, the rest is a neighbour's; move the boxes apart"
            yield Notice("masks-overlap", shot.id, who.character, *_seconds(plan, shot), text)


def silent_stems(preview: Preview) -> Iterator[Notice]:
    """Stems without a sound, and stems with sound but without speech."""
    for track in preview.tracks:
        end = track.start_seconds + len(track.peaks) / PEAKS_PER_SECOND
        if not len(track.peaks) or float(track.peaks.max()) < SILENT_PEAK:
            text = f"{track.file} is silent (no sample above -50 dBFS); check the export, or leave the stem out"
            yield Notice("stem-silent", "", track.character, track.start_seconds, end, text)
        elif not any(turn.character == track.character for turn in _turns(preview.plan)):
            text = f"no speech of its own was heard in {track.file}; check that the stem is the right one"
            yield Notice("stem-silent", "", track.character, track.start_seconds, end, text)


def clipping(preview: Preview) -> Iterator[Notice]:
    """Stems that touch full scale for a tenth of a second: the first place of each."""
    for track in preview.tracks:
        clipped = track.peaks >= CLIPPED_PEAK
        padded = np.pad(clipped.astype(np.int64), (0, CLIPPED_IN_A_ROW))
        places = np.flatnonzero(np.convolve(padded, np.ones(CLIPPED_IN_A_ROW), mode="valid") >= CLIPPED_IN_A_ROW)
        if len(places):
            start = track.start_seconds + float(places[0]) / PEAKS_PER_SECOND
            text = f"{track.file} is clipped ({int(clipped.sum())} places); use a recording with headroom"
            yield Notice("clipping", "", track.character, start, start + CLIPPED_IN_A_ROW / PEAKS_PER_SECOND, text)


def sample_rates(preview: Preview) -> Iterator[Notice]:
    """Stems of several sample rates: a sign of a wrong export."""
    media = preview.media
    rates = {track.file: media[track.file].sample_rate for track in preview.tracks if track.file in media}
    if len(set(rates.values())) > 1:
        usual = max(set(rates.values()), key=lambda rate: (list(rates.values()).count(rate), rate))
        for track in preview.tracks:
            if rates.get(track.file, usual) != usual:
                text = (
                    f"{track.file} has {rates[track.file]} samples a second, the others {usual}; if it sounds too fast"
                    " or too slow its header is wrong: export it again"
                )
                yield Notice("sample-rate", "", track.character, track.start_seconds, track.start_seconds, text)


def speech_outside(preview: Preview) -> Iterator[Notice]:
    """Speech of somebody who is not in the picture, and words that a shot change cuts through."""
    plan = preview.plan
    for shot in plan.shots:
        start, end = _seconds(plan, shot)
        seen = {who.character for who in shot.characters}
        for turn in shot.turns:
            begin, finish = max(turn.start_seconds, start), min(turn.end_seconds, end)
            if turn.character not in seen and finish - begin > OUTSIDE_SECONDS:
                text = (
                    f"speaks for {finish - begin:.2f} s without a face in this shot; add the character, or accept a"
                    " voice from off screen"
                )
                yield Notice("name-without-face", shot.id, turn.character, begin, finish, text)
        for turn in _turns(plan):
            inside = turn.start_seconds + OUTSIDE_SECONDS < end < turn.end_seconds - OUTSIDE_SECONDS
            if inside and shot is not plan.shots[-1] and turn.character in seen:
                text = (
                    f"speaks across the end of the shot ({end:.2f} s); move the cut to a pause if the next shot is"
                    " another place"
                )
                yield Notice("speech-outside-shot", shot.id, turn.character, end, turn.end_seconds, text)


def _turns(plan: Plan) -> tuple[Turn, ...]:
    from tasks.script.timeline import episode_turns

    return episode_turns(plan)


RULES: Mapping[str, Callable[[Preview], Iterator[Notice]]] = {
    "face-too-small": small_faces,
    "masks-overlap": overlapping_masks,
    "stem-silent": silent_stems,
    "clipping": clipping,
    "sample-rate": sample_rates,
    "speech-outside-shot": speech_outside,
}


def notices_of(preview: Preview) -> tuple[Notice, ...]:
    """Return everything to look at, in order of time."""
    found = (notice for rule in RULES.values() for notice in rule(preview))
    return tuple(sorted(found, key=lambda one: (one.start_seconds, one.shot, one.rule, one.character)))


def track_of(tracks: tuple[VoiceTrack, ...], character: str) -> list[VoiceTrack]:
    """Return a character's sound files."""
    return [track for track in tracks if track.character == character]
