"""From a file to a checked manifest: every fault of every layer at once, each with its line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tasks.errors import Fault, ManifestError
from tasks.manifest.findings import Finding, dotted
from tasks.manifest.findings import Path as Where
from tasks.manifest.json_tree import parse_json
from tasks.manifest.models import Manifest
from tasks.manifest.probe import sha256_of
from tasks.manifest.prune import Pruned, prune
from tasks.manifest.rules import Declared, rule_findings
from tasks.manifest.rules_media import Fetch, Media, gather, media_findings
from tasks.manifest.rules_time import time_findings
from tasks.manifest.tree import MAX_BYTES, Tree, TreeError, lines, plain
from tasks.manifest.yaml_tree import parse_yaml
from tasks.plan.types import MediaFact

_PROFILE: Where = ("episode", "profile")
_SIZE: Where = ("episode", "size")
_NEEDS: dict[str, tuple[Where, ...]] = {  # what a finding rests on besides its own place
    "size-for-profile": (_PROFILE,), "film-too-large": (_PROFILE,), "window-for-profile": (_PROFILE,),
    "shift-too-large": (_PROFILE, ("episode", "sampler")), "prompt-too-long": (_PROFILE,),
    "consent-scope": (("episode", "id"), ("episode", "show")), "label-required": (("output",),),
    "mix-sample-rate": (("output", "container"),), "face-too-small": (_SIZE,),
    "plate-aspect": (_SIZE,), "plate-too-small": (_SIZE,),
}  # fmt: skip
_NEEDS_FACES = ("cue-off-screen", "voice-without-face")
_TIMES = ("start_seconds", "duration_seconds", "stems")


@dataclass(frozen=True)
class LoadedManifest:
    """A manifest without faults, and what reading it has found out.

    `lines` maps dotted paths (shots[2].plate) to lines; `media` and `files` map paths as written to facts and files.
    """

    manifest: Manifest
    folder: Path
    lines: Mapping[str, int]
    sha256: str
    media: Mapping[str, MediaFact]
    files: Mapping[str, Path]


def read_manifest(path: Path, *, fetch: Fetch | None = None, today: date | None = None) -> LoadedManifest:
    """Return the manifest in a YAML or JSON file, checked with all the media it names.

    `fetch` brings s3:// objects onto this machine; without it they are not opened. `today` (default: the day in UTC)
    decides whether a consent has expired.

    Raises: ManifestError with every fault.
    """
    tree = _tree(path)
    value, places = plain(tree.root), dict(lines(tree.root))
    pruned = prune(value)
    findings = [_duplicate(where, key) for _, where, key in tree.duplicates] + pruned.findings
    declared, media = _declared(value), Media()
    if pruned.manifest is not None:
        day = today or datetime.now(UTC).date()
        media, found = gather(pruned.manifest, path.parent, fetch)
        found += rule_findings(pruned.manifest, declared, day)
        found += media_findings(pruned.manifest, media, declared)
        found += time_findings(pruned.manifest, media.facts) if _times_are_whole(pruned) else []
        findings += _not_induced(found, pruned)
    if findings or pruned.manifest is None:
        duplicate_lines = {(*where, key): line for line, where, key in tree.duplicates}
        raise ManifestError(list(_faults(path, findings, places, duplicate_lines)))
    named = {dotted(where): line for where, line in places.items()}
    return LoadedManifest(pruned.manifest, path.parent, named, sha256_of(path), media.facts, media.files)


def _tree(path: Path) -> Tree:
    try:
        text = _text(path)
        return parse_json(text) if path.suffix.lower() == ".json" else parse_yaml(text)
    except TreeError as exc:
        raise ManifestError([Fault(str(path), exc.line, "manifest", exc.rule, str(exc))]) from exc


def _text(path: Path) -> str:
    if not path.is_file():
        raise TreeError(0, "no-such-file", f"there is no file {str(path)!r}; give the path of a manifest")
    if path.stat().st_size > MAX_BYTES:
        message = f"the manifest has {path.stat().st_size} bytes, the limit is {MAX_BYTES}; split the episode"
        raise TreeError(0, "manifest-too-large", message)
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        message = f"byte {raw[exc.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise TreeError(line, "not-utf8", message) from exc


def _duplicate(where: Where, key: str) -> Finding:
    message = f"{key!r} is written twice in {dotted(where)}, only one can count; remove one"
    return Finding((*where, key), "duplicate-key", message)


def _declared(value: Any) -> Declared:
    cast = value.get("cast") if isinstance(value, dict) else None
    if not isinstance(cast, dict):
        return Declared(frozenset(), {})
    emotions = {}
    for key, character in cast.items():
        pictures = character.get("emotions", {}) if isinstance(character, dict) else None
        if isinstance(pictures, dict):
            emotions[key] = frozenset(pictures)
    return Declared(frozenset(cast), emotions)


def _not_induced(found: Iterable[Finding], pruned: Pruned) -> Iterator[Finding]:
    """Yield findings by their place in the file, but for those that rest on a value that is faulty itself."""
    for finding in found:
        path = pruned.original(finding.path)
        needed = [path, *_NEEDS.get(finding.rule, ())]
        if finding.rule in _NEEDS_FACES:
            needed.append((*path[:2], "characters"))
        stands_in = any(path[: len(filled)] == filled for filled in pruned.filled)
        if not stands_in and not any(_rests_on(need, removed) for need in needed for removed in pruned.removed):
            yield Finding(path, finding.rule, finding.message)


def _rests_on(need: Where, removed: Where) -> bool:
    shorter = min(len(need), len(removed))
    return need[:shorter] == removed[:shorter]


def _times_are_whole(pruned: Pruned) -> bool:
    """Whether no fault has taken away something that times depend on."""
    return not any(path == ("episode", "fps") or _holds_time(path) for path in pruned.removed)


def _holds_time(path: Where) -> bool:
    if path == ("episode",):
        return True
    return path[:1] in (("shots",), ("audio",)) and (len(path) <= 2 or path[2] in _TIMES)


def _faults(
    path: Path, findings: list[Finding], places: Mapping[Where, int], duplicates: Mapping[Where, int]
) -> Iterator[Fault]:
    for finding in dict.fromkeys(findings):
        where = finding.path
        line = duplicates.get(where) if finding.rule == "duplicate-key" else None
        while line is None:
            line = places.get(where)
            where = where[:-1]
        yield Fault(str(path), line, dotted(finding.path), finding.rule, finding.message)
