"""What a script is made of, whatever format it came in. Pure."""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class ScriptLine:
    """One thing that one character says; times are None where the format has none.

    `character` is "" where the format does not say who speaks. `note` keeps a parenthetical that is no emotion.
    """

    character: str
    text: str
    emotion: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Script:
    """Lines in order; `names` maps character keys to names for people; `scenes` are (index of first line, heading)."""

    lines: tuple[ScriptLine, ...]
    names: tuple[tuple[str, str], ...] = ()
    title: str = ""
    scenes: tuple[tuple[int, str], ...] = ()


def key_of(name: str) -> str:
    """Return a manifest key for a name: lower case, ASCII, words joined by _ (at most 40); "" for an empty name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    key = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:40]
    if key or not name.strip():
        return key
    return "character_" + "_".join(f"{ord(letter):x}" for letter in name.strip())[:30].strip("_")


# What a parenthetical or a delivery word says about the face. Keys are the stems of words.
_EMOTIONS = {
    "happy": ("happ", "smil", "laugh", "grin", "chuckl", "joy", "cheer", "delight", "glad", "amus", "excit", "beam"),
    "sad": ("sad", "cry", "crie", "sob", "tear", "weep", "mourn", "grie", "heartbr", "sigh", "miser", "gloom"),
    "angry": ("ang", "furio", "shout", "yell", "rage", "mad", "irritat", "annoy", "snap", "seeth", "outrag", "cross"),
    "surprised": ("surpris", "shock", "gasp", "astonish", "amaz", "startl", "stun", "disbelie"),
    "fearful": ("fear", "afraid", "scar", "terrif", "frighten", "nervous", "panic", "anxious"),
    "disgusted": ("disgust", "revolt", "repuls"),
    "neutral": ("neutral", "calm", "flat", "evenly", "deadpan", "matter-of-fact"),
}  # fmt: skip
_NEGATION = re.compile(r"\b(not|never|without|no)\s+(?:\w+\s+)?$")


def emotion_of(direction: str) -> str | None:
    """Return the emotion that a direction such as `(laughing)` asks for, or None where it asks for none."""
    text = direction.lower()
    for emotion, stems in _EMOTIONS.items():
        for stem in stems:
            found = re.search(rf"\b{re.escape(stem)}", text)
            if found and not _NEGATION.search(text[: found.start()]):
                return emotion
    return None
