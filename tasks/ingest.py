"""Put everything a render needs into the store, so that any pod can work from the plan alone."""

from collections.abc import Callable

from tasks.manifest.read import LoadedManifest
from tasks.plan.types import Plan
from tasks.plan.wire import plan_from_json, plan_to_json
from tasks.store.types import Store, content_key
from tasks.survey import Survey, sound_files, voice_samples


def ingest(
    loaded: LoadedManifest, found: Survey, plan: Plan, store: Store, tell: Callable[[str], None] = lambda name: None
) -> str:
    """Put pictures, sound, each shot's voices and the plan into the store; return the plan's key. Idempotent.

    `tell` is called with the name of each file that was not there before. Raises: StoreError.
    """
    manifest = loaded.manifest
    for path, fact in loaded.media.items():
        if not store.exists(content_key(fact.sha256)):
            tell(path)
            store.put_content(loaded.files[path])
    if any(not store.exists(content_key(sha)) for sha in found.voices.values()):
        for _, samples in voice_samples(loaded, found.ranges):
            store.put_content(samples.astype("<i2", copy=False).tobytes())
    if manifest.audio.mix is None:
        store.put_once(
            f"mixes/{plan.mix_sha256}", "\n".join(loaded.media[path].sha256 for path in sound_files(manifest)).encode()
        )
    return store.put_content(plan_to_json(plan).encode(), ".json").key


def load_plan(store: Store, key: str) -> Plan:
    """Return the plan that `ingest` put under `key`.

    Raises: ObjectMissing, StoreError; ValueError when the object is no plan of this version.
    """
    return plan_from_json(store.get(key).decode())
