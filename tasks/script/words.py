"""What was said, where openai-whisper's weights are installed: each turn's words out of its speaker's own stem."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.plan.types import Turn
from tasks.script.types import Script, ScriptLine
from tasks.speech.sound import Sound, read_sound
from tasks.speech.vad import SAMPLE_RATE

MOST_TOKENS = 200  # of one turn; a network that does not stop is stopped


def load_recogniser(checkpoint: Path | None) -> Any:
    """Return openai-whisper's network from a checkpoint file.

    Raises: ConfigError when none is set (FARM_WHISPER) or the file is not one.
    """
    import whisper

    if checkpoint is None or not checkpoint.is_file():
        raise ConfigError(
            f"no whisper checkpoint at {checkpoint}; set FARM_WHISPER to a .pt file (`farm doctor` says how)"
        )
    try:
        return whisper.load_model(str(checkpoint), device="cpu")
    except (KeyError, RuntimeError, OSError, EOFError) as exc:
        raise ConfigError(f"{checkpoint}: is not a whisper checkpoint ({exc})") from exc


def words_of_turns(stems: Mapping[str, Sound], turns: Sequence[Turn], recogniser: Any, language: str = "en") -> Script:
    """Return a script with one timed line per turn in which words were recognised.

    Each turn is heard in its own speaker's stem, so neighbours' words stay theirs. Raises: MediaError.
    """
    lines = []
    for character, sound in stems.items():
        samples = read_sound(sound)
        for turn in (turn for turn in turns if turn.character == character):
            heard = samples[round(turn.start_seconds * SAMPLE_RATE) : round(turn.end_seconds * SAMPLE_RATE)]
            found = recogniser.transcribe(
                heard,
                language=language,
                temperature=0.0,
                condition_on_previous_text=False,
                fp16=False,
                sample_len=MOST_TOKENS,
                verbose=None,
            )
            text = " ".join(str(found["text"]).split())
            if text:
                lines.append(ScriptLine(character, text, None, turn.start_seconds, turn.end_seconds))
    return Script(tuple(sorted(lines, key=lambda line: line.start_seconds or 0.0)))
