"""Contact sheets show the frames that they say they show."""

import numpy as np
import pytest
from moving import WIDTH, bars, write_shots, write_tone
from PIL import Image

from tasks.sheet import ContactSheet, film_sheet, save_thumbnail, timecode
from tasks.stitch import FilmSpec, stitch


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def columns_of(path, tiles: int, columns: int = 4, top: int = 6) -> list[int]:
    """Return the column of the white bar in each tile of a sheet without a title."""
    sheet = np.asarray(Image.open(path).convert("L")).astype(float)
    seen = []
    for place in range(tiles):
        x, y = 6 + place % columns * (WIDTH + 6), top + place // columns * (64 + 16 + 6)
        seen.append(int(sheet[y : y + 64, x : x + WIDTH].mean(axis=0).argmax()))
    return seen


def test_tiles_are_evenly_spaced(tmp_path):
    sheet = ContactSheet(90, 25, tile_width=WIDTH)
    for first in range(0, 90, 8):
        sheet.offer(bars(first, min(8, 90 - first)))
    sheet.save(tmp_path / "sheet.png")
    wanted = [(2 * k + 1) * 90 // 24 for k in range(12)]
    assert list(sheet.wanted) == wanted
    assert columns_of(tmp_path / "sheet.png", 12) == wanted


def test_a_short_shot_has_fewer_tiles(tmp_path):
    sheet = ContactSheet(3, 25, "three frames", tile_width=WIDTH)
    sheet.offer(bars(0, 3))
    sheet.save(tmp_path / "sheet.png")
    assert sheet.wanted == (0, 1, 2)
    assert size_of(tmp_path / "sheet.png")[0] == 3 * (WIDTH + 6) + 6


def test_nothing_shown_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no frame was offered"):
        ContactSheet(9, 25).save(tmp_path / "sheet.png")


def test_a_films_sheet_shows_the_frames_it_names(tmp_path):
    shots, mix, film = write_shots(tmp_path, (60, 30)), tmp_path / "mix.wav", tmp_path / "film.mp4"
    write_tone(mix, 57_600)
    stitch(shots, mix, film, FilmSpec(25))
    film_sheet(film, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width == 4 * 246 + 6
    pixels, wanted = np.asarray(sheet.convert("L")).astype(float), [(2 * k + 1) * 90 // 24 for k in range(12)]
    for place, index in enumerate(wanted):
        x, y = 6 + place % 4 * 246, 6 + place // 4 * (160 + 22)
        column = pixels[y : y + 160, x : x + 240].mean(axis=0).argmax() / 240 * WIDTH
        assert column == pytest.approx(index, abs=1.5)


def test_a_thumbnail_keeps_the_aspect(tmp_path):
    save_thumbnail(bars(5, 1)[0], tmp_path / "thumb.jpg", 48)
    assert size_of(tmp_path / "thumb.jpg") == (48, 32)


def test_timecodes_count_minutes():
    assert [timecode(frame, 25) for frame in (0, 1, 1499, 1500, 90_000)] == [
        "00:00.00", "00:00.04", "00:59.96", "01:00.00", "60:00.00",
    ]  # fmt: skip
