"""Starting values for training: every gate closed, every added branch neutral."""

import torch
from torch import nn

from model.emotion import EmotionAdapter
from model.transformer import VideoTransformer


@torch.no_grad()
def initialise_(network: VideoTransformer, generator: torch.Generator) -> VideoTransformer:
    """Fill the network in place and return it.

    Matrices are Xavier-uniform, biases zero, norms one; modulations, the output layer and the audio adapters' outputs
    are zero (the adapters' as in the release's training). The emotion module has gamma 0 and an identity `emo_fc`.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv3d)):
            nn.init.xavier_uniform_(module.weight.flatten(1), generator=generator)
            if module.bias is not None:
                module.bias.zero_()
        if isinstance(module, EmotionAdapter):
            module.gamma.zero_()
    for name, parameter in network.named_parameters():
        closed = (
            "mod.linear",
            "modulation.linear",
            "adaLN_modulation",
            "final_layer.linear",
            "channel_in",
            "to_out_ext",
        )
        if any(part in name for part in closed) or (name.startswith("audio_adapter") and "to_out" in name):
            parameter.zero_()
    if network.config.emotion:
        network.emo_fc.weight.copy_(torch.eye(network.config.hidden))
    return network
