"""A mix without stems becomes stems: what a written turn file, or a lone face on screen, says is whose."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from tasks.errors import ConfigError
from tasks.manifest.probe import probe
from tasks.manifest.read import LoadedManifest
from tasks.script.rttm import read_rttm
from tasks.speech.stems import write_gated_stems


def with_stems(loaded: LoadedManifest, folder: Path) -> LoadedManifest:
    """Return the manifest with a stem for everybody who speaks in its mix; one that has stems comes back as it is.

    Stems are cut from the mix at the turns of `audio.turns`, with soft edges, and kept in `folder` by digest. A single
    character on screen needs no turns: the mix is its voice. The mix itself is not touched.
    Raises: ConfigError when several voices have no turns, MediaError when the mix cannot be read.
    """
    audio, shots = loaded.manifest.audio, loaded.manifest.shots
    if audio.mix is None or audio.stems or any(shot.stems for shot in shots):
        return loaded
    seen = sorted({face.character for shot in shots for face in shot.characters})
    if audio.turns is not None:
        return _named(loaded, _cut(loaded, audio.mix, audio.turns, folder))
    if len(seen) > 1:
        named = " ".join(f"{name}=FILE" for name in seen)
        command = f"farm turns --mix {audio.mix} --diarizer sherpa:FOLDER --rttm turns.rttm --voices {named}"
        raise ConfigError(
            f"the mix {audio.mix!r} holds the voices of {', '.join(seen)} and nothing says who speaks when;"
            f" write it once with '{command}' and name the file in audio.turns"
        )
    return _with(loaded, dict.fromkeys(seen, audio.mix))


def _cut(loaded: LoadedManifest, mix: str, turns: str, folder: Path) -> Path:
    """Write the stems once for this mix and these turns; return their folder."""
    place = folder / f"{loaded.media[mix].sha256[:24]}-{loaded.media[turns].sha256[:24]}"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as scratch:
            work = Path(scratch) / "stems"
            write_gated_stems(loaded.files[mix], read_rttm(loaded.files[turns]), work)
            if not place.exists():
                os.replace(work, place)
    return place


def _named(loaded: LoadedManifest, place: Path) -> LoadedManifest:
    """Add the stems in a folder, each with its facts, under the names of their characters."""
    files = {path.stem: path for path in sorted(place.glob("*.wav"))}
    names = {character: f"stem of {character} in the mix" for character in files}
    facts = {names[character]: probe(path, "stem", names[character]) for character, path in files.items()}
    found = {names[character]: path for character, path in files.items()}
    return _with(replace(loaded, media={**loaded.media, **facts}, files={**loaded.files, **found}), names)


def _with(loaded: LoadedManifest, stems: dict[str, str]) -> LoadedManifest:
    audio = loaded.manifest.audio.model_copy(update={"stems": stems})
    return replace(loaded, manifest=loaded.manifest.model_copy(update={"audio": audio}))
