"""A shot's picture file: faithful, closed, deterministic, and gone when something went wrong."""

import av
import numpy as np
import pytest
from moving import HEIGHT, WIDTH, bars

from tasks.encode import PictureWriter, rgb8
from tasks.errors import MediaError


def smooth(count: int, height: int = 128, width: int = 192) -> np.ndarray:
    """Return frames with slow gradients in all three colours, moving by two pixels a frame."""
    y, x = np.mgrid[0:height, 0:width]
    frame = np.stack([x / width, y / height, 1 - x / width])
    return np.stack([np.roll(frame, 2 * index, axis=1) for index in range(count)])


def bt709_luma(rgb: np.ndarray) -> np.ndarray:
    """Return luma of RGB bytes (..., 3) in studio range, 16..235."""
    return 16 + 219 / 255 * (rgb.astype(float) @ np.array([0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize(("kind", "scale", "limit"), [("mp4", 1, 0.6), ("mov", 4, 0.2)])
def test_colours_go_in_as_bt709_without_a_bias(tmp_path, kind, scale, limit):
    frames = rgb8(2 * smooth(10) - 1)
    path = tmp_path / f"shot.{kind}"
    with PictureWriter(path, 192, 128, 25, kind) as writer:
        writer.write(frames)
    with av.open(str(path)) as file:
        seen = list(file.decode(video=0))
        colours = file.streams.video[0].codec_context
        assert (colours.colorspace, colours.color_range) == (1, 1)  # BT.709, studio range
    assert len(seen) == 10
    for frame, given in zip(seen, frames, strict=True):  # the plane itself: a decoder's RGB is rounded on the way
        plane = np.frombuffer(frame.planes[0], np.uint8 if scale == 1 else np.uint16).reshape(128, -1)[:, :192] / scale
        assert abs((plane - bt709_luma(given)).mean()) < 0.3
        assert np.abs(plane - bt709_luma(given)).mean() < limit


def test_a_picture_can_be_joined_without_decoding(tmp_path):
    path = tmp_path / "shot.mp4"
    with PictureWriter(path, WIDTH, HEIGHT, 25) as writer:
        writer.write(bars(0, 120))
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(file.streams.video[0]) if packet.size]
    assert [packet.pts for packet in packets] == [512 * index for index in range(120)]
    assert all(packet.pts == packet.dts for packet in packets)
    assert packets[0].is_keyframe
    keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    assert max(np.diff([*keys, 120])) <= 50


def test_decoded_frames_are_rounded_not_truncated():
    levels = np.arange(256) / 127.5 - 1
    decoded = np.broadcast_to(levels, (1, 3, 2, 256))
    assert np.array_equal(rgb8(decoded)[0, 0, :, 0], np.arange(256))
    assert rgb8(np.full((1, 3, 1, 1), 0.9975, np.float32)).tolist() == [[[[255, 255, 255]]]]
    assert rgb8(np.full((1, 3, 1, 1), 7.0)).tolist() == [[[[255, 255, 255]]]]


@pytest.mark.parametrize("frames", [np.zeros((2, HEIGHT, WIDTH, 3)), np.zeros((2, WIDTH, HEIGHT, 3), np.uint8)])
def test_other_frames_are_refused_and_the_file_removed(tmp_path, frames):
    path = tmp_path / "shot.mp4"
    with (
        pytest.raises(ValueError, match=r"takes \(n, 64, 96, 3\) uint8"),
        PictureWriter(path, WIDTH, HEIGHT, 25) as writer,
    ):
        writer.write(bars(0, 5))
        writer.write(frames)
    assert not path.exists()


def test_no_frames_make_no_file(tmp_path):
    path = tmp_path / "shot.mp4"
    with pytest.raises(MediaError, match="after 0 frames"), PictureWriter(path, WIDTH, HEIGHT, 25):
        pass
    assert not path.exists()


def test_ffmpegs_own_words_are_told(tmp_path):
    path = tmp_path / "missing" / "shot.mp4"
    with pytest.raises(MediaError, match="No such file"), PictureWriter(path, WIDTH, HEIGHT, 25) as writer:
        for _ in range(200):
            writer.write(bars(0, 50))


def test_a_closed_picture_takes_no_frames(tmp_path):
    with PictureWriter(tmp_path / "shot.mp4", WIDTH, HEIGHT, 25) as writer:
        writer.write(bars(0, 5))
    with pytest.raises(ValueError, match="closed"):
        writer.write(bars(0, 1))
