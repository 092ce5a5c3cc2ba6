"""Fountain, the plain-text screenplay format (fountain.io/syntax), in: scenes, who says what, and how."""

import re
from collections.abc import Sequence

from tasks.script.types import Script, ScriptLine, emotion_of, key_of

_SCENE = re.compile(r"^(?:(?:INT|EXT|EST|INT\.?/EXT|I/E)[. ].*|\.(?!\.).+)$", re.IGNORECASE)
_EXTENSION = re.compile(r"\s*\(([^()]*)\)\s*")
_TITLE = re.compile(r"^([A-Za-z][A-Za-z ]*):(.*)$")


def _without_comments(text: str) -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", text.lstrip("\ufeff"), flags=re.DOTALL)
    text = re.sub(r"\[\[.*?\]\]", "", text, flags=re.DOTALL)
    return [line.rstrip() for line in text.splitlines()]


def _title_page(lines: Sequence[str]) -> tuple[str, int]:
    """Return the title and the number of lines that the title page takes."""
    if not lines or not _TITLE.match(lines[0]) or _SCENE.match(lines[0]):
        return "", 0
    title, field = "", ""
    for number, line in enumerate(lines):
        if not line.strip():
            return title.strip(), number
        found = _TITLE.match(line)
        if found and not line.startswith((" ", "\t")):
            field, value = found[1].strip().lower(), found[2]
        else:
            value = line
        if field == "title":
            title += " " + value.strip().strip("*_")
    return title.strip(), len(lines)


def _cue(lines: Sequence[str], number: int) -> str | None:
    """Return the character's name if the line is a character cue: capitals after a blank line, words below."""
    line = lines[number].strip()
    if not line or (number and lines[number - 1].strip()) or number + 1 >= len(lines) or not lines[number + 1].strip():
        return None
    if line.startswith("@"):
        return _EXTENSION.sub("", line[1:]).rstrip("^ ").strip()
    name = _EXTENSION.sub("", line).rstrip("^ ").strip()
    is_cue = name == name.upper() and any(letter.isalpha() for letter in name)
    if not is_cue or line.startswith(("!", ">", "#", "=", "~", ".")) or line.endswith("TO:") or _SCENE.match(line):
        return None
    return name


def _plain(text: str) -> str:
    """Return dialogue without emphasis marks."""
    return (
        re.sub(r"(?<!\\)(\*{1,3}|_)(\S(?:.*?\S)?)\1", r"\2", text).replace("\\*", "*").replace("\\_", "_").lstrip("~ ")
    )


def parse_fountain(text: str) -> Script:
    """Return the script in a Fountain text; a parenthetical splits a speech and carries its emotion."""
    lines = _without_comments(text)
    title, number = _title_page(lines)
    spoken: list[ScriptLine] = []
    scenes: list[tuple[int, str]] = []
    names: dict[str, str] = {}
    while number < len(lines):
        line = lines[number].strip()
        name = _cue(lines, number)
        number += 1
        if _SCENE.match(line):
            scenes.append((len(spoken), line.lstrip(".")))
        if name is None:
            continue
        key = key_of(name)
        names.setdefault(key, name.title() if name.isupper() else name)
        words: list[str] = []
        emotion: str | None = None
        note = ""
        while number < len(lines) and lines[number].strip():
            part = lines[number].strip()
            if part.startswith("(") and part.endswith(")"):
                spoken += _speech(key, words, emotion, note)
                emotion, words = emotion_of(part), []
                note = "" if emotion else part.strip("() ")
            else:
                words.append(_plain(part))
            number += 1
        spoken += _speech(key, words, emotion, note)
    return Script(tuple(spoken), tuple(names.items()), title, tuple(scenes))


def _speech(key: str, words: list[str], emotion: str | None, note: str) -> list[ScriptLine]:
    text = " ".join(word for word in words if word)
    return [ScriptLine(key, text, emotion, note=note)] if text else []


def format_fountain(script: Script) -> str:
    """Return the script as Fountain; reading it back gives the same lines."""
    names, headings = dict(script.names), dict(script.scenes)
    parts = [f"Title: {script.title}\n"] if script.title else []
    for index, line in enumerate(script.lines):
        if index in headings:
            parts.append(f".{headings[index]}\n")
        direction = line.emotion or line.note
        way = f"({direction})\n" if direction else ""
        parts.append(f"@{names.get(line.character, line.character)}\n{way}{line.text}\n")
    return "\n".join(parts)
