"""Sums of stems and loudness, against plain arithmetic and against ffmpeg."""

import re
import subprocess

import numpy as np
import pytest
import soundfile
from moving import write_tone

from tasks.encode import ffmpeg_path
from tasks.errors import MediaError
from tasks.loudness import gain_to, measure
from tasks.sound import BLOCK, PlacedStem, sound_blocks, sound_facts, sum_stems


def test_stems_are_summed_where_they_are_placed(tmp_path):
    write_tone(tmp_path / "ana.wav", 2 * BLOCK + 321, subtype="PCM_24")
    write_tone(tmp_path / "ben.wav", 5_000)
    total = 3 * BLOCK + 7
    stems = [PlacedStem(tmp_path / "ana.wav"), PlacedStem(tmp_path / "ben.wav", (BLOCK - 100) / 16_000)]
    sum_stems(stems, total, tmp_path / "sum.wav")
    wanted = np.zeros(total)
    wanted[: 2 * BLOCK + 321] += soundfile.read(tmp_path / "ana.wav")[0]
    wanted[BLOCK - 100 : BLOCK + 4_900] += soundfile.read(tmp_path / "ben.wav")[0]
    given, rate = soundfile.read(tmp_path / "sum.wav")
    assert rate == 16_000
    assert np.abs(given - wanted).max() < 1e-7


def test_a_stem_longer_than_the_film_is_cut(tmp_path):
    write_tone(tmp_path / "ana.wav", 9_000)
    sum_stems([PlacedStem(tmp_path / "ana.wav", 0.25)], 8_000, tmp_path / "sum.wav")
    given = soundfile.read(tmp_path / "sum.wav")[0]
    assert np.array_equal(given[4_000:], soundfile.read(tmp_path / "ana.wav")[0][:4_000])
    assert not given[:4_000].any()


def test_mono_goes_to_both_channels(tmp_path):
    write_tone(tmp_path / "ana.wav", 4_000)
    write_tone(tmp_path / "band.wav", 4_000, channels=2)
    sum_stems([PlacedStem(tmp_path / "ana.wav"), PlacedStem(tmp_path / "band.wav")], 4_000, tmp_path / "sum.wav")
    ana, band = (soundfile.read(tmp_path / name, always_2d=True)[0] for name in ("ana.wav", "band.wav"))
    assert np.abs(soundfile.read(tmp_path / "sum.wav")[0] - (ana + band)).max() < 1e-7


def test_a_sum_that_would_clip_is_lowered_as_a_whole(tmp_path):
    loud = np.sin(np.arange(16_000) / 9) * 0.9
    soundfile.write(tmp_path / "a.wav", loud, 16_000)
    sum_stems([PlacedStem(tmp_path / "a.wav")] * 3, 16_000, tmp_path / "sum.wav")
    given = soundfile.read(tmp_path / "sum.wav")[0]
    assert 0.99 < np.abs(given).max() <= 1.0
    assert np.corrcoef(given, loud)[0, 1] > 0.999999


def test_different_rates_have_no_sum(tmp_path):
    write_tone(tmp_path / "ana.wav", 4_000)
    write_tone(tmp_path / "ben.wav", 4_000, rate=48_000)
    with pytest.raises(MediaError, match=r"\[16000, 48000\]"):
        sum_stems([PlacedStem(tmp_path / "ana.wav"), PlacedStem(tmp_path / "ben.wav")], 4_000, tmp_path / "sum.wav")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_the_exact_type_takes_samples_unchanged(tmp_path, subtype):
    write_tone(tmp_path / "a.wav", 4_000, subtype=subtype)
    facts = sound_facts(tmp_path / "a.wav")
    blocks = np.concatenate(list(sound_blocks(tmp_path / "a.wav", facts.exact, 999)))
    scale = 2.0 ** (8 * blocks.dtype.itemsize - 1) if blocks.dtype.kind == "i" else 1.0
    assert np.array_equal(blocks / scale, soundfile.read(tmp_path / "a.wav", always_2d=True)[0])


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 6)])
def test_loudness_agrees_with_ffmpeg(tmp_path, rate, channels):
    rng, path = np.random.default_rng(rate), tmp_path / "speech.wav"
    noise = rng.standard_normal((12 * rate, channels)) * 0.05
    noise[4 * rate : 6 * rate] *= 0.001  # a pause, below the gates
    soundfile.write(path, noise * np.linspace(0.4, 1, channels), rate, subtype="PCM_24")
    command = [ffmpeg_path(), "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128", "-f", "null", "-"]
    words = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    theirs = float(re.findall(r"I:\s+(-?[\d.]+) LUFS", words)[-1])
    assert abs(measure(path)[0] - theirs) < 0.11  # ffmpeg prints one digit


def test_a_gain_reaches_its_target_or_stops_at_the_peaks(tmp_path):
    path = tmp_path / "a.wav"
    write_tone(path, 48_000)
    quieter = gain_to(path, -30.0)
    soundfile.write(tmp_path / "b.wav", soundfile.read(path)[0] * quieter, 16_000, subtype="FLOAT")
    assert measure(tmp_path / "b.wav")[0] == pytest.approx(-30.0, abs=0.05)
    assert gain_to(path, -5.0) * measure(path)[1] == pytest.approx(10 ** (-1 / 20))


def test_silence_has_no_gain(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    with pytest.raises(MediaError, match="is silent"):
        gain_to(tmp_path / "a.wav", -16.0)
