"""The three things a worker makes and publishes: a segment's latents, a shot's picture, the film."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from db.records import Artifact, Behalf, WorkItem
from model.sampler import Denoiser, Predictions
from tasks.attempt import Work
from tasks.conditioning import Conditioner
from tasks.decode import decode_shot
from tasks.denoise import denoise_segment, take_of
from tasks.encode import Container
from tasks.errors import CheckFailed, ObjectMissing
from tasks.exchange import StoreExchange, pack_predictions
from tasks.fill import Fill, make_fill
from tasks.film_check import check_film, film_facts
from tasks.ingest import mix_key
from tasks.latents import ShotReader
from tasks.loudness import gain_to
from tasks.network import require_weights
from tasks.plan.keys import digest
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.progress import Watcher
from tasks.publish import Input, Output, Published, Rendered
from tasks.sheet import film_sheet
from tasks.stitch import FilmSpec, ShotPicture, stitch
from tasks.store import Store, content_digest, content_key
from tasks.thumbnail import make_thumbnail
from tasks.waivers import read_waivers, waived_segments

PICTURE_VERSION = 1  # raise it when decoding, rounding or encoding of pictures changes
Check = Callable[[], None]


def segment_item(segment: SegmentPlan) -> WorkItem:
    """Return a segment's work item."""
    return WorkItem("segment", segment.key)


def shot_item(plan: Plan, shot: ShotPlan) -> WorkItem:
    """Return a shot picture's work item: the same latents in another container are another picture."""
    return picture_item(shot.key, plan.output.container)


def picture_item(shot_key: str, container: str) -> WorkItem:
    """Return the work item of a shot's picture by the shot's key."""
    return WorkItem("shot", digest(["picture", PICTURE_VERSION, shot_key, container]))


def film_item(plan: Plan) -> WorkItem:
    """Return the film's work item."""
    return WorkItem("film", plan.key)


@dataclass(frozen=True, eq=False)
class Cast:
    """What renders the segments of one shot."""

    denoiser: Denoiser
    exchange: StoreExchange


def make_segment(
    pod: Pod, plan: Plan, shot: ShotPlan, segment: SegmentPlan, gather: Callable[[], Cast], watch: Watcher
) -> Published:
    """Publish a segment's latents, rendering them unless they are there.

    `gather` is called under the claim: loading a network takes minutes, and may run out of memory.
    Raises: Busy, Waived, Preempted, Yielded, LeaseLost, OutOfMemory, CheckFailed, StoreError, DatabaseAway.
    """

    def render(work: Work) -> Rendered:
        cast = gather()
        own = replace(cast.exchange, check=_both(work.checkpoint, cast.exchange.check))
        name = f"{shot.id} {segment.index + 1}/{len(shot.segments)}"
        predictions = denoise_segment(
            plan,
            shot,
            segment,
            pod.bundle(plan.profile),
            cast.denoiser,
            own,
            lambda done, total: watch.advance("segment", name, done, total),
        )
        check_latents(shot, segment, predictions)
        path = work.scratch / "latents.safetensors"
        path.write_bytes(pack_predictions(predictions))
        facts = {"seed": shot.seed, "steps": plan.steps, "segment": segment.index}
        made_by = {"network": plan.network_version, "profile": plan.profile, "torch": torch.__version__}
        return Rendered(
            output=Output(path, "segment_latents", ".safetensors", f"{plan.episode} {name}"),
            extras=make_thumbnail(predictions, pod.bundle(plan.profile), work.scratch, f"{plan.episode} {name}"),
            inputs=tuple(_sources(pod.store, plan, shot)),
            metrics={"latents": float(len(predictions)), "windows": float(segment.num_windows)},
            facts={**facts, **made_by, "host": pod.publisher.worker},
        )

    return pod.publisher.publish(segment_item(segment), render, behalf=Behalf(plan.key, shot.key), stop=pod.stop)


def check_latents(shot: ShotPlan, segment: SegmentPlan, predictions: Predictions) -> None:
    """Refuse latents that are no numbers or have diverged.

    Raises: CheckFailed.
    """
    worst = max(float(value.abs().max()) for value in predictions.values())
    if not worst < 1e3:  # normalised latents have a deviation of 1; a NaN fails this too
        raise CheckFailed(
            f"shot {shot.id}, segment {segment.index}: latents reach {worst}, 1000 is the limit; render it again"
        )


def make_shot(pod: Pod, plan: Plan, shot: ShotPlan, watch: Watcher) -> Published:
    """Publish a shot's picture, decoded from its segments' latents, unless it is there.

    Raises: ObjectMissing when a segment is not done, CheckFailed, and what publishing raises.
    """

    def render(work: Work) -> Rendered:
        files, inputs = [], []
        waived = waived_segments(shot, read_waivers(pod.ledger, plan))
        for segment in shot.segments:
            if segment.index in waived:
                continue
            pointer = find_done(pod.store, segment_item(segment))
            if pointer is None:
                raise ObjectMissing(f"shot {shot.id}: segment {segment.index} is not rendered; run the episode again")
            path = work.scratch / f"segment-{segment.index}.safetensors"
            pod.store.fetch(pointer.object.key, path)
            files.append(path)
            made = Artifact(pointer.object.sha256, pointer.object.size, "segment_latents", pointer.object.key)
            start, end = latent_span(path, plan.fps)
            inputs.append(Input(made, "latents", segment_item(segment), start, min(end, shot.num_frames / plan.fps)))

        def frames_done(done: int, total: int) -> None:
            watch.advance("shot", shot.id, done, total)
            work.checkpoint()

        bundle = pod.bundle(plan.profile)
        require_weights(bundle, plan)
        fill = fill_of(pod, plan, shot, waived) if waived else None
        plate = pod.store.get(content_key(shot.plate_sha256))
        decoded = decode_shot(plan, shot, files, bundle, work.scratch, frames_done, fill, plate)
        decoded.verdict.require()
        return Rendered(
            output=Output(decoded.picture, "shot_picture", decoded.picture.suffix, f"{plan.episode} {shot.id}"),
            extras=(Output(decoded.sheet, "contact_sheet", ".jpg", f"{plan.episode} {shot.id}"),),
            inputs=tuple(inputs),
            metrics={"frames": float(shot.num_frames), "longest_still_seconds": decoded.verdict.longest_still_seconds},
            facts={"host": pod.publisher.worker, **waiver_facts(waived)},
        )

    return pod.publisher.publish(shot_item(plan, shot), render, behalf=Behalf(plan.key, shot.key), stop=pod.stop)


def fill_of(pod: Pod, plan: Plan, shot: ShotPlan, waived: Mapping[int, str]) -> Fill:
    """Return what the shot shows where segments (index -> how) were waived."""
    bundle = pod.bundle(plan.profile)
    plate = Conditioner(plan, pod.store, bundle).conditions(shot).reference
    return make_fill(shot, waived, take_of(plan, shot, bundle), plate, plan.width, plan.height)


def waiver_facts(waived: Mapping[int, str]) -> dict[str, str]:
    """Return what the lineage says about waived segments; nothing when there are none."""
    said = ", ".join(f"segment {index}: {how}" for index, how in sorted(waived.items()))
    return {"waived": said} if said else {}


def latent_span(latents: Path, fps: float) -> tuple[float, float]:
    """Return the seconds of a shot that a segment's latents stand for: latent 0 for one frame, each later one for 4."""
    indices = ShotReader([latents]).indices
    first, last = indices[0], indices[-1]
    return (4 * first - 3) / fps if first else 0.0, (4 * last + 1) / fps


def make_film(pod: Pod, plan: Plan, order: str, watch: Watcher) -> Published:
    """Publish the film, stitched from its shots' pictures and the studio's sound, unless it is there.

    Raises: ObjectMissing when a shot is not done, MediaError, CheckFailed, and what publishing raises.
    """

    def render(work: Work) -> Rendered:
        pictures, inputs = [], []
        for number, shot in enumerate(plan.shots):
            pointer = find_done(pod.store, shot_item(plan, shot))
            if pointer is None:
                raise ObjectMissing(f"shot {shot.id} has no picture yet; run the episode again")
            path = work.scratch / f"{number:04d}{Path(pointer.object.key).suffix}"
            pod.store.fetch(pointer.object.key, path)
            pictures.append(ShotPicture(path, shot.num_frames))
            made = Artifact(pointer.object.sha256, pointer.object.size, "shot_picture", pointer.object.key, shot.id)
            start, end = shot.start_frame / plan.fps, (shot.start_frame + shot.num_frames) / plan.fps
            inputs.append(Input(made, "picture", shot_item(plan, shot), start, end))
            watch.advance("film", plan.episode, number + 1, len(plan.shots))
        sound = _fetch_sound(pod.store, plan, work.scratch)
        inputs.append(Input(_stored(pod.store, mix_key(pod.store, plan), "mix"), "mix"))
        inputs.append(Input(_stored(pod.store, order, "plan"), "plan"))
        film = work.scratch / f"film.{plan.output.container}"
        stitch(pictures, sound, film, film_spec(plan, sound))
        facts = film_facts(sound, plan.num_frames, plan.width, plan.height, plan.fps, container_of(plan))
        check_film(film, facts).require()
        sheet = work.scratch / "sheet.jpg"
        film_sheet(film, sheet, plan.title)
        return Rendered(
            output=Output(film, "film", film.suffix, plan.episode),
            extras=(Output(sheet, "contact_sheet", ".jpg", plan.episode),),
            inputs=tuple(inputs),
            metrics={"frames": float(plan.num_frames)},
            facts={"host": pod.publisher.worker},
        )

    return pod.publisher.publish(film_item(plan), render, behalf=Behalf(plan.key), stop=pod.stop)


def container_of(plan: Plan) -> Container:
    """Return the plan's container."""
    return "mov" if plan.output.container == "mov" else "mp4"


def film_spec(plan: Plan, sound: Path) -> FilmSpec:
    """Return what the film file is and says; the gain is 1 unless a loudness is asked for."""
    output = plan.output
    gain = 1.0 if output.loudness_lufs is None else gain_to(sound, output.loudness_lufs)
    return FilmSpec(plan.fps, container_of(plan), plan.title, output.comment, output.synthetic_media, gain)


def export_film(pod: Pod, plan: Plan, folder: Path) -> Path:
    """Copy a finished film, its contact sheet and its plan into a folder; return the film.

    Raises: ObjectMissing when the film is not done.
    """
    pointer = find_done(pod.store, film_item(plan))
    if pointer is None:
        raise ObjectMissing(f"film {plan.episode} is not finished")
    folder.mkdir(parents=True, exist_ok=True)
    film = folder / f"{plan.episode}.{plan.output.container}"
    pod.store.fetch(pointer.object.key, film)
    record = json.loads(pod.store.get(pointer.record.key))
    sheets = [a["object_key"] for a in record["artifacts"] if a["kind"] == "contact_sheet"]
    for key in sheets[:1]:
        pod.store.fetch(key, folder / "contact-sheet.jpg")
    return film


def _fetch_sound(store: Store, plan: Plan, folder: Path) -> Path:
    path = folder / "sound"
    store.fetch(mix_key(store, plan), path)
    return path


def _both(first: Check, second: Check) -> Check:
    def check() -> None:
        first()
        second()

    return check


def _stored(store: Store, key: str, kind: str) -> Artifact:
    return Artifact(content_digest(key), store.stat(key).size, kind, key)


def _sources(store: Store, plan: Plan, shot: ShotPlan) -> Sequence[Input]:
    """Return everything a segment is made from: plate, voices and their stems, emotion pictures, weights."""
    found = [Input(_stored(store, content_key(shot.plate_sha256), "plate"), "plate")]
    for who in shot.characters:
        found.append(Input(_stored(store, content_key(who.stem_sha256), "voice"), f"voice of {who.character}"))
        if who.stem_file_sha256:
            found.append(Input(_stored(store, content_key(who.stem_file_sha256), "stem"), f"stem of {who.character}"))
        for sha in sorted({sha for _, sha, _ in who.emotion_keys if sha}):
            found.append(Input(_stored(store, content_key(sha), "emotion"), f"emotion of {who.character}"))
    return [*found, Input(Artifact(plan.weights_sha256, 0, "weights", name=plan.profile), "weights")]
