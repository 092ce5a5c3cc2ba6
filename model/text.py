"""Prompts as text states: LLaVA-Llama-3-8B and CLIP-L in the released layout, and the puppet's hashed words.

s text rows, d width, p pooled width, i image feature rows (576), n prompt tokens, h w pixels.
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

log = logging.getLogger(__name__)

TEMPLATE_SHA256 = "a52f68dde3637b127592fffe9e2483a5d0563987a49db6ddb9b06146f2ba7cb5"
IMAGE_SUFFIX = "\nThe person looks like<image>"
PROMPT_PREFIX = "Authentic, Realistic, Natural, High-quality, Lens-Fixed, "
NEGATIVE_PROMPT = (
    "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, bad teeth, "
    "bad eyes, bad limbs, distortion, blurring, Lens changes"
)
CLIP_TOKENS = 77
CLIP_MEAN = (0.48145466, 0.4578275, 0.4082107)  # the release's third mean has lost a digit
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class TextStates(NamedTuple):
    """What the network reads of a prompt. `mask` is where the refiner looks; its sum is what attention reads."""

    states: Float[Tensor, "s d"]
    mask: Bool[Tensor, "s"]
    pooled: Float[Tensor, "p"]


@dataclass(frozen=True)
class TextLayout:
    """How many prompt tokens there are at most, and where in the states the template's fixed part ends."""

    max_tokens: int = 256
    crop: int = 95
    skip_layers: int = 2  # the release takes the states before the last two layers

    @property
    def total_tokens(self) -> int:
        return self.max_tokens + self.crop


# ----------------------------------------------------------------------------------------------- the puppet's words


def hash_text(prompt: str, width: int, max_tokens: int = 16) -> TextStates:
    """Return one fixed random vector per lower-cased word (unit variance), zero rows after them, and their mean.

    A word's vector is a function of its letters alone, on every machine. A prompt without words counts as one
    empty word; words beyond `max_tokens` are left out.
    """
    words = re.findall(r"[^\W_]+(?:['’][^\W_]+)*", prompt.lower()) or [""]
    rows = torch.stack([_word_vector(word, width) for word in words[:max_tokens]])
    states = functional.pad(rows, (0, 0, 0, max_tokens - len(rows)))
    return TextStates(states, torch.arange(max_tokens) < len(rows), rows.mean(dim=0))


def _word_vector(word: str, width: int) -> Float[Tensor, "d"]:
    """Draw from Philox's raw bits, whose stream is fixed by its definition; uniform with unit variance."""
    key = int.from_bytes(hashlib.sha256(word.encode()).digest()[:16], "little")
    bits = np.random.Philox(key=key).random_raw(width) >> np.uint64(40)
    return torch.from_numpy(((bits.astype(np.float64) / 2**24 - 0.5) * 12**0.5).astype(np.float32))


# ------------------------------------------------------------------------------------------------ LLaVA and CLIP-L


@lru_cache(maxsize=1)
def template() -> str:
    """Return the chat template around the prompt, from diffusers' HunyuanVideo pipeline.

    Raises: ValueError when the installed diffusers has another text than the network was trained with.
    """
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

    text: str = DEFAULT_PROMPT_TEMPLATE["template"]
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != TEMPLATE_SHA256:
        raise ValueError(
            f"diffusers' prompt template has sha256 {found}, not {TEMPLATE_SHA256}; install diffusers 0.42"
        )
    return text


def fit_prompt(tokenizer: Any, prompt: str, layout: TextLayout, truncate: bool = True) -> str:
    """Return the prompt, without as many of its last words as are too many for the image token to stay in.

    Raises: ValueError when words would have to go and `truncate` is off, or when not even an empty prompt fits.
    """
    words = prompt.split()
    found = _num_tokens(tokenizer, prompt)
    if found <= layout.total_tokens:
        return prompt
    low, high = 0, len(words)  # `low` words fit, `high` do not
    if not truncate or _num_tokens(tokenizer, "") > layout.total_tokens:
        raise ValueError(
            f"prompt of {len(words)} words makes {found} tokens, the limit is {layout.total_tokens} "
            f"({layout.max_tokens} beside the template); shorten it"
        )
    while high - low > 1:
        middle = (low + high) // 2
        fits = _num_tokens(tokenizer, " ".join(words[:middle])) <= layout.total_tokens
        low, high = (middle, high) if fits else (low, middle)
    log.warning("prompt truncated", extra={"num_words": len(words), "kept_words": low, "num_tokens": found})
    return " ".join(words[:low])


def _wrap(prompt: str) -> str:
    return template().format(prompt) + IMAGE_SUFFIX


def _num_tokens(tokenizer: Any, prompt: str) -> int:
    return len(tokenizer(_wrap(prompt))["input_ids"])


def trim_llava(llava: Any, layout: TextLayout) -> Any:
    """Cut the layers that no one reads from a LlavaForConditionalGeneration, in place: last two, norm and head."""
    language = llava.model.language_model
    language.layers = language.layers[: len(language.layers) - layout.skip_layers]
    language.config.num_hidden_layers = len(language.layers)
    language.norm = torch.nn.Identity()
    llava.lm_head = torch.nn.Identity()
    return llava.eval().requires_grad_(False)


def clip_pixels(image: UInt8[Tensor, "h w 3"], side: int) -> Float[Tensor, "3 s s"]:
    """Return a picture squashed to a square (bilinear, Pillow's) and normalised as CLIP wants it."""
    from PIL import Image

    squashed = Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(squashed)).permute(2, 0, 1).float() / 255
    return (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


@torch.no_grad()
def encode_llava(
    llava: Any, tokenizer: Any, prompt: str, image: UInt8[Tensor, "h w 3"], layout: TextLayout, truncate: bool = True
) -> tuple[Float[Tensor, "s d"], Bool[Tensor, "s"]]:
    """Return text states and the released mask for a prompt and the picture it speaks about.

    `llava` comes from `trim_llava`. States: the prompt's tokens, the picture's features, then equal padding rows.
    The mask has the right sum in the wrong places, as in the release: prompt tokens, padding, picture
    (`prefix_mask` repairs it).
    """
    core = llava.model
    device, dtype = core.language_model.embed_tokens.weight.device, core.language_model.embed_tokens.weight.dtype
    text = _wrap(fit_prompt(tokenizer, prompt, layout, truncate))
    ids = torch.tensor(tokenizer(text)["input_ids"], device=device)
    if ids[-1] != llava.config.image_token_id or int((ids == llava.config.image_token_id).sum()) != 1:
        raise ValueError(
            f"prompt {prompt!r}: the image token must come once, at the end; take <image> out of the prompt"
        )
    side = llava.config.vision_config.image_size
    features = _image_features(core, clip_pixels(image, side).to(device, dtype), llava.config)
    words = core.language_model.embed_tokens(ids[:-1])
    num_padding = layout.total_tokens - len(ids)
    # padding rows are zeros at position 1: the network reads them, test_padding_rows_are_all_equal pins them
    rows = torch.cat((words, features, words.new_zeros(num_padding, words.shape[1])))
    num_valid = len(rows) - num_padding
    valid = torch.arange(len(rows), device=device) < num_valid
    positions = torch.arange(len(rows), device=device).where(valid, 1)
    output = core.language_model(
        inputs_embeds=rows[None], attention_mask=valid[None].long(), position_ids=positions[None], use_cache=False
    )
    states = output.last_hidden_state[0, layout.crop :]
    return states, released_mask(len(ids) - layout.crop, layout.max_tokens, len(features) - 1).to(device)


def _image_features(core: Any, pixels: Float[Tensor, "3 s s"], config: Any) -> Float[Tensor, "i d"]:
    hidden = core.vision_tower(pixels[None], output_hidden_states=True).hidden_states[config.vision_feature_layer]
    features: Tensor = core.multi_modal_projector(hidden[0, 1:])  # without the class token
    return features


def released_mask(num_tokens: int, max_tokens: int, extra_rows: int) -> Bool[Tensor, "s"]:
    """Return the mask that the released network was fed: prompt, hole, and ones for all but one of the image's rows."""
    mask = torch.arange(max_tokens) < num_tokens
    return torch.cat((mask, torch.ones(extra_rows, dtype=torch.bool)))


def prefix_mask(mask: Bool[Tensor, "s"]) -> Bool[Tensor, "s"]:
    """Return the mask with its ones where the valid rows are; a visible change for the released weights."""
    return torch.arange(len(mask), device=mask.device) < mask.sum()


@torch.no_grad()
def encode_clip_text(clip: Any, tokenizer: Any, prompt: str) -> Float[Tensor, "p"]:
    """Return CLIP-L's pooled output; longer prompts lose what is beyond 77 tokens."""
    tokens = tokenizer(prompt, padding="max_length", truncation=True, max_length=CLIP_TOKENS, return_tensors="pt")
    ids: Int[Tensor, "1 n"] = tokens["input_ids"].to(clip.device)
    pooled: Tensor = clip(ids, attention_mask=tokens["attention_mask"].to(clip.device)).pooler_output[0]
    return pooled


def encode_prompt(
    llava: Any,
    llava_tokenizer: Any,
    clip: Any,
    clip_tokenizer: Any,
    prompt: str,
    image: UInt8[Tensor, "h w 3"],
    layout: TextLayout = TextLayout(),
) -> TextStates:
    """Return everything the released network reads of one prompt; no prefix is added."""
    states, mask = encode_llava(llava, llava_tokenizer, prompt, image, layout)
    return TextStates(states, mask, encode_clip_text(clip, clip_tokenizer, prompt).to(states.device))
