"""`farm turns`, `preview`, `import-script`, `export`: who speaks, which face, where to cut, before any rendering."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from farm.output import Output
from tasks.plan.types import Turn
from tasks.script.types import Script
from tasks.settings import settings

if TYPE_CHECKING:
    from tasks.cuts import CutBounds
    from tasks.manifest.read import LoadedManifest

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for machines.")]
Named = Annotated[list[str] | None, typer.Argument(help="More NAME=FILE pairs.", show_default=False)]
Stems = Annotated[list[str] | None, typer.Option("--stems", help="NAME=FILE for each speaker's track.")]
Bounds = Annotated[str, typer.Option(help="Shortest and longest shot in seconds.")]


def mount(app: typer.Typer) -> None:
    """Add the commands about speech, scripts and faces."""
    app.command("turns")(turns)
    app.command("preview")(preview)
    app.command("import-script")(import_script)
    app.command("export")(export)


def named_files(pairs: Sequence[str]) -> dict[str, Path]:
    """Return NAME=FILE pairs as a mapping. Raises: BadParameter for a pair that is none, or a name given twice."""
    files: dict[str, Path] = {}
    for pair in pairs:
        name, mark, file = pair.partition("=")
        if not mark or not name or not file:
            raise typer.BadParameter(f"{pair!r} is not NAME=FILE")
        if name in files:
            raise typer.BadParameter(f"{name!r} is given twice: {files[name]} and {file}")
        files[name] = Path(file)
    return files


def turns(
    more: Named = None,
    stems: Stems = None,
    mix: Annotated[
        Path | None, typer.Option(help="What the audience hears; with --diarizer, instead of stems.")
    ] = None,
    diarizer: Annotated[str, typer.Option(help="rttm:FILE, sherpa:FOLDER or pyannote:FOLDER, for a mix alone.")] = "",
    voices: Annotated[list[str] | None, typer.Option(help="NAME=FILE with a few seconds of each voice alone.")] = None,
    rttm: Annotated[Path | None, typer.Option(help="Write the turns here.")] = None,
    gated: Annotated[Path | None, typer.Option(help="Write gated stems of the mix into this folder.")] = None,
    words: Annotated[
        Path | None, typer.Option(help="Write what was said as .srt or .vtt (needs FARM_WHISPER).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find who speaks when: from one stem per speaker, or from one mix with a diarizer and voice samples."""
    from tasks.script.rttm import format_rttm

    found = _find_turns(more or [], stems, mix, diarizer, voices)
    if rttm is not None:
        rttm.write_text(format_rttm(found, rttm.stem), encoding="utf-8")
    if gated is not None:
        from tasks.speech.stems import write_gated_stems

        if mix is None:
            raise typer.BadParameter("--gated cuts stems out of a mix; give --mix")
        write_gated_stems(mix, found, gated)
    if words is not None:
        _write_words(named_files([*(stems or []), *(more or [])]) if stems else {}, found, words)
    out = Output(as_json)
    out.result({"turns": [asdict(turn) for turn in found]})
    out.show(_turns_table(found))


def _write_words(stems: Mapping[str, Path], found: tuple[Turn, ...], words: Path) -> None:
    from tasks.script.words import load_recogniser, words_of_turns
    from tasks.script.write import write_lines

    if not stems:
        raise typer.BadParameter("--words listens to each speaker's own track; give --stems")
    write_lines(words_of_turns(stems, found, load_recogniser(settings().whisper)), words)


def _find_turns(
    more: list[str], stems: list[str] | None, mix: Path | None, diarizer: str, voices: list[str] | None
) -> tuple[Turn, ...]:
    if diarizer:
        from tasks.speech.diarize import open_diarizer, turns_from_mix

        if mix is None or stems:
            raise typer.BadParameter("--diarizer works on one track: give --mix and no --stems")
        return turns_from_mix(mix, named_files([*(voices or []), *more]), open_diarizer(diarizer))
    if not stems:
        raise typer.BadParameter("give --stems NAME=FILE ..., or --mix with --diarizer and --voices")
    from tasks.speech.turns import turns_from_stems

    return turns_from_stems(named_files([*stems, *more]), mix)


def _turns_table(found: Sequence[Turn]) -> Table:
    table = Table(title=f"{len(found)} turns")
    for column in ("from", "to", "seconds", "character"):
        table.add_column(column, justify="left" if column == "character" else "right")
    for turn in found:
        seconds = turn.end_seconds - turn.start_seconds
        table.add_row(f"{turn.start_seconds:.2f}", f"{turn.end_seconds:.2f}", f"{seconds:.2f}", turn.character)
    return table


def preview(
    manifest: Annotated[Path, typer.Argument(help="Episode manifest, YAML or JSON.")],
    out: Annotated[Path, typer.Option(help="Folder for preview.html and the plates.")] = Path("out/preview"),
    as_json: AsJson = False,
) -> None:
    """Write one HTML page that shows faces, masks, turns, cuts, segments, cost and what to look at."""
    from tasks.faces.detectors import open_detector
    from tasks.preview.gather import gather_preview, write_preview

    told = Output(as_json)
    detector = open_detector(settings().face_models)
    loaded = _read(manifest)
    if any(who.face == "auto" for shot in loaded.manifest.shots for who in shot.characters):
        told.say(f"faces: {detector.name} detector ({detector.licence})")
    made = gather_preview(loaded, detector)
    written = write_preview(made, out)
    told.result({"page": str(written[0]), "notices": [asdict(notice) for notice in made.notices]})
    for notice in made.notices:
        told.say(f"{notice.start_seconds:8.2f} s  {notice.shot or '-'}  {notice.character or '-'}: {notice.text}")
    told.show(str(written[0]))


def _read(manifest: Path) -> "LoadedManifest":
    """Return a manifest as a render reads it: media fetched, a stem for everybody who speaks in its mix."""
    from tasks.manifest.read import read_manifest
    from tasks.manifest.remote import store_fetch
    from tasks.separate import with_stems

    loaded = read_manifest(manifest, fetch=store_fetch(settings().home / "media", settings().s3_endpoint))
    return with_stems(loaded, settings().home / "stems")


def import_script(
    source: Annotated[Path, typer.Argument(help="Fountain, SRT, WebVTT, RTTM, MultiTalk, AnyTalker, released CSV.")],
    out: Annotated[Path, typer.Argument(help="episode.yaml, or a .fountain, .srt, .vtt or .rttm file.")],
    more: Named = None,
    stems: Stems = None,
    turns_file: Annotated[Path | None, typer.Option("--turns", help="RTTM with who speaks when.")] = None,
    from_format: Annotated[str, typer.Option("--from", help="The format, where the ending does not say it.")] = "",
    bounds: Bounds = "2 15",
    as_json: AsJson = False,
) -> None:
    """Turn a script or another project's manifest into an episode, its lines laid on the turns that speak them."""
    from tasks.script.read import read_script

    told, limits = Output(as_json), _bounds(bounds)
    read = read_script(source, from_format)
    if not isinstance(read, Script):
        facts = _import_peers(read, source, out)
    else:
        heard = _heard(named_files([*(stems or []), *(more or [])]), turns_file)
        facts = _import_lines(read, heard, out, limits)
    told.result(facts)
    told.show("\n".join(f"{name}: {value}" for name, value in facts.items()))


def _bounds(text: str) -> "CutBounds":
    from tasks.cuts import CutBounds

    try:
        shortest, longest = (float(value) for value in text.replace(",", " ").split())
        return CutBounds(shortest, longest)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r}: {exc}; write two numbers, as in '2 15'", param_hint="--bounds") from exc


def _heard(stems: Mapping[str, Path], turns_file: Path | None) -> tuple[Turn, ...]:
    if turns_file is not None:
        from tasks.script.rttm import read_rttm

        return read_rttm(turns_file)
    if stems:
        from tasks.speech.turns import turns_from_stems

        return turns_from_stems(stems)
    return ()


def _import_peers(shots: Sequence[Any], source: Path, out: Path) -> dict[str, Any]:
    from tasks.script.draft import draft_from_peers
    from tasks.script.types import key_of
    from tasks.script.write import pad_stems, sound_seconds, write_manifest

    seconds = sound_seconds(source.parent, [voice.audio for shot in shots for voice in shot.voices])
    padded = pad_stems(shots, seconds, source.parent, out.parent)
    write_manifest(draft_from_peers(shots, seconds, key_of(source.stem) or "episode"), out)
    return {"shots": len(shots), "padded stems": len(padded), "written": str(out)}


def _import_lines(script: Script, heard: tuple[Turn, ...], out: Path, bounds: "CutBounds") -> dict[str, Any]:
    from tasks.script.align import align
    from tasks.script.draft import draft_from_script
    from tasks.script.pace import pace, shots_of
    from tasks.script.types import key_of
    from tasks.script.write import write_lines, write_manifest

    facts: dict[str, Any] = {"lines": len(script.lines)}
    if heard:
        laid = align(script.lines, heard)
        facts |= {"lines nobody speaks": len(laid.unspoken_lines), "turns nobody wrote": len(laid.unwritten_turns)}
        script = replace(script, lines=laid.lines)
    script = replace(script, lines=pace(script.lines))
    if out.suffix.lower() in (".yaml", ".yml", ".json"):
        ends = [line.end_seconds or 0.0 for line in script.lines] + [turn.end_seconds for turn in heard]
        cuts, frames = shots_of(script, max(ends, default=0.0) + 0.4, 25, bounds)
        write_manifest(draft_from_script(script, key_of(out.stem) or "episode", frames), out)
        facts |= {"shots": len(frames), "cuts": ", ".join(one.reason for one in cuts[1:-1]) or "none"}
    else:
        write_lines(script, out)
    return facts | {"written": str(out)}


def export(
    manifest: Annotated[Path, typer.Argument(help="Episode manifest, YAML or JSON.")],
    out: Annotated[Path, typer.Argument(help="Timeline or subtitles: .otio, .edl, .rttm, .srt or .vtt.")],
    script: Annotated[Path | None, typer.Option(help="Script with the words, for .srt and .vtt.")] = None,
    film: Annotated[str, typer.Option(help="Address of the finished film, for .otio.")] = "",
) -> None:
    """Write an episode's plan for an editor: OpenTimelineIO or EDL; or who speaks when as RTTM or subtitles."""
    from tasks.faces.detectors import open_detector
    from tasks.preview.gather import gather_preview
    from tasks.script.read import read_script
    from tasks.script.write import EXPORTS, require_ending, write_export

    require_ending(out, EXPORTS)  # before the work, not after it
    made = gather_preview(_read(manifest), open_detector(settings().face_models))
    words = read_script(script) if script is not None else None
    if words is not None and not isinstance(words, Script):
        raise typer.BadParameter(f"{script}: has no lines; give a script or subtitles")
    stems = {track.character: track.file for track in made.tracks if not track.start_seconds}
    write_export(made.plan, made.notices, stems, words, film, out)
    typer.echo(str(out))
