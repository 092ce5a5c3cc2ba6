"""A tiny stand-in for the video transformer, for testing a sampler alone.

It is a function of everything the sampler has to get right: which latents, which audio
frames, the position inside the window, t, the face mask, the prompt, and the cached
features.  Plain float32 arithmetic.
"""
import torch

HID = 8


def features(x, audio, face_mask, text, ref, hid):
    B, C, T, H, W = x.shape
    h, w = H // 2, W // 2
    base = x.float().mean(1).reshape(B, T, h, 2, w, 2).mean((3, 5))            # B T h w
    am = audio.float().mean((2, 3, 4))                                         # B 4T-3
    a = torch.cat([am[:, :1], am[:, 1:].reshape(B, T - 1, 4).mean(-1)], 1)     # B T
    m = face_mask.float()[:, 0, :, ::2, ::2]                                   # B 1 h w
    txt = text.float().mean((1, 2))[:, None, None, None]
    pos = 0.01 * torch.arange(T, dtype=torch.float32)[None, :, None, None]
    f = torch.tanh(1.3 * base + 5.0 * a[:, :, None, None] * m + 0.1 * txt + pos)
    r = ref.float()[:, :, 0].mean(1).reshape(B, h, 2, w, 2).mean((2, 4))
    basis = 1.0 + 0.1 * torch.cos(torch.arange(hid, dtype=torch.float32))
    t_ = text.float().mean(-1)
    tok = torch.cat([r.reshape(B, -1), f.reshape(B, -1), t_], 1)               # B (n + T n + S)
    return tok[..., None] * basis


def head(feat, t, shape, S):
    B, C, T, H, W = shape
    h, w = H // 2, W // 2
    n = h * w
    hid = feat.shape[-1]
    basis = 1.0 + 0.1 * torch.cos(torch.arange(hid, dtype=torch.float32))
    f = (feat.float() * basis).sum(-1) / (basis * basis).sum()
    r, f = f[:, :n].reshape(B, 1, h, w), f[:, n:-S].reshape(B, T, h, w)
    f = f + 0.05 * r
    f = f.repeat_interleave(2, 2).repeat_interleave(2, 3)                      # B T H W
    ch = torch.linspace(-1.0, 1.0, C)[None, :, None, None, None]
    return f[:, None] * (1.0 + ch) * (0.5 + t.float()[:, None, None, None, None] / 1000.0)


class Toy(torch.nn.Module):
    def __init__(self, hid=3072):
        super().__init__()
        self.hid = hid
        self.cache_out = None

    def forward(self, x, t, ref_latents=None, text_states=None, is_cache=False, **kw):
        if not is_cache:
            self.cache_out = features(x, kw["audio_prompts"], kw["face_mask"], text_states, ref_latents, self.hid)
        return {"x": head(self.cache_out, t, x.shape, text_states.shape[1])}
