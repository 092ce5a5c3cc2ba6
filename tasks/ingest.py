"""Put everything a render needs into the store, so that any pod can work from the plan alone."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.manifest.read import LoadedManifest
from tasks.plan.types import Plan
from tasks.plan.wire import plan_from_json, plan_to_json
from tasks.sound import PlacedStem, sound_facts, sum_stems
from tasks.store.types import Store, content_key
from tasks.survey import Survey, voice_samples

Tell = Callable[[str], None]


def ingest(loaded: LoadedManifest, found: Survey, plan: Plan, store: Store, tell: Tell = lambda name: None) -> str:
    """Put pictures, sound, each shot's voices and the plan into the store; return the plan's key. Idempotent.

    `tell` is called with the name of each file that was not there before. Raises: StoreError.
    """
    for path, fact in loaded.media.items():
        if not store.exists(content_key(fact.sha256)):
            tell(path)
            store.put_content(loaded.files[path])
    if any(not store.exists(content_key(sha)) for sha in found.voices.values()):
        for _, samples in voice_samples(loaded, found.ranges):
            store.put_content(samples.astype("<i2", copy=False).tobytes())
    if loaded.manifest.audio.mix is None:
        _put_sum(loaded, found, plan, store)
    return store.put_content(plan_to_json(plan).encode()).key


def load_plan(store: Store, key: str) -> Plan:
    """Return the plan that `ingest` put under `key`.

    Raises: ObjectMissing, StoreError; ValueError when the object is no plan of this version.
    """
    return plan_from_json(store.get(key).decode())


def mix_key(store: Store, plan: Plan) -> str:
    """Return the key of the sound that the film carries: the studio's mix, or the sum of the stems."""
    own = _sum_pointer(plan)
    return store.get(own).decode() if store.exists(own) else content_key(plan.mix_sha256)


def _sum_pointer(plan: Plan) -> str:
    return f"mixes/{plan.mix_sha256}"


def _put_sum(loaded: LoadedManifest, found: Survey, plan: Plan, store: Store) -> None:
    if store.exists(_sum_pointer(plan)):
        return
    stems = list(_placed(loaded, found, plan.fps))
    rate = sound_facts(stems[0].path).sample_rate
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sum.wav"
        sum_stems(stems, round(plan.num_frames / plan.fps * rate), out)
        store.put_once(_sum_pointer(plan), store.put_content(out).key.encode())


def _placed(loaded: LoadedManifest, found: Survey, fps: float) -> Iterator[PlacedStem]:
    for path in loaded.manifest.audio.stems.values():
        yield PlacedStem(loaded.files[path])
    for shot, frames in zip(loaded.manifest.shots, found.ranges, strict=True):
        for path in shot.stems.values():
            yield PlacedStem(loaded.files[path], frames.start_frame / fps)
