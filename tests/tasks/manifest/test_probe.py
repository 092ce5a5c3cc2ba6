"""Media are looked at within limits: what lies, hides or never ends is refused before it costs anything."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from studio_media import draw_plate, png_header, tone

from tasks.errors import ManifestError
from tasks.manifest.paths import BadMedia, locate
from tasks.manifest.probe import probe, sha256_of
from tasks.manifest.read import read_manifest


def refused(path: Path, kind) -> str:
    with pytest.raises(BadMedia) as problem:
        probe(path, kind)
    return problem.value.rule


def sparse_wav(path: Path, seconds: int, rate: int = 8_000) -> Path:
    """Write silence, 8 bits a sample, as a hole in the file."""
    size = seconds * rate
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, rate, rate, 1, 8, b"data", size
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return path


def test_facts_are_those_of_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(0.5, 99, 48_000)] * 2, axis=1), 48_000, subtype="PCM_24")
    fact = probe(tmp_path / "a.wav", "mix", "sound/a.wav")
    assert (fact.path, fact.seconds, fact.sample_rate, fact.channels, fact.num_samples) == (
        "sound/a.wav",
        0.5,
        48_000,
        2,
        24_000,
    )
    assert fact.sha256 == sha256_of(tmp_path / "a.wav")
    assert fact.num_bytes == (tmp_path / "a.wav").stat().st_size


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "FLAC"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_sound_that_ends_early_is_refused_in_every_format(tmp_path, kind, share):
    path = tmp_path / f"a.{ {'WAV': 'wav', 'RF64': 'wav', 'AIFF': 'aiff', 'FLAC': 'flac'}[kind] }"
    noise = np.random.default_rng(0).normal(0, 0.1, 40_000)
    soundfile.write(path, noise, 16_000, subtype="PCM_16", format=kind)
    assert probe(path, "stem").num_samples == 40_000
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert refused(path, "stem") == "media-truncated"


def test_a_sound_of_many_hours_is_refused_without_reading_it(tmp_path):
    assert refused(sparse_wav(tmp_path / "a.wav", 4 * 3600 + 1), "stem") == "media-too-long"


def test_a_file_beyond_its_bytes_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "plate.png"
    with path.open("wb") as file:
        file.write(png_header(64, 64))
        file.truncate(101 << 20)
    assert refused(path, "picture") == "media-too-large"


@pytest.mark.parametrize("side", [6_400, 30_000, 2**31 - 1])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    tracemalloc.start()
    rule = refused(path, "picture")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rule == "media-too-many-pixels"
    assert peak < 20_000_000  # decoded it would take 120 MB; a first picture also loads its reader


def test_a_text_bomb_in_a_picture_is_refused(tmp_path):
    bomb = b"iTXt" + b"note\0\1\0\0\0" + zlib.compress(bytes(80_000_000), 9)
    chunk = struct.pack(">I", len(bomb) - 4) + bomb + struct.pack(">I", zlib.crc32(bomb))
    draw_plate(64, 64).save(tmp_path / "plate.png")
    whole = (tmp_path / "plate.png").read_bytes()
    (tmp_path / "plate.png").write_bytes(whole[:33] + chunk + whole[33:])
    assert refused(tmp_path / "plate.png", "picture") == "media-truncated"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_every_truncated_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"plate.{suffix}"
    draw_plate(192, 128).save(path)
    assert (probe(path, "picture").width, probe(path, "picture").height) == (192, 128)
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert refused(path, "picture") in ("media-truncated", "picture-too-small")


def test_an_opaque_alpha_channel_is_fine(tmp_path):
    draw_plate(64, 64).convert("RGBA").save(tmp_path / "plate.png")
    assert probe(tmp_path / "plate.png", "picture").width == 64
    Image.new("I;16", (64, 64)).save(tmp_path / "deep.png")
    assert refused(tmp_path / "deep.png", "picture") == "picture-colours"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a/../../x.png", "path-leaves-folder"), ("..", "path-leaves-folder"), ("~/x.png", "path-absolute"),
        ("/etc/passwd", "path-absolute"), ("FILE:///etc/passwd", "path-absolute"), ("file://host/x.png", "path-scheme"),
        ("file:///%2e%2e/x.png", "path-scheme"), ("http://x/y.png", "path-scheme"), ("pipe:0", "path-scheme"),
        ("data:image/png;base64,AA", "path-scheme"), ("c:/x.png", "path-scheme"), ("a\\b.png", "path-characters"),
        ("a\nb", "path-characters"), ("a\0b", "path-characters"), ("x" * 300, "path-characters"),
        ("loop", "path-characters"), ("no/such/file.png", "media-missing"), ("in", "media-not-a-file"),
        ("in/out", "path-link"),
    ],
)  # fmt: skip
def test_no_path_leads_out(tmp_path, text, rule):
    studio = tmp_path / "studio"
    (studio / "in").mkdir(parents=True)
    (studio / "in" / "out").symlink_to(tmp_path)
    (studio / "loop").symlink_to(studio / "loop")
    with pytest.raises(BadMedia) as problem:
        locate(text, studio)
    assert problem.value.rule == rule


def test_a_link_that_stays_inside_is_followed(tmp_path):
    draw_plate(64, 64).save(tmp_path / "plate.png")
    (tmp_path / "again.png").symlink_to("plate.png")
    assert locate("again.png", tmp_path) == tmp_path / "plate.png"


def test_takes_and_episodes_have_a_longest(tmp_path):
    sparse_wav(tmp_path / "long.wav", 700)
    draw_plate(192, 128).save(tmp_path / "plate.png")
    text = """
version: 1
episode: {id: long, title: Long, size: {width: 192, height: 128}}
cast: {ana: {name: Ana, portrait: plate.png, consent: {kind: synthetic}}}
audio: {stems: {ana: long.wav}}
shots: [{id: all, plate: plate.png, characters: [{character: ana}]}]
"""
    path = tmp_path / "episode.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"lasts 700 s, the limit is 600 s.*\[shot-too-long\]"):
        read_manifest(path)
    many = ", ".join(f"{{id: s{n}, plate: plate.png, characters: [], duration_seconds: 599}}" for n in range(25))
    path.write_text(text.replace("{id: all, plate: plate.png, characters: [{character: ana}]}", many))
    with pytest.raises(ManifestError, match=r"runs 14975 s, the limit is 14400 s.*\[episode-too-long\]"):
        read_manifest(path)
