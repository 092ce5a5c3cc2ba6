"""The paper's claims, measured on the small network: one table, and contact sheets beside the numbers.

Identities, backgrounds and voices here were never trained on. Directions are asserted in tests on a subset.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks import measures
from tasks.puppet.expression import EMOTIONS
from tasks.puppet.injection import injection_modes
from tasks.puppet.long_takes import long_takes
from tasks.puppet.perform import Film, Performance, Role, perform
from tasks.puppet.trial import (
    FRAMES,
    HELD_OUT,
    Row,
    Stage,
    duet,
    envelope,
    keep_sheet,
    mean_rows,
    mouths,
    open_stage,
    silence,
    speech_figures,
    stretch,
)
from tasks.puppet.world import SIZE, draw_plate, roomy_size

THREE_WINDOWS = 105  # frames: 27 latents


def masks(stage: Stage) -> Iterator[Row]:
    """Fig. 7b: the voice acts where its mask is."""
    films = []
    for name, changes in (
        ("mask on the speaker", {}),
        ("mask moved to the other", {"mask_order": (1, 0)}),
        ("no mask", {"masked": False}),
    ):
        found = []
        for case in range(stage.cases):
            play = duet(case, stage, **changes)
            film = perform(play, stage.parts)
            found.append(speech_figures(film, play.roles[0].samples, stage))
            films += [film] if case == 0 else []
        yield mean_rows("masks", name, found)
    keep_sheet(stage, "masks", films)


def casts(stage: Stage) -> Iterator[Row]:
    """Both speaking, turns that overlap, and three in a picture: wide enough for them, and as wide as for two."""
    films = []
    for name, count, speaking, size in (
        ("both speak", 2, (0, 1), SIZE),
        ("three, one speaks", 3, (1,), roomy_size(3)),
        ("three, all speak", 3, (0, 1, 2), roomy_size(3)),
        ("three in a picture for two, one speaks", 3, (1,), SIZE),
    ):
        found = []
        for case in range(stage.cases):
            voices = [stage.voices[(case + k) % len(stage.voices)] for k in range(count)]
            roles = tuple(Role(voices[k] if k in speaking else silence(), "neutral") for k in range(count))
            play = Performance(HELD_OUT + 50 + case, roles, FRAMES, noise_seed=case, size=size)
            film = perform(play, stage.parts)
            tracks, moving = [envelope(voices[k], FRAMES) for k in speaking], mouths(film, stage)
            table = measures.crosstalk([moving[k] for k in speaking], tracks)
            quiet = [measures.activity(m) for k, m in enumerate(moving) if k not in speaking]
            other = table[~np.eye(len(table), dtype=bool)]
            active = float(np.mean([measures.activity(moving[k]) for k in speaking]))
            found.append({
                "own corr": float(np.diag(table).mean()), "others corr": float(other.mean()) if other.size else 0.0,
                "active": active, "quiet": float(np.mean(quiet)) if quiet else 0.0,
                "quiet/active": float(np.mean(quiet)) / active if quiet else 0.0,
            })  # fmt: skip
            films += [film] if case == 0 else []
        yield mean_rows("casts", name, found)
    for width in dict.fromkeys(film.plate.shape[1] for film in films):
        name = "casts" if width == SIZE[0] else "casts-wide"
        keep_sheet(stage, name, [film for film in films if film.plate.shape[1] == width])
    yield overlapping_turns(stage)


def overlapping_turns(stage: Stage) -> Row:
    """The left one speaks in the first three fifths, the right one in the last three: a fifth together."""
    found, shared = [], FRAMES * 2 // 5
    for case in range(stage.cases):
        voices = [stage.voices[(case + k) % len(stage.voices)].copy() for k in range(2)]
        samples = len(voices[0]) // FRAMES
        voices[0][(FRAMES - shared) * samples :] = 0
        voices[1][: shared * samples] = 0
        film = perform(
            Performance(HELD_OUT + 80 + case, tuple(Role(v, "neutral") for v in voices), FRAMES), stage.parts
        )
        tracks, (left, right) = [envelope(voice, FRAMES) for voice in voices], mouths(film, stage)
        table = measures.crosstalk([left, right], tracks)
        speaking = (measures.activity(left[: FRAMES - shared]) + measures.activity(right[shared:])) / 2
        resting = (measures.activity(left[FRAMES - shared + 2 :]) + measures.activity(right[: shared - 2])) / 2
        found.append({
            "own corr": float(np.diag(table).mean()), "others corr": float(table[0, 1] + table[1, 0]) / 2,
            "active": speaking, "quiet": resting, "quiet/active": resting / speaking,
        })  # fmt: skip
    return mean_rows("casts", "turns that overlap", found)


def emotions(stage: Stage) -> Iterator[Row]:
    """Fig. 7a: emotion read back with the module, without it, and at half strength; identity stays."""
    films = []
    for name, strength in (("picture of somebody else", 1.0), ("half strength", 0.5), ("module off", 0.0)):
        right, own, other = [], [], []
        for case in range(stage.cases):
            for index, emotion in enumerate(EMOTIONS):
                role = Role(stage.voices[case % len(stage.voices)], emotion if strength else "", max(strength, 0.01))
                film = perform(Performance(HELD_OUT + 100 + case, (role,), 33, noise_seed=index), stage.parts)
                right.append(measures.emotion_of(film.frames, film.plate, film.boxes[0], stage.probe) == emotion)
                own.append(measures.identity_error(film.frames, film.plate, film.boxes[0]))
                stranger = draw_plate(HELD_OUT + 170 + case + index, 1)[0]
                other.append(measures.identity_error(film.frames, stranger, film.boxes[0]))
                films += [film] if case == 0 and strength == 1.0 else []
        yield Row(
            "emotion",
            name,
            {"read back": float(np.mean(right)), "own face": float(np.mean(own)), "a stranger": float(np.mean(other))},
        )
    keep_sheet(stage, "emotion", films)


def few_steps(stage: Stage) -> Iterator[Row]:
    """Steps against fifty of them, and what a film second costs."""
    films = []
    best = [perform(duet(case, stage, steps=50), stage.parts) for case in range(stage.cases)]
    for steps in (1, 2, 4, 6, 12, 50):
        found = []
        for case in range(stage.cases):
            play = duet(case, stage, steps=steps)
            begun = time.perf_counter()
            film = perform(play, stage.parts)
            seconds = time.perf_counter() - begun
            error = float(((film.frames.astype(float) - best[case].frames) ** 2).mean())
            psnr = 10 * np.log10(255**2 / max(error, 0.01))
            found.append(
                {
                    **speech_figures(film, play.roles[0].samples, stage),
                    "PSNR to 50": psnr,
                    "film s/s": FRAMES / 25 / seconds,
                }
            )
            films += [film] if case == 0 else []
        yield mean_rows("steps", str(steps), found)
    keep_sheet(stage, "steps", films)


def caches(stage: Stage, steps: int = 50) -> Iterator[Row]:
    """The approximate caches on a take of three windows: error and seams beside time."""
    speaker = Role(stretch(stage.voices[0], THREE_WINDOWS), "neutral")
    roles = (speaker, Role(silence(THREE_WINDOWS), "neutral"))
    play = duet(0, stage, roles=roles, num_frames=THREE_WINDOWS, steps=steps)
    base = 0.0
    exact: Film | None = None
    for name, changes in (
        ("off", {}),
        ("features, released rule", {"cache": "released", "hold_shift": False}),
        ("features, held shift", {"cache": "released"}),
        ("residual", {"cache": "residual"}),
    ):
        begun = time.process_time()
        film = perform(replace(play, **changes), stage.parts)
        seconds = time.process_time() - begun
        base, exact = base or seconds, exact or film
        error = float(np.abs(film.frames.astype(float) - exact.frames).mean() / 255)
        yield Row(
            "cache",
            name,
            {
                **speech_figures(film, speaker.samples, stage),
                "error %": 100 * error,
                "seam": measures.seam_ratio(film.frames, (9, 18)),
                "CPU": seconds / base,
            },
        )


def knobs(stage: Stage) -> Iterator[Row]:
    """Every motion and prompt knob, low and high."""
    films = []
    trials: tuple[tuple[str, dict[str, object]], ...] = (
        ("plain", {}), ("head 0", {"head": 0.0}), ("head 1", {"head": 1.0}), ("expression 0", {"expression": 0.0}),
        ("expression 1", {"expression": 1.0}), ("12.5 fps", {"fps": 12.5}), ("prompt night", {"prompt": "night"}),
        ("prompt sunset", {"prompt": "sunset"}), ("prompt blue hair", {"prompt": "blue hair"}),
        ("prompt pink hair", {"prompt": "pink hair"}),
    )  # fmt: skip
    for name, changes in trials:
        found = []
        for case in range(stage.cases):
            film = perform(duet(case, stage, **changes), stage.parts)
            found.append(knob_figures(film, stage))
            films += [film] if case == 0 else []
        yield mean_rows("knobs", name, found)
    for strength in (0.4, 1.5):
        roles = (Role(stage.voices[0], "neutral", voice=strength), Role(silence(), "neutral"))
        film = perform(duet(0, stage, roles=roles), stage.parts)
        yield Row("knobs", f"voice {strength}", knob_figures(film, stage))
    keep_sheet(stage, "knobs", films)


def knob_figures(film: Film, stage: Stage) -> dict[str, float]:
    """Return head motion, mouth motion, brightness and the blue and red of the hair of the first face."""
    box = film.boxes[0]
    height, width = film.plate.shape[:2]
    x0, x1 = int(box.x * width), int((box.x + box.w) * width)
    top = slice(max(0, int((box.y - 0.1 * box.h) * height)), int((box.y + 0.08 * box.h) * height))
    rim = film.frames[:, int(box.y * height) : int((box.y + box.h) * height), x0:x1].astype(np.float32)
    hair = film.frames[:, top, x0 + (x1 - x0) // 4 : x1 - (x1 - x0) // 4].mean(axis=(0, 1, 2))
    return {
        "face moves": float(rim.std(axis=0).mean() / 255), "mouth": measures.activity(mouths(film, stage)[0]),
        "light": float(film.frames.mean() / 255), "hair red": hair[0] / 255, "hair blue": hair[2] / 255,
    }  # fmt: skip


GROUPS: dict[str, Callable[[Stage], Iterator[Row]]] = {
    "masks": masks, "casts": casts, "emotion": emotions, "injection": injection_modes, "long-take": long_takes,
    "steps": few_steps, "cache": caches, "knobs": knobs,
}  # fmt: skip


def run_ablations(out: Path | None, cases: int, only: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the table line by line and leave the contact sheets in `out`.

    Raises: ValueError for a group that does not exist.
    """
    unknown = set(only) - set(GROUPS)
    if unknown:
        raise ValueError(f"no ablation {sorted(unknown)}; there are {', '.join(GROUPS)}")
    stage = open_stage(cases, out)
    for name, group in GROUPS.items():
        if not only or name in only:
            yield from (str(row) for row in group(stage))
