"""Print the peak memory of decode -> checks -> encode -> stitch -> film check for films of different lengths.

Every length runs in a process of its own, so that its peak is its own; the kernel counts it (Linux). The command
fails when the longest film needs noticeably more than the shortest: memory must not depend on the episode's length, but
for the film's own index. The frames are drawn, or with `--source vae` decoded from noise by a very small autoencoder.

    python scripts/bench_stream.py --minutes 10 60
    python scripts/bench_stream.py --minutes 10 60 --source vae --size 32x32 --take-seconds 600
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tasks.checks import ShotChecker, ShotFacts
from tasks.encode import PictureWriter, rgb8
from tasks.film_check import check_film, film_facts
from tasks.sheet import ContactSheet
from tasks.stitch import FilmSpec, ShotPicture, stitch

FPS, RATE = 25.0, 16_000
PIECE_FRAMES = 48  # what a decoder hands over at a time
Pixels = npt.NDArray[np.uint8]
Source = Callable[[int, int, int, int], Iterator[Pixels]]
INDEX_BYTES = 100  # of memory per packet of the film: its place, size and time, held until the file is closed


def main() -> int:
    """Run every length and compare; exit code 1 when memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--size", default="96x64", help="width x height of the frames")
    parser.add_argument("--take-seconds", type=int, default=15, help="length of a shot")
    parser.add_argument("--source", choices=["drawn", "vae"], default="drawn", help="where frames come from")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    if options.one:
        source = decoder_source() if options.source == "vae" else drawn_picture
        print(json.dumps(film_of(options.minutes[0], options.take_seconds, width, height, source)))
        return 0
    same = ["--size", options.size, "--source", options.source, "--take-seconds", str(options.take_seconds)]
    results = [in_own_process(minutes, same) for minutes in options.minutes]
    print(f"{'minutes':>8} {'frames':>8} {'peak MB':>8} {'film MB':>8} {'s':>6}")
    for row in results:
        print(f"{row['minutes']:8g} {row['frames']:8.0f} {row['peak_mb']:8.1f} ", end="")
        print(f"{row['film_mb']:8.1f} {row['seconds']:6.1f}")
    first, last = results[0], results[-1]
    growth = last["peak_mb"] - first["peak_mb"]
    index = (last["minutes"] - first["minutes"]) * 60 * (FPS + RATE / 1024) * INDEX_BYTES / 1e6
    allowed = index + 0.1 * first["peak_mb"]
    print(f"growth {growth:.1f} MB, allowed {allowed:.1f} MB ({index:.1f} MB for the film's own index)")
    return int(growth > allowed)


def in_own_process(minutes: float, options: list[str]) -> dict[str, float]:
    """Return the figures of one film, made by a fresh process."""
    command = [sys.executable, __file__, "--one", "--minutes", str(minutes), *options]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return result


def film_of(minutes: float, take_seconds: int, width: int, height: int, source: Source) -> dict[str, float]:
    """Make a film and return its figures: this process's peak in megabytes (ffmpeg lives for one shot), seconds."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        list(render_shots(folder, 4, 4, width, height, source))  # libraries set up their own memory the first time
        forget_peak()
        write_mix(folder / "mix.wav", round(minutes * 60 * RATE))
        shots = list(render_shots(folder, round(minutes * 60), take_seconds, width, height, source))
        film = folder / "film.mp4"
        stitch(shots, folder / "mix.wav", film, FilmSpec(FPS, title="bench"))
        num_frames = sum(shot.num_frames for shot in shots)
        check_film(film, film_facts(folder / "mix.wav", num_frames, width, height, FPS, "mp4")).require()
        film_mb = film.stat().st_size / 1e6
    seconds = time.monotonic() - started
    figures = {"minutes": minutes, "frames": num_frames, "peak_mb": peak_megabytes()}
    return {**figures, "film_mb": film_mb, "seconds": seconds}


def forget_peak() -> None:
    """Let the kernel count this process's peak memory from here on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> float:
    """Return the largest resident memory since the start or `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def render_shots(
    folder: Path, seconds: int, take_seconds: int, width: int, height: int, source: Source
) -> Iterator[ShotPicture]:
    """Yield the film's shots, each checked, encoded and put on a contact sheet as its frames pass by."""
    for first in range(0, seconds, take_seconds):
        num_frames = round(min(take_seconds, seconds - first) * FPS)
        name = f"shot-{first:05d}"
        checker = ShotChecker(ShotFacts(name, num_frames, width, height, FPS))
        sheet = ContactSheet(num_frames, FPS, name)
        with PictureWriter(folder / f"{name}.mp4", width, height, FPS) as writer:
            for frames in source(first, num_frames, width, height):
                checker.feed(frames)
                sheet.offer(frames)
                writer.write(frames)
        checker.verdict().require()
        sheet.save(folder / f"{name}.png")
        yield ShotPicture(folder / f"{name}.mp4", num_frames)


def drawn_picture(seed: int, num_frames: int, width: int, height: int) -> Iterator[Pixels]:
    """Yield frames in pieces, as a decoder does: a textured scene that drifts."""
    scene = np.random.default_rng(seed).integers(40, 200, (height // 8, width // 8, 3), np.uint8)
    scene = scene.repeat(8, axis=0).repeat(8, axis=1)
    for first in range(0, num_frames, PIECE_FRAMES):
        count = min(PIECE_FRAMES, num_frames - first)
        yield np.stack([np.roll(scene, first + index, axis=1) for index in range(count)])


def decoder_source() -> Source:
    """Return a source of frames that a very small autoencoder makes of noise, one tile of time after the other."""
    import torch

    from model.config import VaeConfig
    from model.vae import build_vae, stream_frames

    torch.set_num_threads(1)
    vae = build_vae(VaeConfig(channels=(4, 4, 4, 4), layers_per_block=1, norm_groups=2)).eval()

    def decoded_picture(seed: int, num_frames: int, width: int, height: int) -> Iterator[Pixels]:
        generator = torch.Generator().manual_seed(seed)
        rows, columns, left = height // 8, width // 8, num_frames

        def read(start: int, end: int) -> torch.Tensor:
            return torch.randn(16, end - start, rows, columns, generator=generator)

        for decoded in stream_frames(vae, read, (num_frames + 2) // 4 + 1, rows, columns):
            yield rgb8(decoded[:left].numpy())
            left -= len(decoded[:left])

    return decoded_picture


def write_mix(path: Path, num_samples: int) -> None:
    """Write quiet noise, a minute at a time."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for first in range(0, num_samples, 60 * RATE):
            file.write(rng.normal(0, 0.05, min(60 * RATE, num_samples - first)).astype(np.float32))


if __name__ == "__main__":
    sys.exit(main())
