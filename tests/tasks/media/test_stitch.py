"""Films from shots' pictures and a mix: every frame once, every sample where it was, the same bytes each time."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from moving import HEIGHT, WIDTH, bars, numbers, write_shots, write_tone

from tasks.encode import PictureWriter, ffmpeg_path
from tasks.errors import CheckFailed, MediaError
from tasks.film_check import check_film, film_facts
from tasks.plan.layout import frame_at
from tasks.stitch import FilmSpec, film_frames, stitch

LENGTHS = (37, 1, 2, 50)


def decoded_sound(film: Path, channels: int) -> np.ndarray:
    command = [ffmpeg_path(), "-loglevel", "error", "-i", str(film), "-map", "0:a", "-f", "f64le", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.float64).reshape(-1, channels)


def decoded_picture(film: Path) -> np.ndarray:
    command = [ffmpeg_path(), "-loglevel", "error", "-i", str(film), "-map", "0:v", "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "gray", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH)


def picture_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(file.streams.video[0]) if packet.size]


@pytest.mark.parametrize(
    ("fps", "rate", "channels", "extra"),
    [(25, 16_000, 1, 0), (25, 44_100, 2, 137), (12.5, 48_000, 1, -511), (24, 48_000, 2, 1), (30, 22_050, 6, -300)],
)
def test_an_mp4_has_every_frame_once_and_sound_of_the_exact_length(tmp_path, fps, rate, channels, extra):
    shots, mix, film = write_shots(tmp_path, LENGTHS, fps), tmp_path / "mix.wav", tmp_path / "film.mp4"
    num_samples = round(sum(LENGTHS) * rate / fps) + extra
    write_tone(mix, num_samples, rate, channels)
    stitch(shots, mix, film, FilmSpec(fps))
    heard, given = decoded_sound(film, channels), soundfile.read(mix, always_2d=True)[0]
    assert heard.shape == given.shape
    assert np.corrcoef(heard[:, 0], given[:, 0])[0, 1] > 0.999, "the sound has moved"
    seen = decoded_picture(film)
    assert numbers(seen).tolist() == [index % WIDTH for index in range(sum(LENGTHS))]
    check_film(film, film_facts(mix, sum(LENGTHS), WIDTH, HEIGHT, fps, "mp4"), decode=True).require()


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(16_000, 1, "PCM_16"), (48_000, 2, "PCM_24"), (44_100, 1, "FLOAT")]
)
def test_a_mov_carries_the_mix_bit_by_bit(tmp_path, rate, channels, subtype):
    shots, mix, film = write_shots(tmp_path, (30, 20), 25, "mov"), tmp_path / "mix.wav", tmp_path / "film.mov"
    write_tone(mix, 2 * rate + 17, rate, channels, subtype)
    stitch(shots, mix, film, FilmSpec(25, "mov"))
    assert np.array_equal(decoded_sound(film, channels), soundfile.read(mix, always_2d=True)[0])
    assert len(decoded_picture(film)) == 50
    check_film(film, film_facts(mix, 50, WIDTH, HEIGHT, 25, "mov"), decode=True).require()


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_the_same_inputs_give_the_same_bytes(tmp_path, kind):
    mix = tmp_path / "mix.wav"
    write_tone(mix, 16_000)
    films = []
    for run in ("a", "b"):
        folder = tmp_path / run
        folder.mkdir()
        stitch(write_shots(folder, (20, 5), 25, kind), mix, folder / "film", FilmSpec(25, kind, "Título", "x"))
        films.append((folder / "film").read_bytes())
    assert films[0] == films[1]
    assert b"Lav" not in films[0].split(b"mdat")[0], "a version of a library would change the bytes with an upgrade"


def test_each_frame_is_encoded_once(tmp_path):
    shots, mix, film = write_shots(tmp_path, (20, 5)), tmp_path / "mix.wav", tmp_path / "film.mp4"
    write_tone(mix, 16_000)
    stitch(shots, mix, film, FilmSpec(25))
    assert picture_packets(film) == [packet for shot in shots for packet in picture_packets(shot.path)]


def test_the_film_says_that_it_is_synthetic_to_people_and_machines(tmp_path):
    shots, mix, film = write_shots(tmp_path, (25,)), tmp_path / "mix.wav", tmp_path / "film.mp4"
    write_tone(mix, 16_000)
    stitch(shots, mix, film, FilmSpec(25, title="Ten Meters", comment="By the studio."))
    with av.open(str(film)) as file:
        assert file.metadata["title"] == "Ten Meters"
        assert file.metadata["comment"].startswith("Synthetic media")
        assert file.metadata["comment"].endswith("By the studio.")
    assert b"trainedAlgorithmicMedia" in film.read_bytes()
    stitch(shots, mix, film, FilmSpec(25, synthetic_media=False))
    assert b"rainedAlgorithmicMedia" not in film.read_bytes()


def test_a_gain_changes_samples_and_nothing_else(tmp_path):
    shots, mix, film = write_shots(tmp_path, (25,), 25, "mov"), tmp_path / "mix.wav", tmp_path / "film.mov"
    write_tone(mix, 16_000)
    stitch(shots, mix, film, FilmSpec(25, "mov", gain=0.5))
    heard, given = decoded_sound(film, 1), soundfile.read(mix, always_2d=True)[0]
    assert heard.shape == given.shape
    assert np.abs(heard - given / 2).max() <= 1 / 32768


def test_frames_that_do_not_fit_the_sound_are_refused_and_nothing_is_left(tmp_path):
    shots, mix, film = write_shots(tmp_path, (25,)), tmp_path / "mix.wav", tmp_path / "film.mp4"
    write_tone(mix, 17_000)
    with pytest.raises(MediaError, match=r"25 frames, 1\.062 s of sound need 27"):
        stitch(shots, mix, film, FilmSpec(25))
    assert not list(tmp_path.glob("film*"))


def test_a_shot_with_other_settings_is_refused(tmp_path):
    shots, mix = write_shots(tmp_path, (15, 10)), tmp_path / "mix.wav"
    write_tone(mix, 16_000)
    with PictureWriter(shots[1].path, WIDTH, 2 * HEIGHT, 25) as writer:
        writer.write(np.zeros((10, 2 * HEIGHT, WIDTH, 3), np.uint8))
    with pytest.raises(MediaError, match=r"shot-1\.mp4 was encoded with other settings"):
        stitch(shots, mix, tmp_path / "film.mp4", FilmSpec(25))
    assert not list(tmp_path.glob("film*"))


def test_a_shot_that_lost_frames_is_refused(tmp_path):
    shots, mix = write_shots(tmp_path, (15, 10)), tmp_path / "mix.wav"
    write_tone(mix, 16_000)
    with PictureWriter(shots[1].path, WIDTH, HEIGHT, 25) as writer:
        writer.write(bars(0, 9))
    with pytest.raises(MediaError, match="has 9 frames, 10 were announced"):
        stitch(shots, mix, tmp_path / "film.mp4", FilmSpec(25))


def test_the_film_check_sees_what_is_wrong(tmp_path):
    shots, mix, film = write_shots(tmp_path, (25,)), tmp_path / "mix.wav", tmp_path / "film.mp4"
    write_tone(mix, 16_000)
    stitch(shots, mix, film, FilmSpec(25, synthetic_media=False))
    facts = film_facts(mix, 26, WIDTH, 128, 24, "mp4")
    found = " | ".join(check_film(film, facts).problems)
    for problem in ("frames: 25 instead of 26", "size", "frames per second", "frame 1 is not at its time", "label"):
        assert problem in found
    film.write_bytes(film.read_bytes()[:3000])
    with pytest.raises(CheckFailed, match=r"cannot be read|frames"):
        check_film(film, facts, decode=True).require()


@given(
    st.integers(1, 200_000_000),
    st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    st.sampled_from([12.5, 24.0, 25.0, 30.0]),
)
def test_frames_are_the_sound_rounded_exactly_and_the_shots_end_there_too(num_samples, rate, fps):
    frames = film_frames(num_samples, rate, fps)
    assert frames == frame_at(num_samples / rate, fps)
    assert abs(frames - Fraction(num_samples * int(2 * fps), 2 * rate)) <= Fraction(1, 2)


def test_halves_go_up_whatever_floats_make_of_them():
    assert frame_at(0.58, 25.0) == film_frames(9_280, 16_000, 25.0) == 15  # 14.5, and 14.499999999999998 in floats
    assert frame_at(0.14, 25.0) == film_frames(2_240, 16_000, 25.0) == 4
