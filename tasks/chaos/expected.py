"""What must come out of the chaos: every segment's and film's digest, known before anything is broken."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from db.records import WorkItem
from tasks.chaos.toy import expected_film, expected_segments
from tasks.network import limit_threads
from tasks.plan.types import Plan
from tasks.pod import open_pod
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.work import film_item, segment_item, shot_item

THREADS = 1  # of the network, here and in the second course's runs: with another number sums round otherwise


@dataclass(frozen=True)
class Expected:
    """One episode's order, the digests that its segments and its film must have, and what must be cleared away.

    `traces`: for each picture the beginnings of the keys under which nothing may be left once it is done.
    """

    order: str
    segments: Mapping[WorkItem, str]
    film: WorkItem
    film_sha256: str
    traces: Mapping[WorkItem, tuple[str, ...]]


def expect_toy(order: str, plan: Plan) -> Expected:
    """Return what the toy renderer must make of a plan: computed here, by formula."""
    segments: dict[WorkItem, str] = {}
    for shot in plan.shots:
        items = map(segment_item, shot.segments)
        segments |= dict(zip(items, expected_segments(plan, shot), strict=True))
    return Expected(order, segments, film_item(plan), expected_film(plan), traces_of(plan))


def expect_real(folder: Path, what: Rehearsal) -> Expected:
    """Return what the small network must make of a rehearsal: rendered here by one process that nobody disturbed."""
    from tasks.pointer import find_done
    from tasks.progress import Silence
    from tasks.take import render_take
    from tasks.work import make_film, make_shot

    with open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}") as pod:
        plan, order = ingest_rehearsal(folder / "manifest", what, pod)
        pod.bundle(plan.profile)  # loading it gives the network every core
        limit_threads(THREADS)
        for shot in plan.shots:
            render_take(pod, plan, shot, shot.segments, Silence())
            make_shot(pod, plan, shot, Silence())
        film = make_film(pod, plan, order, Silence()).pointer
        items = [segment_item(segment) for shot in plan.shots for segment in shot.segments]
        found = {item: find_done(pod.store, item) for item in items}
    digests = {item: pointer.object.sha256 for item, pointer in found.items() if pointer}
    return Expected(order, digests, film.item, film.object.sha256, traces_of(plan))


def traces_of(plan: Plan) -> dict[WorkItem, tuple[str, ...]]:
    """Return where the segments of each picture leave their messages and their steps."""
    return {
        shot_item(plan, shot): (f"halo/{shot.key}/", *(f"state/{segment.key}/" for segment in shot.segments))
        for shot in plan.shots
    }
