"""Messages and checkpoints of published shots that are still there: whoever had to delete them was killed, or fenced.

halo/SHOT/SPLIT/... and state/SEGMENT/..., as tasks.exchange writes them. All of it can be computed again, so a mistake
would cost time alone; still nothing is called a leftover that a shot needs which is being rendered again.
"""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import get_args

from db.ledger import Ledger
from db.records import Record, WorkItem
from tasks.encode import Container
from tasks.plan.keys import digest
from tasks.pointer import Pointer, find_done, is_sound, pointer_key
from tasks.store import Store
from tasks.work import picture_item

SETTLE_SECONDS = 60.0  # whoever publishes a picture clears its take at once; this is for who was killed before that
FORGOTTEN_SECONDS = 24 * 3600.0  # what another split of the shot says, or a waived segment: in use, it says more sooner


@dataclass(frozen=True)
class Leftovers:
    """Objects below one prefix that nobody will read again; `newest_seconds` is since 1970, by the store's clock."""

    prefix: str
    num_objects: int
    num_bytes: int
    newest_seconds: float

    def __str__(self) -> str:
        return f"{self.num_objects} objects, {self.num_bytes / 1e6:.1f} MB, that nobody needs any more"


@dataclass(frozen=True)
class Finished:
    """A published shot: since when, of which segments, and how these divide it."""

    since_seconds: float
    segments: frozenset[WorkItem]
    splits: frozenset[str]


def find_leftovers(store: Store, ledger: Ledger, done: Collection[WorkItem], now: float) -> Iterator[Leftovers]:
    """Yield what published shots have left behind. Lists halo/ and state/, and opens what their published shots say.

    `done` are the items that the ledger calls done: of the others nothing is read. Raises: StoreError, LedgerAway.
    """
    finished_shot = lru_cache(maxsize=256)(partial(_finished, store, done))
    for group in _groups(store, "halo/", 3):
        _, shot, split = group.prefix.rstrip("/").split("/")
        finished = finished_shot(shot)
        if finished and now - max(group.newest_seconds, finished.since_seconds) > _patience(split in finished.splits):
            yield group
    for group in _groups(store, "state/", 2):
        segment = WorkItem("segment", group.prefix.rstrip("/").split("/")[1])
        quiet = now - group.newest_seconds
        if quiet <= _patience(segment in done):  # what is being rendered costs no question
            continue
        shots = {attempt.behalf.shot for attempt in ledger.attempts(segment)}
        published = [finished for shot in sorted(shots) if (finished := finished_shot(shot))]
        over = any(min(quiet, now - one.since_seconds) > _patience(segment in one.segments) for one in published)
        if over or (quiet > FORGOTTEN_SECONDS and _is_waived(ledger, segment)):
            yield group


def clear_leftovers(store: Store, left: Leftovers) -> None:
    """Delete them. Raises: StoreError."""
    for stat in list(store.list(left.prefix)):
        store.delete(stat.key)


def _is_waived(ledger: Ledger, segment: WorkItem) -> bool:
    status = ledger.status(segment)
    return status is not None and status.state == "waived"


def _patience(own: bool) -> float:
    return SETTLE_SECONDS if own else FORGOTTEN_SECONDS


def _groups(store: Store, folder: str, num_parts: int) -> Iterator[Leftovers]:
    """Yield what lies below each prefix of `num_parts` names, counted while it is listed."""
    listed = ((tuple(stat.key.split("/")[:num_parts]), stat) for stat in store.list(folder))
    for parts, pairs in itertools.groupby(listed, key=lambda pair: pair[0]):
        num_objects, num_bytes, newest = 0, 0, 0.0
        for _, stat in pairs:
            num_objects, num_bytes, newest = num_objects + 1, num_bytes + stat.size, max(newest, stat.modified_seconds)
        if len(parts) == num_parts:
            yield Leftovers("/".join(parts) + "/", num_objects, num_bytes, newest)


def _finished(store: Store, done: Collection[WorkItem], shot_key: str) -> Finished | None:
    """Return what is published of a shot; None when nothing is, or when a segment of it has to be rendered again."""
    pictures = [picture_item(shot_key, container) for container in get_args(Container)]
    pointers = [pointer for item in pictures if item in done and (pointer := find_done(store, item))]
    made_of = [_segments_of(store, pointer) for pointer in pointers]
    segments = frozenset(itertools.chain.from_iterable(made_of))
    if not segments or not all(find_done(store, segment) for segment in segments):
        return None
    since = max(store.stat(pointer_key(pointer.item)).modified_seconds for pointer in pointers)
    splits = frozenset(digest([item.key for item in parts])[:16] for parts in made_of)  # as halo_prefix names them
    return Finished(since, segments, splits)


def _segments_of(store: Store, pointer: Pointer) -> list[WorkItem]:
    """Return the segments that a picture was made of, in order; none when its record is damaged: that is fsck's."""
    if not is_sound(store, pointer.record, verify=True):
        return []
    try:
        record = Record.from_json(store.get(pointer.record.key))
    except ValueError:
        return []
    sources = [arrow.source for arrow in record.derivations if arrow.child == record.sha256]
    return [source for source in sources if source and source.kind == "segment"]
