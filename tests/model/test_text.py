"""Text states: hashed words, and the released LLaVA and CLIP-L layout around tiny random models."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.text import (
    CLIP_TOKENS,
    NEGATIVE_PROMPT,
    TextLayout,
    clip_pixels,
    encode_llava,
    encode_prompt,
    fit_prompt,
    hash_text,
    prefix_mask,
    released_mask,
    template,
    trim_llava,
)

RED = (1.036612, 1.597964, -0.532041)
LAYOUT = TextLayout(max_tokens=60, crop=60)
IMAGE_TOKEN, PAD_TOKEN, NUM_PATCHES = 1, 0, 9


@pytest.fixture(scope="module")
def tokenizer():
    """One token per word or mark, hashed into 200 ids; `<image>` is one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        "<pad>",
        "<image>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "[UNK]",
        "a",
        "red",
        "hat",
        "man",
    ]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens(words[:5])
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="[UNK]")


def make_llava():
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=12, patch_size=4
    )
    text = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=64, pad_token_id=PAD_TOKEN,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE_TOKEN, vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    return LlavaForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def llava():
    return trim_llava(make_llava(), LAYOUT)


@pytest.fixture(scope="module")
def picture():
    return torch.randint(0, 256, (20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def ids_of(tokenizer, prompt):
    return tokenizer(template().format(prompt) + "\nThe person looks like<image>")["input_ids"]


def test_layout_of_states_and_mask(llava, tokenizer, picture):
    states, mask = encode_llava(llava, tokenizer, "a red hat", picture, LAYOUT)
    num_tokens = len(ids_of(tokenizer, "a red hat")) - LAYOUT.crop
    num_rows = LAYOUT.max_tokens + NUM_PATCHES - 1
    assert states.shape == (num_rows, 32) and mask.shape == (num_rows,)
    assert mask.tolist() == [True] * num_tokens + [False] * (LAYOUT.max_tokens - num_tokens) + [True] * (
        NUM_PATCHES - 1
    )
    assert int(mask.sum()) == num_tokens + NUM_PATCHES - 1  # what attention reads: the valid rows' number is right


def test_the_released_sizes_are_831_rows():
    mask = released_mask(30, 256, 575)
    assert len(mask) == 831 and int(mask.sum()) == 605
    assert prefix_mask(mask).tolist() == [True] * 605 + [False] * 226


def test_valid_rows_are_the_whole_models_hidden_state_minus_three(llava, tokenizer, picture):
    """The untrimmed model, called the ordinary way: one image token a patch, no padding."""
    ids = ids_of(tokenizer, "a red hat")
    ids = torch.tensor([ids[:-1] + [IMAGE_TOKEN] * NUM_PATCHES])
    with torch.no_grad():
        output = make_llava()(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=clip_pixels(picture, 12)[None],
            output_hidden_states=True,
        )  # fmt: skip
    expected = output.hidden_states[-3][0, LAYOUT.crop :]
    states, mask = encode_llava(llava, tokenizer, "a red hat", picture, LAYOUT)
    assert len(expected) == int(mask.sum())
    assert torch.allclose(states[: len(expected)], expected, atol=1e-5)


def test_padding_rows_are_all_equal(llava, tokenizer, picture):
    """They start as zeros at one position and see the same rows; the network's refiner reads them."""
    states, mask = encode_llava(llava, tokenizer, "a red hat", picture, LAYOUT)
    padding = states[int(mask.sum()) :]
    assert len(padding) > 3
    assert torch.allclose(padding, padding[:1].expand_as(padding), atol=1e-6)
    assert padding.abs().max() > 1e-3


def test_prompt_and_picture_both_matter(llava, tokenizer, picture):
    states, _ = encode_llava(llava, tokenizer, "a red hat", picture, LAYOUT)
    others = (("a red man", picture), ("a red hat", 255 - picture))
    for prompt, image in others:
        assert not torch.equal(encode_llava(llava, tokenizer, prompt, image, LAYOUT)[0], states)


def test_long_prompts_lose_their_last_words_and_keep_the_picture(llava, tokenizer, picture, caplog):
    prompt = " ".join(["red"] * 100)
    with caplog.at_level(logging.WARNING):
        kept = fit_prompt(tokenizer, prompt, LAYOUT)
    assert len(ids_of(tokenizer, kept)) == LAYOUT.total_tokens
    assert len(ids_of(tokenizer, kept + " red")) > LAYOUT.total_tokens
    assert caplog.records[0].kept_words == len(kept.split())
    states, mask = encode_llava(llava, tokenizer, prompt, picture, LAYOUT)
    assert bool(mask.all()) and torch.equal(states, encode_llava(llava, tokenizer, kept, picture, LAYOUT)[0])
    with pytest.raises(ValueError, match=r"prompt of 100 words makes \d+ tokens, the limit is 120 .60 beside"):
        fit_prompt(tokenizer, prompt, LAYOUT, truncate=False)


def test_a_prompt_with_an_image_token_is_refused(llava, tokenizer, picture):
    with pytest.raises(ValueError, match="take <image> out"):
        encode_llava(llava, tokenizer, "a <image> hat", picture, LAYOUT)


def test_clip_pools_the_prompt(llava, tokenizer, picture):
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64,
        max_position_embeddings=CLIP_TOKENS, eos_token_id=4,
    )  # fmt: skip
    clip = CLIPTextModel(config).eval()
    found = encode_prompt(llava, tokenizer, clip, tokenizer, "a red hat <|eot_id|>", picture, LAYOUT)
    other = encode_prompt(llava, tokenizer, clip, tokenizer, "a red man <|eot_id|>", picture, LAYOUT)
    assert found.pooled.shape == (16,) and not torch.equal(found.pooled, other.pooled)
    assert found.states.shape[0] == len(found.mask)


def test_pictures_are_squashed_and_normalised():
    white = clip_pixels(torch.full((10, 40, 3), 255, dtype=torch.uint8), 8)
    assert white.shape == (3, 8, 8)
    assert white[:, 0, 0].tolist() == pytest.approx([1.930336, 2.074884, 2.145896], abs=1e-5)


def test_the_template_and_the_negative_prompt_are_the_released_ones():
    assert template().count("{}") == 1
    assert len(NEGATIVE_PROMPT) == 162


@given(prompt=st.text(max_size=60))
def test_hashed_words_are_functions_of_their_letters(prompt):
    found = hash_text(prompt, 8, 4)
    num_words = int(found.mask.sum())
    assert found.states.shape == (4, 8) and 1 <= num_words <= 4
    assert found.mask.tolist() == [True] * num_words + [False] * (4 - num_words)
    assert found.states[num_words:].abs().sum() == 0
    assert torch.allclose(found.pooled, found.states[:num_words].mean(0))


def test_hashed_words_do_not_change_from_machine_to_machine():
    states = hash_text("Red, HAT red", 64).states
    assert torch.equal(states[0], states[2]) and not torch.equal(states[0], states[1])
    assert states[0, :3].tolist() == pytest.approx(RED, abs=1e-6)
    many = hash_text(" ".join(map(str, range(400))), 64, 400).states
    assert many.mean().abs() < 0.02 and many.std() == pytest.approx(1, abs=0.02)
