"""Small media for the conformance manifests, good and hostile, written when the tests run."""

import struct
import zlib
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw

RATE = 16_000


def make_media(folder: Path) -> None:
    """Write everything that the manifests of the corpus name, below `folder`; a neighbour folder holds a secret."""
    pictures, sound = folder / "pictures", folder / "sound"
    pictures.mkdir(parents=True)
    sound.mkdir()
    _pictures(pictures)
    _hostile_pictures(pictures)
    _sounds(sound)
    _hostile_sounds(sound)
    _texts(folder)
    outside = folder.parent / "outside"
    outside.mkdir()
    draw_plate(192, 128).save(outside / "secret.png")
    (pictures / "link.png").symlink_to(outside / "secret.png")


def draw_plate(width: int, height: int) -> Image.Image:
    """Return a plain picture with two faces."""
    image = Image.new("RGB", (width, height), (90, 140, 170))
    draw = ImageDraw.Draw(image)
    for left in (0.12, 0.58):
        box = (left * width, 0.2 * height, (left + 0.3) * width, 0.75 * height)
        draw.ellipse(box, fill=(240, 200, 160), outline=(40, 30, 30), width=2)
    return image


def tone(seconds: float, hertz: float, rate: int = RATE) -> np.ndarray:
    """Return a quiet tone as float32 samples."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.2 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def _pictures(folder: Path) -> None:
    plate = draw_plate(192, 128)
    plate.save(folder / "plate.png")
    plate.save(folder / "plate.jpg", quality=92)
    plate.save(folder / "plate.webp", lossless=True)
    draw_plate(384, 256).save(folder / "plate-large.png")
    draw_plate(1216, 832).save(folder / "plate-hd.png")
    for name in ("ana", "ben", "ana-happy", "ana-sad", "ben-angry"):
        draw_plate(64, 64).save(folder / f"{name}.png")


def _hostile_pictures(folder: Path) -> None:
    draw_plate(128, 128).save(folder / "square.png")
    draw_plate(72, 48).save(folder / "plate-tiny.png")
    draw_plate(16, 16).save(folder / "dot.png")
    whole = (folder / "plate.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "jpeg-inside.png").write_bytes((folder / "plate.jpg").read_bytes())
    (folder / "bomb.png").write_bytes(png_header(30_000, 30_000))
    (folder / "playlist.png").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret.png\n")
    (folder / "drawing.png").write_text('<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>')
    (folder / "empty.png").touch()
    (folder / "gif.png").write_bytes(b"GIF89a" + bytes(64))
    frames = [draw_plate(64, 64), draw_plate(64, 64).rotate(90)]
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    draw_plate(192, 128).save(folder / "turned.jpg", exif=turned)
    draw_plate(192, 128).convert("CMYK").save(folder / "cmyk.jpg")
    clear = draw_plate(192, 128).convert("RGBA")
    clear.putalpha(128)
    clear.save(folder / "transparent.png")


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and holds almost nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in [*chunks, (b"IEND", b"")]:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return out


def _sounds(folder: Path) -> None:
    for name, hertz in (("ana", 220.0), ("ben", 130.0), ("mix", 175.0)):
        soundfile.write(folder / f"{name}.wav", tone(4.0, hertz), RATE, subtype="PCM_16")
    soundfile.write(folder / "ana.flac", tone(4.0, 220.0), RATE)
    soundfile.write(folder / "ben.aiff", tone(4.0, 130.0), RATE, subtype="PCM_24")
    soundfile.write(folder / "float.wav", tone(4.0, 130.0), RATE, subtype="FLOAT")
    soundfile.write(folder / "big.wav", tone(4.0, 130.0), RATE, subtype="PCM_16", format="RF64")
    soundfile.write(folder / "mix-48k.wav", np.stack([tone(4.0, 175.0, 48_000)] * 2, axis=1), 48_000, subtype="PCM_24")
    soundfile.write(folder / "mix-37k.wav", tone(4.0, 175.0, 37_800), 37_800)
    soundfile.write(folder / "ana-shot.wav", tone(1.5, 220.0), RATE)
    soundfile.write(folder / "ben-shot.wav", tone(2.5, 130.0), RATE)
    soundfile.write(folder / "ana-long.wav", tone(9.0, 220.0), RATE)


def _hostile_sounds(folder: Path) -> None:
    whole = (folder / "ana.wav").read_bytes()
    (folder / "truncated.wav").write_bytes(whole[:50_000])
    flac = (folder / "ana.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "piped.wav").write_bytes(whole[:40] + b"\xff\xff\xff\xff" + whole[44:])
    (folder / "headless.wav").write_bytes(whole[:36])
    (folder / "playlist.wav").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:4\nfile:///etc/passwd\n")
    (folder / "concat.wav").write_text("ffconcat version 1.0\nfile '/etc/passwd'\n")
    (folder / "mp3.wav").write_bytes(b"ID3\x04" + bytes(200))
    (folder / "picture.wav").write_bytes(png_header(64, 64))
    (folder / "named.mp3").write_bytes(whole)
    (folder / "empty.wav").touch()
    soundfile.write(folder / "blink.wav", tone(0.05, 220.0), RATE)
    soundfile.write(folder / "octet.wav", np.zeros((RATE, 8), np.float32), RATE)
    soundfile.write(folder / "slow.wav", tone(1.0, 220.0, 4_000), 4_000)
    soundfile.write(folder / "adpcm.wav", tone(4.0, 220.0), RATE, subtype="IMA_ADPCM")
    broken = tone(4.0, 220.0)
    broken[12_345] = np.nan
    soundfile.write(folder / "nan.wav", broken, RATE, subtype="FLOAT")


def _texts(folder: Path) -> None:
    (folder / "consent.txt").write_text("Signed on paper, folder 12.\n")
    line = "SPEAKER pilot 1 {} {} <NA> <NA> {} <NA> <NA>\n"
    (folder / "turns.rttm").write_text(line.format(0.2, 1.5, "ana") + line.format(1.9, 2.0, "ben"))
    (folder / "turns-name.rttm").write_text(line.format(0.2, 1.5, "anna"))
    (folder / "turns-late.rttm").write_text(line.format(0.2, 9.5, "ana"))
    (folder / "turns-words.rttm").write_text("SPEAKER pilot 1 soon\n")
    (folder / "latin1.rttm").write_bytes("; d\xe9but\n".encode("latin-1"))
