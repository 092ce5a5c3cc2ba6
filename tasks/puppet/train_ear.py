"""A start for the audio projection: its tokens learn to tell the mouth before the network learns to draw it.

Left to the flow loss alone the path from sound to lips takes the longest of all to be found, because lips are few
cells. f frames, r rows, l layers, d audio width.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.adapter import AudioProjection
from model.audio import build_encoder
from model.config import PUPPET
from tasks.puppet.dataset import AUDIO_SEED, draw_session, draw_silence
from tasks.puppet.voices import mouth_track


def hear(first_seed: int, sessions: int) -> tuple[Tensor, Tensor]:
    """Return audio windows (f, r, l, d) and the mouths they ask for (f, 2) of synthetic speakers and silences."""
    encoder = build_encoder(PUPPET.audio, AUDIO_SEED)
    windows, mouths = [], []
    for seed in range(first_seed, first_seed + sessions):
        session = draw_silence(seed) if seed % 6 == 5 else draw_session(seed)
        windows.append(session.windows(encoder, 25.0))
        mouths.append(torch.from_numpy(mouth_track(session.clean, 25.0, len(windows[-1]))).float())
    return torch.cat(windows), torch.cat(mouths)


def train_ear(projection: AudioProjection, heard: tuple[Tensor, Tensor], steps: int = 600, seed: int = 0) -> float:
    """Train the projection in place with a linear reader behind its tokens; return the last mean squared error."""
    windows, mouths = heard
    hidden = projection.norm.weight.shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = nn.Linear(hidden, 2)  # every one of the four tokens tells it
    optimiser = torch.optim.AdamW([*projection.parameters(), *reader.parameters()], lr=2e-3, weight_decay=0.01)
    rng, error = np.random.default_rng(seed), 1.0
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 30, 0.02 + 2 * (1 - step / steps))
        pick = torch.from_numpy(rng.integers(len(windows), size=256))
        told = reader(projection(windows[pick].float()))  # (256, 4, 2)
        loss = functional.mse_loss(told, mouths[pick][:, None].expand_as(told))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        error = 0.98 * error + 0.02 * float(loss.detach())
    return error
