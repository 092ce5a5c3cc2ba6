"""From a manifest file to a plan: read and check, listen, find faces, plan. Writes nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.faces.detectors import open_detector
from tasks.faces.find import find_faces
from tasks.manifest.read import LoadedManifest, read_manifest
from tasks.manifest.remote import store_fetch
from tasks.network import weights_digest
from tasks.plan.types import Plan
from tasks.profiles import weights_folder
from tasks.separate import with_stems
from tasks.settings import settings
from tasks.survey import Survey, make_plan, survey
from tasks.weights import KnownDigests, check_use

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A checked manifest, what its media say, and its plan."""

    loaded: LoadedManifest
    found: Survey
    plan: Plan


def prepare(manifest: Path, tell: Tell = lambda text: None) -> Prepared:
    """Return the plan of a manifest file; `tell` hears what is going on.

    Raises: ManifestError with every fault, MediaError, ConfigError when the profile's weights are not there,
    LicenceError when their licence does not allow this or is another file's.
    """
    tell("checking the manifest and its media")
    loaded = read_manifest(manifest, fetch=store_fetch(settings().home / "media", settings().s3_endpoint))
    profile = loaded.manifest.episode.profile
    if profile != "puppet":  # the shipped weights allow everything
        known = KnownDigests(settings().home / "weights.json")
        check_use(weights_folder(profile, settings().weights), settings().territory, digest_of=known)
    tell("listening to the stems")
    loaded = with_stems(loaded, settings().home / "stems")
    found = survey(loaded)
    faces = find_faces(loaded, open_detector(settings().face_models)) if needs_faces(loaded) else {}
    weights = weights_digest(profile, settings().weights)
    return Prepared(loaded, found, make_plan(loaded, found, faces, weights))


def needs_faces(loaded: LoadedManifest) -> bool:
    """Say whether the manifest leaves any face to `auto`."""
    return any(who.face == "auto" for shot in loaded.manifest.shots for who in shot.characters)
