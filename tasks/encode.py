"""Frames to a shot's picture file: raw frames through one pipe into ffmpeg, each frame encoded exactly once.

Pictures are made so that a film is their packets one after the other: no B-frames, closed groups, equal headers. The
same frames give the same bytes (one thread, no version or clock in the file).
"""

import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import ffmpeg
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

from tasks.errors import MediaError

Container = Literal["mp4", "mov"]
Frames = npt.NDArray[np.uint8]  # (frames, height, width, 3) RGB

CRF = 16  # visually lossless; the release's own 23 is a known cause of blurry films
GROUP_SECONDS = 2.0  # distance of key frames: seeking stays fast
TICKS_PER_FRAME = 512


def ffmpeg_path() -> str:
    """Return the ffmpeg binary that came with its wheel."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def rgb8(decoded: npt.NDArray[np.floating[Any]]) -> Frames:
    """Return a decoder's frames (n, 3, height, width), -1..1, as RGB bytes (n, height, width, 3), rounded.

    The released code truncates instead, which darkens every picture by half a step.
    """
    levels = np.rint(np.clip(decoded, -1, 1) * 127.5 + 127.5).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 1, 3))


class PictureWriter:
    """Writes one shot's picture. Used as a context; after an exception the unfinished file is removed.

    mp4: H.264, 4:2:0, CRF 16. mov: ProRes 422 HQ, 10 bits. Both BT.709.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, container: Container = "mp4") -> None:
        self.path, self.width, self.height = path, width, height
        self.num_frames = 0
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        command = picture_command(path, width, height, fps, container)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self._errors, stdout=subprocess.DEVNULL)

    def write(self, frames: Frames) -> None:
        """Append frames, (n, height, width, 3) RGB bytes.

        Raises: ValueError for another shape or type; MediaError when ffmpeg has stopped.
        """
        if frames.dtype != np.uint8 or frames.shape[1:] != (self.height, self.width, 3):
            wanted = f"(n, {self.height}, {self.width}, 3) uint8"
            raise ValueError(f"frames are {frames.shape} {frames.dtype}, {self.path.name} takes {wanted}")
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise ValueError(f"{self.path.name} is closed; frames after the end have no place")
        try:
            for frame in frames:
                pipe.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError as exc:
            raise MediaError(f"{self.path.name}: ffmpeg stopped: {self._reason()}") from exc
        self.num_frames += len(frames)

    def close(self) -> None:
        """Finish the file. Raises MediaError when ffmpeg says that it could not."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):  # its exit code tells
                pipe.close()
        code = self._process.wait()
        reason = self._reason()
        self._errors.close()
        if code or self.num_frames == 0:
            self.path.unlink(missing_ok=True)
            raise MediaError(f"{self.path.name}: ffmpeg ended with {code} after {self.num_frames} frames: {reason}")

    def abandon(self) -> None:
        """Stop ffmpeg and remove the unfinished file."""
        self._process.kill()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # what was still buffered is not wanted
                self._process.stdin.close()
        self._process.wait()
        self._errors.close()
        self.path.unlink(missing_ok=True)

    def _reason(self) -> str:
        if self._errors.closed:
            return "closed"
        self._errors.seek(0)
        return self._errors.read()[-2000:].decode(errors="replace").strip() or "no message"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()


def picture_command(path: Path, width: int, height: int, fps: float, container: Container) -> list[str]:
    """Return the command that encodes raw RGB frames from its standard input."""
    frames = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=f"{fps:g}")
    colours = frames.filter(
        "scale", in_range="full", out_range="tv", out_color_matrix="bt709", flags="accurate_rnd+full_chroma_int+bicubic"
    ).filter("setparams", range="tv", colorspace="bt709", color_primaries="bt709", color_trc="bt709")
    common: dict[str, Any] = {
        "threads": 1, "an": None, "fflags": "+bitexact", "flags:v": "+bitexact", "map_metadata": -1,
        "video_track_timescale": round(fps * TICKS_PER_FRAME),
    }  # fmt: skip
    group = round(fps * GROUP_SECONDS)
    codec: dict[str, Any] = {
        "mp4": {
            "vcodec": "libx264", "pix_fmt": "yuv420p", "crf": CRF, "preset": "medium", "profile:v": "high", "bf": 0,
            "g": group, "x264-params": "open-gop=0:repeat-headers=0", "f": "mp4",
        },
        "mov": {"vcodec": "prores_ks", "profile:v": 3, "pix_fmt": "yuv422p10le", "vendor": "apl0", "f": "mov"},
    }[container]  # fmt: skip
    output = ffmpeg.output(colours, str(path), **common, **codec).global_args("-loglevel", "error", "-nostdin")
    return [str(word) for word in ffmpeg.compile(output, cmd=ffmpeg_path(), overwrite_output=True)]
