"""The network over a share of each frame's tokens: what one of several processes computes of a window.

b batch, c latent channels, t latents, h w latent size, n tokens of one latent, k tokens of a share (or shares),
m = (t + 1) n, s text rows, d hidden width, p q patch rows and columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from model.attention import Layout
from model.blocks import PLAIN, Options
from model.conditions import Conditions
from model.guidance import Branch
from model.rope import Rope
from model.schedule import Step
from model.tables import ShotTables
from model.transformer import Prepared, Stream, VideoTransformer
from model.voices import PreparedVoice, keep_masked
from model.windows import Window

Gather = Callable[[Tensor], Tensor]  # a tensor to all processes' tensors, stacked in front


@dataclass(frozen=True)
class Share:
    """Part `index` of `count` of every frame's tokens; the last parts are padded with copies of the last token."""

    index: int
    count: int

    def columns(self, num_tokens: int) -> tuple[Int[Tensor, "k"], Bool[Tensor, "k"]]:
        """Return this share's tokens of a frame, and which of them are not padding."""
        size = -(-num_tokens // self.count)
        places = torch.arange(self.index * size, (self.index + 1) * size)
        return places.clamp(max=num_tokens - 1), places < num_tokens

    def rows(self, num_frames: int, num_tokens: int) -> Int[Tensor, "k"]:
        """Return this share's tokens of a sequence of frames."""
        columns, _ = self.columns(num_tokens)
        return (torch.arange(num_frames)[:, None] * num_tokens + columns).flatten()


@dataclass(frozen=True, eq=False)
class LocalPrepared(Prepared):
    """What the blocks read of one share; its grid is (t, 1, n_local), `whole` is the window's."""

    whole: tuple[int, int, int] = (0, 0, 0)


def shard(prepared: Prepared, share: Share) -> LocalPrepared:
    """Cut what belongs to image tokens to a share; text, modulations and the plate stay whole."""
    num_latents, height, width = prepared.grid
    num_tokens, device = height * width, prepared.rope.cos.device
    columns, valid = (part.to(device) for part in share.columns(num_tokens))
    rows = share.rows(num_latents + 1, num_tokens).to(device)
    text = torch.arange(prepared.layout.num_image, len(prepared.rope.cos), device=device)
    places = torch.cat((rows, text))
    own = {f.name: getattr(prepared, f.name) for f in fields(Prepared)}
    local = own | {
        "grid": (num_latents, 1, len(columns)),
        "rope": Rope(prepared.rope.cos[places], prepared.rope.sin[places]),
        "layout": shard_layout(prepared.layout, places, valid.repeat(num_latents + 1), num_tokens % share.count != 0),
        "voices": tuple(shard_voice(voice, columns) for voice in prepared.voices),
    }
    return LocalPrepared(**local, whole=prepared.grid)


def shard_layout(layout: Layout, places: Int[Tensor, "k"], image_valid: Bool[Tensor, "m"], padded: bool) -> Layout:
    """Return the layout of a share at these places; padding tokens become masked keys.

    `padded` says whether any share has padding: attention must have the same channels in all of them.
    """
    if layout.key_mask is None and not padded:
        return Layout(len(image_valid), layout.num_text)
    text_valid = image_valid.new_ones(len(places) - len(image_valid))
    valid = torch.cat((image_valid, text_valid)).expand(len(layout.num_text), -1)
    return Layout(
        len(image_valid), layout.num_text, valid if layout.key_mask is None else valid & layout.key_mask[:, places]
    )


def shard_voice(voice: PreparedVoice, columns: Int[Tensor, "k"]) -> PreparedVoice:
    """Return one voice over a share's tokens."""
    felt = None if voice.emotion_gain is None else voice.emotion_gain[..., columns]
    local = replace(voice, gain=voice.gain[..., columns], emotion_gain=felt, tokens=None)
    return local if voice.tokens is None else keep_masked(local)


def join_shares(shares: Float[Tensor, "k b c t p _"], height: int, width: int) -> Float[Tensor, "b c t h w"]:
    """Return the whole velocity of shares whose tokens lie in one row of patches."""
    patch = shares.shape[4]
    tokens = rearrange(shares, "k b c t p (n q) -> b c t p (k n) q", q=patch)[..., : height * width, :]
    whole: Tensor = rearrange(tokens, "b c t p (h w) q -> b c t (h p) (w q)", h=height)
    return whole


class ParallelTransformer(VideoTransformer):
    """The same network, weights shared with the one it is made of, over this process's share of the tokens."""

    def __init__(self, network: VideoTransformer, share: Share, gather: Gather) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(network.__dict__)
        self.share = share
        self.gather = gather

    def prepare(
        self,
        t: Float[Tensor, "b"],
        conditions: Sequence[Conditions],
        grid: tuple[int, int, int],
        options: Options = PLAIN,
    ) -> Prepared:
        """Turn conditions into what the blocks read of this share."""
        return shard(super().prepare(t, conditions, grid, options), self.share)

    def embed(self, x: Float[Tensor, "b c t h w"], prepared: Prepared) -> Stream:
        """Tokenise latents behind the reference and keep this share of them."""
        stream = super().embed(x, prepared)
        num_frames = prepared.grid[0] + 1
        rows = self.share.rows(num_frames, stream.image.shape[1] // num_frames)
        return replace(stream, image=stream.image[:, rows.to(x.device)])

    def project(self, x: Float[Tensor, "b ms d"], prepared: Prepared) -> Float[Tensor, "b c t h w"]:
        """Turn tokens into velocity, and all shares into the whole window's."""
        assert isinstance(prepared, LocalPrepared)
        return join_shares(self.gather(super().project(x, prepared)), *prepared.whole[1:])


@dataclass(frozen=True, eq=False)
class ParallelTables(ShotTables):
    """A shot's tables, cut to this process's share when a window is prepared."""

    def prepared(self, window: Window, step: Step, branch: Branch) -> Prepared:
        """Return what the blocks read of this share of a window."""
        assert isinstance(self.network, ParallelTransformer)
        return shard(super().prepared(window, step, branch), self.network.share)
