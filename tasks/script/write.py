"""Scripts, manifests and timelines onto the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.errors import MediaError
from tasks.plan.types import Plan
from tasks.preview.types import Notice
from tasks.script.align import align
from tasks.script.draft import offsets, stem_name
from tasks.script.fountain import format_fountain
from tasks.script.pace import turns_of
from tasks.script.peers import PeerShot
from tasks.script.rttm import format_rttm
from tasks.script.subtitles import format_srt, format_vtt
from tasks.script.timeline import Mark, TimelineMedia, episode_turns, format_edl, format_otio
from tasks.script.types import Script
from tasks.speech.sound import read_sound
from tasks.speech.vad import SAMPLE_RATE

EXPORTS = (".otio", ".edl", ".rttm", ".srt", ".vtt")
LINES = (".yaml", ".fountain", ".srt", ".vtt", ".rttm")  # of which the first is a manifest's
HEADER = "# Imported. Look through the pictures, and say for everybody in the cast what their consent is.\n"


def require_ending(out: Path, endings: Sequence[str]) -> None:
    """Refuse a file whose ending names no format of these. Raises: MediaError."""
    if out.suffix.lower() not in endings:
        raise MediaError(f"{out}: cannot write {out.suffix!r}; write {', '.join(endings[:-1])} or {endings[-1]}")


def write_manifest(draft: Mapping[str, Any], out: Path) -> None:
    """Write a draft as YAML."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(
        HEADER + yaml.safe_dump(dict(draft), sort_keys=False, allow_unicode=True, width=110), encoding="utf-8"
    )


def write_lines(script: Script, out: Path) -> None:
    """Write a timed script as the format that the file's ending names. Raises: MediaError for another ending."""
    require_ending(out, LINES)
    ending = out.suffix.lower()
    if ending == ".rttm":
        text = format_rttm(turns_of(script.lines), out.stem)
    else:
        text = {".srt": format_srt, ".vtt": format_vtt, ".fountain": format_fountain}[ending](script)
    out.write_text(text, encoding="utf-8")


def sound_seconds(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Return every sound's length in seconds. Raises: MediaError when one cannot be read."""
    return {name: len(read_sound(folder / name)) / SAMPLE_RATE for name in dict.fromkeys(names)}


def pad_stems(shots: Sequence[PeerShot], seconds: Mapping[str, float], source: Path, folder: Path) -> list[Path]:
    """Write the stems of voices that follow each other, each padded to its place in the shot; return the files.

    Raises: MediaError when a sound cannot be read.
    """
    import soundfile

    written = []
    for shot in shots:
        if shot.order == "together" or len(shot.voices) < 2:
            continue
        begins = offsets(shot, seconds)
        total = round(sum(seconds[voice.audio] for voice in shot.voices) * SAMPLE_RATE)
        for voice in shot.voices:
            track = np.zeros(total, np.float32)
            own = read_sound(source / voice.audio)
            start = round(begins[voice.character] * SAMPLE_RATE)
            track[start : start + len(own)] = own[: total - start]
            path = folder / stem_name(shot.id, voice.character)
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, track, SAMPLE_RATE, "PCM_16")
            written.append(path)
    return written


def write_export(
    plan: Plan, notices: Sequence[Notice], stems: Mapping[str, str], words: Script | None, film: str, out: Path
) -> None:
    """Write a plan as the timeline or subtitle format that the file's ending names.

    Raises: MediaError for another ending, and for subtitles without words.
    """
    require_ending(out, EXPORTS)
    ending = out.suffix.lower()
    if ending == ".otio":
        marks = [
            Mark(one.start_seconds, one.end_seconds, f"{one.rule}: {one.character} {one.text}".strip())
            for one in notices
        ]
        text = format_otio(plan, TimelineMedia(film, stems), marks)
    elif ending == ".edl":
        text = format_edl(plan)
    elif ending == ".rttm":
        text = format_rttm(episode_turns(plan), plan.episode)
    else:
        if words is None:
            raise MediaError(f"{out}: subtitles need words; give the script")
        laid = align(words.lines, episode_turns(plan)).lines
        timed = replace(words, lines=tuple(line for line in laid if line.start_seconds is not None))
        text = (format_srt if ending == ".srt" else format_vtt)(timed)
    out.write_text(text, encoding="utf-8")
