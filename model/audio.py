"""Hidden states of a Whisper-shaped encoder as audio windows, one per video frame, for tracks of any length.

n samples (16 kHz), m mel bins, p mel frames (10 ms), s rows (20 ms), f video frames, r rows of a window,
l hidden states (layers + 1), d width.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from model.config import AudioConfig

SAMPLE_RATE = 16_000
SAMPLES_PER_ROW = 320
ROWS_PER_SECOND = 50
MEL_BINS = 80
CHUNK_ROWS = 1500  # 30 s, what the encoder's position table holds; chunks start two thirds of their sound apart
ROWS_BEFORE = 4  # a window reaches 80 ms back; rows before the track are zeros, as in the release

Samples = Float[Tensor, "n"] | Float[np.ndarray, "n"]


class Chunk(NamedTuple):
    """A chunk's sound from row `start`; its rows [keep_from, keep_to) (rows of the track) are the ones that count."""

    start: int
    keep_from: int
    keep_to: int


def build_encoder(config: AudioConfig, seed: int = 0) -> nn.Module:
    """Build openai-whisper's AudioEncoder, frozen; random weights that depend on `seed` alone."""
    from whisper.model import AudioEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = AudioEncoder(MEL_BINS, CHUNK_ROWS, config.width, config.heads, config.layers)
    encoder.chunk_rows = config.chunk_rows
    module: nn.Module = encoder.eval().requires_grad_(False)
    return module


def load_encoder(encoder: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load weights in openai-whisper's or in transformers' naming; tensors of the decoder are ignored.

    Raises: RuntimeError naming every missing, unexpected or misshapen tensor.
    """
    encoder.load_state_dict(rename_encoder_keys(state), strict=True)


def rename_encoder_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors of a Whisper checkpoint under openai-whisper's names, without a prefix."""
    names = {name.removeprefix("model."): name for name in state}
    if any(name.startswith("encoder.") for name in names):
        names = {k.removeprefix("encoder."): v for k, v in names.items() if k.startswith("encoder.")}
    return {_openai_name(name): state[original] for name, original in names.items()}


_RENAMED = (
    ("embed_positions.weight", "positional_embedding"),
    ("layers.", "blocks."),
    ("self_attn_layer_norm.", "attn_ln."),
    ("self_attn.q_proj.", "attn.query."),
    ("self_attn.k_proj.", "attn.key."),
    ("self_attn.v_proj.", "attn.value."),
    ("self_attn.out_proj.", "attn.out."),
    ("final_layer_norm.", "mlp_ln."),
    ("fc1.", "mlp.0."),
    ("fc2.", "mlp.2."),
)


def _openai_name(name: str) -> str:
    if name.startswith("layer_norm."):
        return name.replace("layer_norm.", "ln_post.")
    for theirs, ours in _RENAMED:
        name = name.replace(theirs, ours)
    return name


def log_mel(chunk: Float[Tensor, "n"]) -> Float[Tensor, "m p"]:
    """Return one chunk's log-mel spectrogram, rounded to fp16 as the release stores it, in float32."""
    from whisper.audio import log_mel_spectrogram

    mel: Tensor = log_mel_spectrogram(chunk, MEL_BINS)
    return mel.half().float()  # the release keeps mels in fp16; test_mel_is_the_released_one pins it


@torch.no_grad()
def hidden_states(encoder: Any, mel: Float[Tensor, "m p"]) -> Float[Tensor, "s l d"]:
    """Return all hidden states: embedding, after each block but the last, and the final norm's output."""
    x = functional.gelu(encoder.conv1(mel[None]))
    x = functional.gelu(encoder.conv2(x))
    x = rearrange(x, "b d s -> b s d") + encoder.positional_embedding
    states = [x]
    for block in encoder.blocks:
        x = block(x)
        states.append(x)
    states[-1] = encoder.ln_post(x)  # the last block's raw output is not among them
    return torch.stack([state[0] for state in states], dim=1)


def plan_chunks(first_row: int, end_row: int, chunk_rows: int = CHUNK_ROWS) -> tuple[Chunk, ...]:
    """Return the chunks of `chunk_rows` that cover rows [first_row, end_row), each row once.

    The grid is fixed to the track's start, so any part of a track gets the rows that the whole would get.
    Chunk 0 is kept whole, as the release encodes it; later ones keep their middle, with a sixth of context either side.
    """
    if not 0 <= first_row < end_row:
        raise ValueError(f"rows [{first_row}, {end_row}) are empty or start before the track")
    hop = 2 * chunk_rows // 3
    margin = (chunk_rows - hop) // 2

    def keep_from(index: int) -> int:
        return (0, chunk_rows)[index] if index < 2 else index * hop + margin

    def chunk_of(row: int) -> int:
        return 0 if row < chunk_rows else max(1, (row - margin) // hop)

    return tuple(
        Chunk(index * hop, max(keep_from(index), first_row), min(keep_from(index + 1), end_row))
        for index in range(chunk_of(first_row), chunk_of(end_row - 1) + 1)
    )


def encode_rows(samples: Samples, encoder: nn.Module, first_row: int, end_row: int) -> Iterator[Float[Tensor, "s l d"]]:
    """Yield hidden states of rows [first_row, end_row), one chunk at a time; past the track's end is silence.

    An encoder whose `chunk_rows` is less than its table hears silence after them, as in its training.
    """
    device, chunk_rows = next(encoder.parameters()).device, int(getattr(encoder, "chunk_rows", CHUNK_ROWS))
    for chunk in plan_chunks(first_row, end_row, chunk_rows):
        start = chunk.start * SAMPLES_PER_ROW
        piece = samples[start : start + chunk_rows * SAMPLES_PER_ROW]
        sound = torch.from_numpy(np.array(piece)) if isinstance(piece, np.ndarray) else piece
        sound = functional.pad(sound.float(), (0, CHUNK_ROWS * SAMPLES_PER_ROW - len(sound)))
        states = hidden_states(encoder, log_mel(sound.to(device)))
        yield states[chunk.keep_from - chunk.start : chunk.keep_to - chunk.start]


def frame_row(frame_index: int, fps: float | int) -> int:
    """Return the row (20 ms) at which a video frame starts, rounded half up: 2f at 25 fps, 4f at 12.5 fps."""
    rate = Fraction(fps).limit_denominator(1001)  # 23.976 and friends are n / 1.001
    return int(frame_index * ROWS_PER_SECOND / rate + Fraction(1, 2))


def stream_windows(
    samples: Samples,
    encoder: nn.Module,
    fps: float | int,
    num_frames: int,
    start_frame: int = 0,
    rows_per_frame: int = 10,
) -> Iterator[Float[Tensor, "f r l d"]]:
    """Yield the windows of frames [start_frame, start_frame + num_frames), two thirds of a chunk at a time.

    A frame's window is its own two rows, `ROWS_BEFORE` rows before them and the rest after them: -80 ms to +120 ms.
    Holds one chunk and one batch of windows, whatever the track's length.
    """
    if num_frames < 1 or start_frame < 0 or fps <= 0:
        raise ValueError(
            f"{num_frames} frames from frame {start_frame} at {fps} fps: need at least one frame and fps > 0"
        )
    starts = [frame_row(f, fps) - ROWS_BEFORE for f in range(start_frame, start_frame + num_frames)]
    first = max(starts[0], 0)
    held: Tensor | None = None  # rows [held_from, held_to)
    held_from, held_to, done = starts[0], first, 0  # before the track: zero rows
    for rows in encode_rows(samples, encoder, first, starts[-1] + rows_per_frame):
        if held is None:
            held = rows.new_zeros(first - held_from, *rows.shape[1:])
        held = torch.cat((held, rows))
        held_to += len(rows)
        ready = done
        while ready < num_frames and starts[ready] + rows_per_frame <= held_to:
            ready += 1
        if ready > done:
            yield _gather(held, torch.tensor(starts[done:ready]) - held_from, rows_per_frame)
            done = ready
        if done < num_frames:
            held, held_from = held[starts[done] - held_from :], starts[done]


def _gather(rows: Float[Tensor, "s l d"], starts: Int[Tensor, "f"], num_rows: int) -> Float[Tensor, "f r l d"]:
    index = starts[:, None] + torch.arange(num_rows)
    return rows[index.to(rows.device)]


def encode_track(
    samples: Samples,
    encoder: nn.Module,
    fps: float | int,
    num_frames: int,
    start_frame: int = 0,
    rows_per_frame: int = 10,
) -> Float[Tensor, "f r l d"]:
    """Return the audio windows of a run of frames, as the release makes them, without its limits of 16 s and 25 fps.

    `samples` is the whole track (a memory-mapped array will do: only the chunks needed are read); frames past its
    end get encoded silence. A part equals the same frames of the whole, bit for bit.
    """
    return torch.cat(list(stream_windows(samples, encoder, fps, num_frames, start_frame, rows_per_frame)))
