"""SubRip and WebVTT, in and out: what is said when, and by whom where the file says so."""

import html
import re
from collections.abc import Iterator, Sequence

from tasks.script.types import Script, ScriptLine, emotion_of, key_of

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_SPAN = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]*)>")
_NAMED = re.compile(
    r"^(?:-\s*)?(?:\[([^\]]{1,60})\]:?|([A-Z][\w.'’ -]{0,39}?)\s*(?:\(([^()]*)\))?:)\s+(.*)$", re.DOTALL
)
_DIRECTION = re.compile(r"^\s*\(([^()]*)\)\s*")


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return (
        int(hours or 0) * 3600
        + int(minutes or 0) * 60
        + int(seconds or 0)
        + int((fraction or "0").ljust(3, "0")) / 1000
    )


def _stamp(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"


def _blocks(text: str, source: str) -> Iterator[tuple[float, float, str]]:
    """Yield (start, end, payload) of every cue. Raises: ValueError naming the line of one that ends too early."""
    lines = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    number = 0
    while number < len(lines):
        found = _SPAN.match(lines[number])
        number += 1
        if not found:
            continue
        start, end = _seconds(found.groups()[:4]), _seconds(found.groups()[4:])
        if end <= start:
            raise ValueError(f"{source}:{number}: ends at {end:.3f} s, not after its start {start:.3f} s")
        payload = []
        while number < len(lines) and lines[number].strip():
            payload.append(lines[number].strip())
            number += 1
        yield start, end, "\n".join(payload)


def _line(name: str, text: str, start: float, end: float, direction: str = "") -> ScriptLine:
    found = _DIRECTION.match(text)
    if found:
        direction, text = found[1], text[found.end() :]
    emotion = emotion_of(direction) if direction else None
    note = "" if emotion else direction.strip()
    return ScriptLine(key_of(name), " ".join(text.split()), emotion, start, end, note)


def _script(parts: Sequence[tuple[str, ScriptLine]]) -> Script:
    names: dict[str, str] = {}
    for name, line in parts:
        if name.strip():
            names.setdefault(line.character, name.strip())
    return Script(tuple(line for _, line in parts if line.text), tuple(names.items()))


def parse_srt(text: str, source: str = "SRT") -> Script:
    """Return the script in a SubRip text; a speaker is taken from `Name: words` or `[Name] words`.

    Raises: ValueError for a cue that ends before it starts.
    """
    parts = []
    for start, end, payload in _blocks(text, source):
        plain = re.sub(r"<[^>]*>|\{\\[^}]*\}", "", payload)
        turns = re.split(r"\n(?=-\s)", plain) if plain.startswith("-") else [plain]
        for turn in turns:
            found = _NAMED.match(turn.strip())
            name = (found[1] or found[2]) if found else ""
            words = found[4] if found else turn.strip().removeprefix("- ")
            parts.append((name, _line(name, words, start, end, (found[3] or "") if found else "")))
    return _script(parts)


def parse_vtt(text: str, source: str = "WebVTT") -> Script:
    """Return the script in a WebVTT text; speakers come from `<v Name>`, several in one cue share its time.

    Raises: ValueError without the WEBVTT header, or for a cue that ends before it starts.
    """
    if not text.lstrip("\ufeff").startswith("WEBVTT"):
        raise ValueError(f"{source}:1: the first line is not WEBVTT; is this SubRip? (.srt)")
    kept = re.sub(
        r"(?:^|\n)(?:NOTE|STYLE|REGION)\b.*?(?=\n\s*\n|\Z)", "\n", text.replace("\r\n", "\n"), flags=re.DOTALL
    )
    parts = []
    for start, end, payload in _blocks(kept, source):
        pieces = _VOICE.split(payload)
        spoken = [("", pieces[0])] if pieces[0].strip() else []
        spoken += list(zip(pieces[1::2], pieces[2::2], strict=True))
        for name, words in spoken:
            plain = html.unescape(re.sub(r"<[^>]*>", "", words))
            speaker = html.unescape(name).strip()
            parts.append((speaker, _line(speaker, plain, start, end)))
    return _script(parts)


def _direction(line: ScriptLine) -> str:
    direction = line.emotion or line.note
    return f"({direction}) " if direction else ""


def _timed(script: Script) -> Iterator[tuple[float, float, str, ScriptLine]]:
    """Yield (start, end, name, line). Raises: ValueError when a line has no time: align the script to turns first."""
    names = dict(script.names)
    for number, line in enumerate(script.lines, start=1):
        if line.start_seconds is None or line.end_seconds is None:
            raise ValueError(f"line {number} ({line.text[:30]!r}) has no time; align the script to turns first")
        yield line.start_seconds, line.end_seconds, names.get(line.character, line.character), line


def format_srt(script: Script) -> str:
    """Return the script as SubRip, each cue as `[Name] words`."""
    cues = []
    for number, (start, end, name, line) in enumerate(_timed(script), start=1):
        who = f"[{name}] " if name else ""
        cues.append(f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{who}{_direction(line)}{line.text}\n")
    return "\n".join(cues)


def format_vtt(script: Script) -> str:
    """Return the script as WebVTT with a voice span for each line."""
    cues = ["WEBVTT\n"]
    for start, end, name, line in _timed(script):
        who = f"<v {html.escape(name, quote=False)}>" if name else ""
        words = html.escape(f"{_direction(line)}{line.text}", quote=False)
        cues.append(f"{_stamp(start, '.')} --> {_stamp(end, '.')}\n{who}{words}\n")
    return "\n".join(cues)
