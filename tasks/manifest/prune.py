"""The part of a faulty manifest that can still be judged, so that one reading reports every layer's faults.

A faulty value is taken out; where it is required, the smallest thing that can be missed goes with it, or a stand-in
takes its place. What remains is a manifest whose paths can be led back to the file (`Pruned.original`).
"""

from dataclasses import dataclass, field
from typing import Any

from tasks.manifest.findings import Finding, Path
from tasks.manifest.models import Manifest
from tasks.manifest.schema import validate

_ROUNDS = 12  # every round takes out at least one value of each faulty branch; branches are 8 deep
_STAND_INS: dict[Path, Any] = {
    ("version",): 1,
    ("episode",): {"id": "stand-in", "title": "stand-in", "size": {"width": 192, "height": 128}},
    ("episode", "id"): "stand-in",
    ("episode", "title"): "stand-in",
    ("episode", "size"): {"width": 192, "height": 128},
    ("cast",): {"stand-in": {"name": "stand-in", "portrait": "stand-in", "consent": {"kind": "synthetic"}}},
    ("shots",): [{"id": "stand-in", "plate": "stand-in", "characters": []}],
}
_INDUCED = ("missing-field", "too-short")  # what taking values out can cause


@dataclass
class Pruned:
    """What is left of a manifest, and where its lists' entries stood in the file."""

    manifest: Manifest | None
    findings: list[Finding]
    removed: set[Path] = field(default_factory=set)
    filled: set[Path] = field(default_factory=set)  # of the removed: where a stand-in is
    indices: dict[Path, list[int]] = field(default_factory=dict)  # list after pruning -> entries' places in the file

    def original(self, path: Path) -> Path:
        """Return the path in the file of a path in the pruned manifest."""
        out: list[str | int] = []
        for depth, part in enumerate(path):
            places = self.indices.get(path[:depth])
            out.append(places[part] if places is not None and isinstance(part, int) and part < len(places) else part)
        return tuple(out)


def prune(value: Any) -> Pruned:
    """Return what can be judged of the manifest, with the faults of single values."""
    manifest, findings = validate(value)
    pruned = Pruned(manifest, list(findings))
    for _ in range(_ROUNDS):
        if manifest is not None or not findings:
            break
        _take_out(findings, pruned)
        if () in pruned.removed:
            break
        pruned.indices = {}
        manifest, findings = validate(_without(value, (), (), pruned))
        known = {(finding.path, finding.rule) for finding in pruned.findings}
        for finding in findings:
            path = pruned.original(finding.path)
            if finding.rule not in _INDUCED and (path, finding.rule) not in known:
                pruned.findings.append(Finding(path, finding.rule, finding.message))
    pruned.manifest = manifest
    return pruned


def _take_out(findings: list[Finding], pruned: Pruned) -> None:
    """Note what the findings are about as removed, or as filled where nothing smaller can be missed."""
    for finding in findings:
        path = pruned.original(finding.path)
        if finding.rule == "missing-field" and path in _STAND_INS:
            pruned.filled.add(path)
        pruned.removed.add(path[:-1] if finding.rule == "missing-field" and path not in _STAND_INS else path)


def _without(value: Any, old: Path, new: Path, pruned: Pruned) -> Any:
    if isinstance(value, list):
        kept = [index for index in range(len(value)) if (*old, index) not in pruned.removed]
        pruned.indices[new] = kept
        return [_without(value[index], (*old, index), (*new, place), pruned) for place, index in enumerate(kept)]
    if isinstance(value, dict):
        kept_keys = [key for key in value if (*old, key) not in pruned.removed]
        fields = {key: _without(value[key], (*old, key), (*new, key), pruned) for key in kept_keys}
        return fields | {path[-1]: _STAND_INS[path] for path in pruned.filled if path[:-1] == old}
    return value
