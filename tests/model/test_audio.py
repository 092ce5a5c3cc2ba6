"""Audio windows: the released numbers, and tracks longer and slower than the release could take."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_inputs import compare_audio, golden_encoder
from golden_network import load_detgen
from hypothesis import given
from hypothesis import strategies as st

from model.audio import (
    CHUNK_ROWS,
    SAMPLE_RATE,
    build_encoder,
    encode_track,
    frame_row,
    plan_chunks,
    rename_encoder_keys,
    stream_windows,
)
from model.config import PUPPET, AudioConfig

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SMALL = AudioConfig(width=16, layers=2, heads=2)


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(SMALL)


@pytest.fixture(scope="module")
def track():
    return torch.randn(75 * SAMPLE_RATE, generator=torch.Generator().manual_seed(1)) / 10


def test_mel_hidden_states_and_windows_are_the_recorded_ones():
    results = compare_audio(GOLDEN)
    assert {result.case for result in results} == {"audio mel", "audio hidden", "audio windows"}
    assert all(result.passed for result in results)
    assert results[2].error < 1e-4  # 3e-6 to 3e-5, as the processor adds up


def test_transformers_names_become_openai_names():
    ours = build_encoder(AudioConfig(width=16, layers=1, heads=2)).state_dict()
    theirs = (
        "model.encoder.conv1.weight", "model.encoder.embed_positions.weight", "model.encoder.layers.0.fc1.bias",
        "model.encoder.layers.0.self_attn.q_proj.weight", "model.encoder.layers.0.self_attn_layer_norm.weight",
        "model.encoder.layers.0.final_layer_norm.bias", "model.encoder.layer_norm.weight", "model.decoder.x",
    )  # fmt: skip
    renamed = rename_encoder_keys({name: torch.zeros(1) for name in theirs})
    assert len(renamed) == 7 and set(renamed) <= set(ours)
    assert set(rename_encoder_keys(ours)) == set(ours)  # openai's own names pass


@given(first=st.integers(0, 9000), count=st.integers(1, 9000))
def test_chunks_cover_every_row_once_and_later_ones_keep_their_middle(first, count):
    chunks = plan_chunks(first, first + count)
    assert list(chain(*(range(c.keep_from, c.keep_to) for c in chunks))) == list(range(first, first + count))
    for chunk in chunks:
        assert chunk.start <= chunk.keep_from < chunk.keep_to <= chunk.start + CHUNK_ROWS
        if chunk.start and chunk.start > 1000:  # 5 s of context on both sides; chunk 0 and its neighbour differ
            assert chunk.keep_from >= chunk.start + 250 and chunk.keep_to <= chunk.start + 1250


@given(first=st.integers(0, 9000), count=st.integers(1, 3000))
def test_an_encoder_trained_on_short_tracks_hears_no_later_rows(first, count):
    chunks = plan_chunks(first, first + count, 750)
    assert list(chain(*(range(c.keep_from, c.keep_to) for c in chunks))) == list(range(first, first + count))
    assert all(chunk.start <= chunk.keep_from < chunk.keep_to <= chunk.start + 750 for chunk in chunks)
    assert all(chunk.keep_from >= chunk.start + 125 for chunk in chunks if chunk.start)


def test_the_puppet_hears_the_same_sound_alike_at_any_time(track):
    encoder = build_encoder(PUPPET.audio, 1)
    heard = encode_track(torch.cat([track[:SAMPLE_RATE], torch.zeros(40 * SAMPLE_RATE)]), encoder, 25, 900)
    silence = encode_track(torch.zeros(0), encoder, 25, 400)[50:]
    for start in (400, 450, 500, 600, 700, 850):  # beyond 16 s the position table was never trained
        assert (heard[start, 0, -1] - silence[:, 0, -1]).norm(dim=-1).min() < 0.2 * heard[start, 0, -1].norm()


@given(frame=st.integers(0, 400_000))
def test_frames_start_where_the_release_says(frame):
    assert frame_row(frame, 25.0) == 2 * frame
    assert frame_row(frame, 12.5) == 4 * frame
    assert abs(frame_row(frame, 24000 / 1001) - frame * 50 * 1001 / 24000) <= 0.5


def test_any_part_of_a_long_track_is_the_whole_tracks_part_bit_for_bit(encoder, track):
    whole = encode_track(track, encoder, 24, 24 * 75)
    assert whole.shape == (1800, 10, 3, 16)
    for start, count in ((0, 1), (1, 3), (700, 60), (1195, 20), (1799, 1)):
        assert torch.equal(encode_track(track, encoder, 24, count, start), whole[start : start + count])


def test_the_first_thirty_seconds_are_those_of_a_track_that_ends_there(encoder, track):
    num_frames = 747  # whose windows end within the first chunk
    cut = encode_track(track[: 30 * SAMPLE_RATE], encoder, 25, num_frames)
    assert torch.equal(encode_track(track, encoder, 25, 1000)[:num_frames], cut)


def test_windows_overlap_as_the_release_has_them(encoder, track):
    windows = encode_track(track, encoder, 25, 1500)
    assert windows[0, :4].abs().max() == 0  # 80 ms before the track
    assert torch.equal(windows[1:, :8], windows[:-1, 2:])
    slow = encode_track(track, encoder, 12.5, 750)
    assert torch.equal(slow, windows[::2])


def test_silence_is_encoded_and_not_zero(encoder):
    silence = encode_track(torch.zeros(0), encoder, 25, 60)
    assert silence[2:].abs().max() > 0.1
    after_the_end = encode_track(torch.zeros(100), encoder, 25, 60)
    assert torch.equal(after_the_end, silence)


def test_the_puppets_encoder_depends_on_its_seed_alone():
    torch.manual_seed(5)
    one, same, other = (build_encoder(PUPPET.audio, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


def test_runs_that_cannot_be_cut_are_named(encoder):
    with pytest.raises(ValueError, match="0 frames from frame 3"):
        next(stream_windows(torch.zeros(9), encoder, 25, 0, 3))


def test_windows_of_a_long_track_come_a_chunk_at_a_time(encoder, tmp_path):
    """The track stays on disk, and no batch is longer than a chunk's 30 s, whatever the track's length."""
    path = tmp_path / "track.f32"
    np.memmap(path, np.float32, "w+", shape=(240 * SAMPLE_RATE,)).flush()
    sizes = [len(batch) for batch in stream_windows(np.memmap(path, np.float32, "r"), encoder, 25, 6000)]
    assert sum(sizes) == 6000
    assert max(sizes) <= 750 and len(sizes) == 12


def test_golden_weights_are_drawn_under_their_released_names():
    encoder = golden_encoder(load_detgen(GOLDEN))
    assert encoder.blocks[0].attn.key.bias is None
    assert float(encoder.ln_post.weight.mean()) == pytest.approx(1, abs=0.05)
