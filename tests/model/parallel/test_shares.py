"""Shares of a frame's tokens: every token in one share, the velocity back in its place."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.attention import Layout, sdpa
from model.parallel import Degrees, guard, pick_degrees
from model.shares import Share, join_shares, shard_layout


@given(num_tokens=st.integers(1, 200), count=st.integers(1, 8))
def test_every_token_is_in_one_share(num_tokens, count):
    seen = []
    for index in range(count):
        columns, valid = Share(index, count).columns(num_tokens)
        assert len(columns) == -(-num_tokens // count)
        seen += columns[valid].tolist()
    assert seen == list(range(num_tokens))


@given(count=st.integers(1, 8), height=st.integers(1, 6), width=st.integers(1, 6), frames=st.integers(1, 3))
def test_shares_of_a_velocity_make_the_velocity(count, height, width, frames):
    whole = torch.arange(2 * 3 * frames * 2 * height * 2 * width, dtype=torch.float32)
    whole = whole.reshape(2, 3, frames, 2 * height, 2 * width)
    rows = whole.unflatten(3, (height, 2)).unflatten(5, (width, 2)).permute(0, 1, 2, 4, 3, 5, 6)  # b c t p h w q
    rows = rows.reshape(2, 3, frames, 2, height * width, 2)
    columns = [Share(index, count).columns(height * width)[0] for index in range(count)]
    shares = torch.stack([rows[:, :, :, :, part].flatten(4) for part in columns])
    assert torch.equal(join_shares(shares, height, width), whole)


def test_all_shares_have_the_same_channels():
    """35 tokens in two shares: one share has padding, and both must mask, or their messages differ in size."""
    layout, num_tokens = Layout(2 * 35, (4,)), 35
    for index in range(2):
        share = Share(index, 2)
        _, valid = share.columns(num_tokens)
        places = torch.cat((share.rows(2, num_tokens), torch.arange(70, 74)))
        local = shard_layout(layout, places, valid.repeat(2), padded=True)
        assert local.num_image == 36 and local.key_mask is not None
        assert int((~local.key_mask).sum()) == (2 if index else 0)
    whole = shard_layout(Layout(64, (4,)), torch.arange(36), torch.ones(32, dtype=torch.bool), padded=False)
    assert whole.key_mask is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_guarded_keys_have_no_weight(dtype):
    q, k, v = (torch.randn(2, 9, 2, 8, generator=torch.Generator().manual_seed(s)).to(dtype) for s in range(3))
    mask = torch.rand(2, 9, generator=torch.Generator().manual_seed(4)) > 0.4
    expected = sdpa(q, k, v, Layout(5, (4, 4), mask))
    inputs = [part.transpose(1, 2) for part in guard(q, k, v, mask)]
    out = torch.nn.functional.scaled_dot_product_attention(*inputs, scale=8**-0.5).transpose(1, 2)[..., :8]
    assert torch.allclose(out, expected, atol={torch.float32: 1e-6}.get(dtype, 2e-2))


@pytest.mark.parametrize(
    ("processes", "heads", "guided", "degrees"),
    [
        (1, 24, True, Degrees()),
        (2, 24, True, Degrees(1, 1, 2)),
        (2, 24, False, Degrees(2)),
        (8, 24, True, Degrees(4, 1, 2)),
        (8, 24, False, Degrees(8)),
        (5, 24, False, Degrees(1, 5)),
        (8, 4, False, Degrees(4, 2)),
    ],
)
def test_branches_then_heads_then_the_ring(processes, heads, guided, degrees):
    assert pick_degrees(processes, heads, guided) == degrees
    assert degrees.processes == processes
    with pytest.raises(ValueError, match="0 processes"):
        pick_degrees(0, heads, guided)
