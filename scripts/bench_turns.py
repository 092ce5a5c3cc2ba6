"""Prints how wrong turns from stems are, how fast they come, and what an hour of four stems needs.

    python scripts/bench_turns.py                     the table, 40 s a conversation
    python scripts/bench_turns.py --speech FOLDER     with other recordings: SPEAKER_anything.wav, 16 kHz or not
    python scripts/bench_turns.py --hour              speed and peak memory on one hour of four stems, on one core

Diarization error rate: collar 0.25 s, overlaps count, names known. Plain: the same voice activity without the gate.
"""

import argparse
import itertools
import os
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import soundfile
import torch

from tasks.speech.clips import load_clips
from tasks.speech.conversation import Recipe, make_conversation
from tasks.speech.gate import speaking
from tasks.speech.score import diarization_error
from tasks.speech.turns import plain_turns, stem_features, turns_from_activity, turns_from_stems

SPEECH = Path(__file__).parents[1] / "tests" / "data" / "speech"


def rates(clips: dict[str, list[np.ndarray]], recipe: Recipe, seed: int) -> tuple[float, float]:
    """Return the error rates of one conversation, with the gate and without it."""
    made = make_conversation(clips, recipe, seed)
    features = stem_features(made.stems)
    gated = turns_from_activity(features.names, speaking(features), features.num_samples / 16_000)
    return diarization_error(made.turns, gated).rate, diarization_error(made.turns, plain_turns(features)).rate


def table(folder: Path, seconds: float, seeds: int) -> None:
    """Print one row for every number of speakers, overlap and bleed: the mean over noise levels, rooms and seeds."""
    print("speakers  overlap  bleed      gate  worst   plain VAD")
    worst, everything = 0.0, []
    for speakers, overlap, bleed in itertools.product((2, 3, 4), (0.0, 0.1, 0.2), (-12.0, -20.0, -30.0)):
        clips, found = load_clips(folder, speakers), []
        for seed, (snr, room) in itertools.product(range(seeds), ((40.0, 0.0), (25.0, 0.3), (12.0, 0.0))):
            found.append(rates(clips, Recipe(seconds, overlap, bleed, snr, 6.0, room), seed))
        gate, plain = np.mean(found, axis=0)
        most = max(one for one, _ in found)
        worst = max(worst, most)
        everything += [one for one, _ in found]
        print(f"{speakers:8d} {overlap:8.0%} {bleed:4.0f} dB {gate:8.1%} {most:6.1%} {plain:11.1%}", flush=True)
    print(
        f"mean {np.mean(everything):.2%}, worst conversation {worst:.2%}; noise 40, 25, 12 dB under the voice; limit 5%"
    )


def hour(folder: Path, seconds: float) -> None:
    """Print speed and peak memory for four stems of an hour, read from files."""
    torch.set_num_threads(1)
    made = make_conversation(load_clips(folder, 4), Recipe(60.0), 0)
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for name, samples in made.stems.items():
            files[name] = Path(scratch) / f"{name}.wav"
            with soundfile.SoundFile(files[name], "w", 16_000, 1, "PCM_16") as out:
                for _ in range(round(seconds * 16_000 / len(samples))):
                    out.write(samples)
        length = soundfile.info(files[name]).duration
        start, cpu = time.perf_counter(), time.process_time()
        turns = turns_from_stems(files)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{length / 60:.1f} minutes of 4 stems, {len(turns)} turns: {cpu:.1f} CPU-seconds, {wall:.1f} s by the clock")
    print(f"{length / cpu:.0f} x real time on one core; peak memory {peak:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hour", action="store_true")
    asked = parser.parse_args()
    if asked.hour:
        hour(asked.speech, asked.seconds or 3600.0)
    else:
        table(asked.speech, asked.seconds or 40.0, asked.seeds)
