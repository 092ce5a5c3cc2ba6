"""How long the plan of an hour takes: 400 shots, 4 stems, listening included; and how much memory.

python scripts/bench_plan.py [--minutes 60] [--shots 400]
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
PILOT = ROOT / "examples" / "pilot"
NAMES = ("ana", "ben", "cleo", "dan")


def write_hour(folder: Path, minutes: float, num_shots: int) -> Path:
    """Write stems in which the pilot's two voices take turns, four ways, and a manifest of equal shots."""
    voices = [soundfile.read(PILOT / "audio" / f"{name}.wav", dtype="int16")[0] for name in ("ana", "ben")]
    rate, length = 16_000, int(minutes * 60 * 16_000)
    for number, name in enumerate(NAMES):
        turn = np.concatenate([voices[number % 2] if slot == number else np.zeros_like(voices[0]) for slot in range(4)])
        with soundfile.SoundFile(folder / f"{name}.wav", "w", rate, 1, "PCM_16") as stem:
            for start in range(0, length, len(turn)):
                stem.write(turn[: length - start])
    picture = str((PILOT / "pictures" / "both.png").resolve())
    (folder / "both.png").write_bytes(Path(picture).read_bytes())
    face = {"x": 0.1, "y": 0.3, "w": 0.3, "h": 0.5}
    seconds = minutes * 60 / num_shots
    shots = [
        {
            "id": f"s{index:04d}",
            "plate": "both.png",
            "start_seconds": round(index * seconds, 3),
            "characters": [{"character": name, "face": {**face, "x": 0.02 + 0.24 * place, "w": 0.2}}
                           for place, name in enumerate(NAMES)],
        }
        for index in range(num_shots)
    ]  # fmt: skip
    manifest = {
        "version": 1,
        "episode": {"id": "hour", "title": "An hour", "size": {"width": 192, "height": 128}},
        "cast": {n: {"name": n, "portrait": "both.png", "consent": {"kind": "synthetic"}} for n in NAMES},
        "audio": {"stems": {name: f"{name}.wav" for name in NAMES}},
        "shots": shots,
    }
    path = folder / "episode.json"
    path.write_text(json.dumps(manifest))
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--shots", type=int, default=400)
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tasks.prepare import prepare

    with tempfile.TemporaryDirectory() as folder:
        manifest = write_hour(Path(folder), asked.minutes, asked.shots)
        begun, used = time.monotonic(), time.process_time()
        plan = prepare(manifest).plan
        wall, cpu = time.monotonic() - begun, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    segments = sum(len(shot.segments) for shot in plan.shots)
    turns = sum(len(shot.turns) for shot in plan.shots)
    size = f"{asked.minutes:g} min, {len(plan.shots)} shots, {len(NAMES)} stems"
    print(f"plan of {size}: {segments} segments, {turns} turns")
    print(f"wall {wall:.1f} s, CPU {cpu:.1f} s (limit 20 s), peak memory {peak:.0f} MB (limit 1000 MB)")


if __name__ == "__main__":
    main()
