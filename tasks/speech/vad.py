"""Silero voice activity in plain PyTorch, many stems and many frames at a time.

The weights are the ones in the silero-vad wheel (MIT). The wheel's own runner takes one frame per Python call; here the
convolutions see all frames of a block at once and only the LSTM walks, which is what makes hours of stems cheap.
s stems, n samples, t frames of 512 samples (32 ms).
"""

import io
import warnings
from functools import lru_cache
from importlib import resources

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 512
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
CONTEXT_SAMPLES = 64
REFLECTED_SAMPLES = 64
NUM_BINS = 129

_TENSORS = {
    "stft_conv.weight": "_model.stft.forward_basis_buffer",
    **{
        f"conv{index + 1}.{part}": f"_model.encoder.{index}.reparam_conv.{part}"
        for index in range(4)
        for part in ("weight", "bias")
    },
    **{f"lstm.{part}_l0": f"_model.decoder.rnn.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    "final_conv.weight": "_model.decoder.decoder.2.weight",
    "final_conv.bias": "_model.decoder.decoder.2.bias",
}

State = tuple[Tensor, Tensor, Tensor]  # last samples (s, 64), LSTM h and c (1, s, 128)


class SileroVad(nn.Module):
    """The 16 kHz network of silero-vad 6; tests/tasks/speech/test_vad.py holds it to the wheel's own runner."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * NUM_BINS, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(NUM_BINS, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def start(self, num_stems: int) -> State:
        """Return the state before the first sample."""
        zeros = torch.zeros(1, num_stems, 128)
        return torch.zeros(num_stems, CONTEXT_SAMPLES), zeros, zeros

    def forward(self, samples: Tensor, state: State) -> tuple[Tensor, State]:
        """Return speech probabilities (s, t) and the next state for samples (s, 512 t) at 16 kHz."""
        context, hidden, cell = state
        num_stems = samples.shape[0]
        frames = torch.cat([context, samples], dim=1).unfold(1, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)
        num_frames = frames.shape[1]
        x = frames.reshape(num_stems * num_frames, 1, -1)  # (s*t, 1, 576)
        x = self.stft_conv(functional.pad(x, (0, REFLECTED_SAMPLES), mode="reflect"))  # (s*t, 258, 4)
        x = (x[:, :NUM_BINS].square() + x[:, NUM_BINS:].square()).sqrt()  # (s*t, 129, 4)
        x = self.conv2(self.conv1(x).relu()).relu()
        x = self.conv4(self.conv3(x).relu()).relu()  # (s*t, 128, 1)
        x = x.reshape(num_stems, num_frames, 128).transpose(0, 1)  # (t, s, 128)
        x, (hidden, cell) = self.lstm(x, (hidden, cell))
        weight, bias = self.final_conv.weight[0, :, 0], self.final_conv.bias
        probability = torch.sigmoid(x.relu() @ weight + bias)  # (t, s)
        return probability.transpose(0, 1), (samples[:, -CONTEXT_SAMPLES:], hidden, cell)


@lru_cache(maxsize=1)
def load_vad() -> SileroVad:
    """Return the network with the wheel's weights, in evaluation mode."""
    path = resources.files("silero_vad.data").joinpath("silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the wheel ships TorchScript; torch.jit is on its way out
        wheel = torch.jit.load(io.BytesIO(path.read_bytes()), map_location="cpu")  # type: ignore[no-untyped-call]
    tensors = wheel.state_dict()
    network = SileroVad()
    network.load_state_dict({ours: tensors[theirs] for ours, theirs in _TENSORS.items()})
    return network.eval().requires_grad_(False)
