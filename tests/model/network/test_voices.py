"""Several voices, masks, emotions, extended audio and injection modes, on a tiny network with every part open."""

import dataclasses

import pytest
import torch
from tiny_network import GRID, TINY, draw, make_conditions, make_voice, random_network

from model.adapter import cross_attention, group_frames
from model.transformer import VideoTransformer
from model.voices import PreparedVoice, inject, token_gain


def test_one_voice_is_the_released_formula_to_the_bit(tiny):
    adapter = tiny.audio_adapter_blocks[0]
    y, audio = draw(1, 3, 24, 64), draw(1, 9, 10, 3, 8)
    mask = (draw(1, 3, 24) > 0).float()
    keys = tiny.audio_keys(tuple(group_frames(part) for part in tiny.audio_tokens(audio)))
    ours = inject(y, [PreparedVoice(mask, keys)], 0, adapter, None)
    released = y + mask[..., None] * adapter.to_out(cross_attention(adapter.to_q(adapter.norm2(y)), keys[0][0]))
    assert torch.equal(ours, released)


def test_a_voice_without_a_mask_anywhere_changes_nothing(tiny, x, t):
    alone, nobody = make_voice(1), make_voice(2, mask=torch.zeros(1, *GRID[1:]))
    one, both = tiny(x, t, [make_conditions(alone)]), tiny(x, t, [make_conditions(alone, nobody)])
    torch.testing.assert_close(both, one, rtol=0, atol=1e-5)  # two voices are projected in one product: other sums


def test_voices_add_up_where_their_masks_let_them(tiny, x, t):
    left = torch.zeros(1, *GRID[1:])
    left[..., :6] = 1
    a, b = make_voice(1, mask=left), make_voice(2, mask=1 - left)
    y = draw(1, 3, 24, 64)
    prepared = tiny.prepare_voices([make_conditions(a, b)], (3, 4, 6))
    both = inject(y, prepared, 0, tiny.audio_adapter_blocks[0], None) - y
    for index, place in enumerate((prepared[0].gain, prepared[1].gain)):
        one = inject(y, prepared[index : index + 1], 0, tiny.audio_adapter_blocks[0], None) - y
        assert torch.allclose(both * place[..., None], one * place[..., None], atol=1e-6)


def test_the_order_of_voices_does_not_matter(tiny, x, t):
    a, b, c = (make_voice(seed, emotion=True) for seed in (1, 2, 3))
    ours = tiny(x, t, [make_conditions(a, b, c)])
    assert torch.allclose(ours, tiny(x, t, [make_conditions(c, a, b)]), atol=2e-5)


@pytest.mark.parametrize("what", ["strength", "mask"])
def test_half_a_strength_is_half_a_mask(tiny, x, t, what):
    whole = make_voice(1)
    half = dataclasses.replace(whole, **{what: 0.5 if what == "strength" else whole.mask * 0.5})
    steady = dataclasses.replace(whole, strength=torch.full((3,), 0.5))
    assert torch.equal(tiny(x, t, [make_conditions(half)]), tiny(x, t, [make_conditions(steady)]))
    assert not torch.equal(tiny(x, t, [make_conditions(half)]), tiny(x, t, [make_conditions(whole)]))


def test_a_mask_of_one_frame_stands_for_all(tiny, x, t):
    mask = (draw(1, *GRID[1:]) > 0).float()
    once, repeated = make_voice(1, mask=mask), make_voice(1, mask=mask.expand(3, -1, -1))
    assert torch.equal(tiny(x, t, [make_conditions(once)]), tiny(x, t, [make_conditions(repeated)]))


def test_a_token_reads_the_nearest_latent_of_the_mask():
    voice = make_voice(1, mask=draw(3, *GRID[1:]).abs())
    gain = token_gain(voice, 1.0, (3, 4, 6), torch.device("cpu"))
    assert torch.equal(gain.view(3, 4, 6)[2, 3, 5], voice.mask[2, 6, 10])


def test_latent_zero_sees_its_frame_four_times_and_others_their_own_four():
    tokens = torch.arange(9.0)[None, :, None, None].expand(1, 9, 4, 1)
    grouped = group_frames(tokens)[0, :, ::4, 0]
    assert grouped.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_batch_with_differing_voices_and_text_is_its_items(tiny, t):
    items = [
        make_conditions(make_voice(1), seed=1, num_valid=4),
        make_conditions(make_voice(2, emotion=True), make_voice(3), seed=2, num_valid=9),
        make_conditions(seed=3, num_text=5, num_valid=5),
    ]
    x = draw(3, 16, *GRID)
    together = tiny(x, t.repeat(3), items)
    for index, item in enumerate(items):
        alone = tiny(x[index : index + 1], t, [item])
        assert torch.allclose(together[index], alone[0], atol=5e-5)


def test_the_token_refiner_sees_places_and_attention_sees_the_sum(tiny, x, t):
    item = make_conditions(make_voice(1), num_valid=6)
    hole = dataclasses.replace(item, text_mask=torch.tensor([1, 1, 1, 0, 0, 0, 1, 1, 1]))
    assert not torch.equal(tiny(x, t, [item]), tiny(x, t, [hole]))
    padded = dataclasses.replace(item, text=torch.cat([item.text[:6], 99 * item.text[6:]]))
    assert torch.equal(tiny(x, t, [item]), tiny(x, t, [padded]))


def test_an_emotion_changes_the_masked_face_by_its_strength_and_picture(tiny, x, t):
    plain, felt = make_voice(1), make_voice(1, emotion=True)
    zero = dataclasses.replace(felt, emotion_strength=torch.zeros(3))
    other = dataclasses.replace(felt, emotion_index=torch.ones(3, dtype=torch.long))
    late = dataclasses.replace(felt, emotion_index=torch.tensor([0, 0, 1]))
    out = {
        name: tiny(x, t, [make_conditions(v)])
        for name, v in locals().items()
        if name in ("plain", "felt", "zero", "other", "late")
    }
    assert torch.equal(out["plain"], out["zero"])
    assert len({float(value.sum()) for value in out.values()}) == 4


def test_a_closed_emotion_module_and_no_picture_give_the_same_bits(x, t):
    network = random_network(TINY)
    for block in network.emotion_blocks:
        block.gamma.zero_()
    felt, plain = make_conditions(make_voice(1, emotion=True)), make_conditions(make_voice(1))
    assert torch.equal(network(x, t, [felt]), network(x, t, [plain]))
    without = VideoTransformer(dataclasses.replace(TINY, emotion=False)).requires_grad_(False)
    without.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("emo")})
    assert torch.equal(without(x, t, [plain]), network(x, t, [plain]))
    with pytest.raises(ValueError, match="no emotion module"):
        without(x, t, [felt])


def test_extended_audio_is_neutral_while_its_output_is_zero(x, t):
    config = dataclasses.replace(TINY, audio=dataclasses.replace(TINY.audio, extended=True))
    network, item = random_network(config), make_conditions(make_voice(1))
    opened = network(x, t, [item])
    for block in network.audio_adapter_blocks:
        block.to_out_ext.weight.zero_()
    plain = VideoTransformer(TINY).requires_grad_(False)
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if "_ext" not in k})
    assert torch.equal(network(x, t, [item]), plain(x, t, [item]))
    assert not torch.equal(opened, plain(x, t, [item]))
    assert (
        network.audio_keys(tuple(group_frames(p) for p in network.audio_tokens(item.voices[0].audio[None])))[0][
            1
        ].shape[2]
        == 40
    )


def test_channel_injection_is_one_convolution_over_joined_channels(x, t):
    network = random_network(dataclasses.replace(TINY, injection="token_channel"))
    item = make_conditions(make_voice(1))
    prepared = network.prepare(t, [item], (3, 4, 6))
    joined = torch.cat([x, item.reference[None].expand(-1, -1, 3, -1, -1)], dim=1)
    weight = torch.cat([network.img_in.proj.weight, network.channel_in.proj.weight], dim=1)
    expected = torch.nn.functional.conv3d(joined, weight, network.img_in.proj.bias, stride=(1, 2, 2))
    ours = network.embed(x, prepared).image[:, 24:]
    assert torch.allclose(ours, expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_injection_modes_agree_when_the_added_branch_is_zero(x, t):
    item = make_conditions(make_voice(1))
    added = random_network(TINY)
    added.before_proj.weight.zero_(), added.before_proj.bias.zero_()
    token = VideoTransformer(dataclasses.replace(TINY, injection="token")).requires_grad_(False)
    token.load_state_dict({k: v for k, v in added.state_dict().items() if not k.startswith(("ref_in", "before_proj"))})
    assert torch.equal(token(x, t, [item]), added(x, t, [item]))


def test_a_plate_of_one_frame_stands_for_all(tiny, x, t):
    item = make_conditions(make_voice(1))
    repeated = dataclasses.replace(item, reference=item.reference.expand(-1, 3, -1, -1))
    assert torch.allclose(tiny(x, t, [item]), tiny(x, t, [repeated]), atol=1e-5)


@pytest.mark.parametrize("knob", ["motion_exp", "motion_pose", "fps", "pooled", "reference"])
def test_every_number_is_heard(tiny, x, t, knob):
    item = make_conditions(make_voice(1))
    changed = dataclasses.replace(item, **{knob: getattr(item, knob) * 0.5})
    assert not torch.equal(tiny(x, t, [item]), tiny(x, t, [changed]))


def test_conditions_that_do_not_fit_are_named(tiny, x, t):
    voice = make_voice(1)
    short = dataclasses.replace(voice, audio=voice.audio[:5])
    small = dataclasses.replace(voice, mask=torch.ones(1, 4, 6))
    for wrong, match in ((short, "5 audio frames"), (small, "mask"), (None, "0 conditions")):
        with pytest.raises(ValueError, match=match):
            tiny(x, t, [] if wrong is None else [make_conditions(wrong)])


def test_every_parameter_learns():
    config = dataclasses.replace(TINY, audio=dataclasses.replace(TINY.audio, extended=True))
    network = random_network(config).requires_grad_(True)
    items = [make_conditions(make_voice(1, emotion=True), make_voice(2)), make_conditions(make_voice(3), seed=4)]
    network(draw(2, 16, *GRID), torch.tensor([500.0, 20.0]), items).square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_half_precision_network_with_the_releases_float32_parts_stays_near(x, t):
    plain, half = random_network(TINY), random_network(TINY).to(torch.bfloat16)
    for part in (half.audio_proj, half.audio_adapter_blocks, half.before_proj, half.final_layer.linear):
        part.float()
    item = make_conditions(make_voice(1, emotion=True), make_voice(2))
    expected, ours = plain(x, t, [item]), half(x.half(), t, [item])
    assert ours.dtype == torch.float16
    assert torch.nn.functional.cosine_similarity(expected.flatten(), ours.float().flatten(), dim=0) > 0.998


def test_autocast_stays_near_float32(tiny, x, t):
    item = make_conditions(make_voice(1, emotion=True), make_voice(2))
    plain = tiny(x, t, [item])
    with torch.autocast("cpu", torch.bfloat16):
        half = tiny(x, t, [item])
    assert half.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(plain.flatten(), half.flatten(), dim=0) > 0.999
