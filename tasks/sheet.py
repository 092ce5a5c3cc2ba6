"""Thumbnails and contact sheets: a shot or a film at a glance, from frames as they pass by."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Frame = npt.NDArray[np.uint8]  # (height, width, 3) RGB
_MARGIN, _CAPTION = 6, 16
_PAPER, _INK = (24, 24, 28), (226, 226, 230)


@dataclass
class ContactSheet:
    """Keeps evenly spaced frames of a stream whose length is known; `offer` takes every frame in order."""

    num_frames: int
    fps: float
    title: str = ""
    tiles: int = 12
    columns: int = 4
    tile_width: int = 240
    _kept: dict[int, Image.Image] = field(default_factory=dict)
    _next: int = 0

    @property
    def wanted(self) -> tuple[int, ...]:
        """The frames that are shown: the middle of each of `tiles` equal parts."""
        count = min(self.tiles, self.num_frames)
        return tuple(dict.fromkeys((2 * k + 1) * self.num_frames // (2 * count) for k in range(count)))

    def offer(self, frames: Frame) -> None:
        """Look at the next frames, (n, height, width, 3) RGB bytes."""
        for index in self.wanted:
            if self._next <= index < self._next + len(frames):
                self.keep(index, frames[index - self._next])
        self._next += len(frames)

    def keep(self, index: int, frame: Frame) -> None:
        """Show this frame, whatever its place."""
        self._kept[index] = scaled(frame, self.tile_width)

    def save(self, path: Path) -> None:
        """Write the sheet as PNG or JPEG. Raises ValueError when no frame has been offered."""
        if not self._kept:
            raise ValueError(f"{path.name}: no frame was offered, there is nothing to show")
        height = max(tile.height for tile in self._kept.values())
        columns = min(self.columns, len(self._kept))
        rows = -(-len(self._kept) // columns)
        top = _MARGIN + (_CAPTION + 4 if self.title else 0)
        step_x, step_y = self.tile_width + _MARGIN, height + _CAPTION + _MARGIN
        sheet = Image.new("RGB", (columns * step_x + _MARGIN, rows * step_y + top), _PAPER)
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
        draw.text((_MARGIN, _MARGIN), self.title, _INK, ImageFont.load_default(size=14))
        for place, (index, tile) in enumerate(sorted(self._kept.items())):
            x, y = _MARGIN + place % columns * step_x, top + place // columns * step_y
            sheet.paste(tile, (x, y))
            draw.text((x, y + height + 1), f"{timecode(index, self.fps)}   frame {index}", _INK, font)
        sheet.save(path)


def scaled(frame: Frame, width: int) -> Image.Image:
    """Return a frame at another width: small pictures enlarged by whole pixels, large ones averaged."""
    image = Image.fromarray(frame)
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def save_thumbnail(frame: Frame, path: Path, width: int = 320) -> None:
    """Write one frame as a small picture."""
    scaled(frame, width).save(path)


def timecode(frame: int, fps: float) -> str:
    """Return minutes, seconds and hundredths of a frame's time."""
    hundredths = round(frame / fps * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def film_sheet(film: Path, out: Path, title: str = "", tiles: int = 12) -> None:
    """Write a contact sheet of a finished film; only what lies between key frames and the shown ones is decoded."""
    with av.open(str(film), format="mov", options={"protocol_whitelist": "file"}) as file:
        picture = file.streams.video[0]
        fps = float(picture.average_rate)
        sheet = ContactSheet(picture.frames, fps, title, tiles)
        for index in sheet.wanted:
            sheet.keep(index, _frame_at(file, picture, index, fps))
        sheet.save(out)


def _frame_at(file: Any, picture: Any, index: int, fps: float) -> Frame:
    ticks = 1 / (fps * float(picture.time_base))
    file.seek(round(index * ticks), stream=picture)
    for frame in file.decode(picture):
        if frame.pts >= round(index * ticks):
            return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    raise ValueError(f"frame {index} is behind the film's end")
