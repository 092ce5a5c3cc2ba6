"""Check that store and ledger tell one story, and put right what can be: `farm fsck [--repair]`.

The store's pointers are the truth about who won; the ledger is rewritten to follow them. What is gone for good is
opened again, so that the farm renders it anew. It may run while the farm works: it changes nothing that a worker holds.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from db.invariants import Breach
from db.ledger import Ledger
from db.records import Artifact, Record, WorkItem
from tasks.errors import ObjectMissing
from tasks.leftovers import clear_leftovers, find_leftovers
from tasks.pointer import FOLDER, Pointer, adopt, find_done, item_of, pointer_key, stored_digest
from tasks.store import Store

Winner = tuple[str, str]  # its token and digest, as Ledger.winners gives them
log = logging.getLogger(__name__)
ANCHOR = "audit/anchor"
ACTOR = "fsck"
BY_HAND = "no work item makes it, so it is left as it is: remove what is damaged of it and put it there again"
LEFTOVER_SECONDS = 24 * 3600.0  # no upload lasts a day: what is unfinished for longer belongs to a killed worker


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be; `repaired` says whether this run put it right."""

    rule: str
    subject: str
    message: str
    repaired: bool = False


def audit(
    store: Store, ledger: Ledger, repair: bool, *, read_objects: bool = True, now: float | None = None
) -> list[Finding]:
    """Return everything that is wrong, in the order it was looked for; an empty list means clean.

    `read_objects` compares every object's digest, which reads the whole store once; without it sizes are compared.
    Raises: StoreError, db.errors.LedgerAway.
    """
    known = ledger.winners()
    findings = list(_objects(store, ledger, repair, read_objects))
    reopened = {finding.subject for finding in findings}
    findings += _pointers(store, ledger, repair, read_objects, known, reopened)
    findings += _rows(store, ledger, repair, [item for item in known if str(item) not in reopened])
    findings += _inside(store, ledger, repair)
    findings += _leftovers(store, ledger, repair, time.time() if now is None else now)
    if repair:
        store.sweep(LEFTOVER_SECONDS)
    return findings + _trail(store, ledger, repair)


def _objects(store: Store, ledger: Ledger, repair: bool, read_objects: bool) -> Iterator[Finding]:
    """Every row's object exists with its digest."""
    unmade: dict[Artifact, str] = {}
    for artifact in ledger.stored_artifacts():
        wrong = _object_fault(store, artifact, read_objects)
        if wrong:  # looked at again: it may have been a bad read, and deleting cannot be taken back
            wrong = _object_fault(store, artifact, read_objects)
        if not wrong:
            continue
        makers = ledger.items_touching(artifact.sha256)
        if not makers:
            unmade[artifact] = wrong
            continue
        if repair:
            store.delete(artifact.object_key)  # or a new rendering would take the damaged one for its own
        for maker in makers:
            if repair:
                _open_again(store, ledger, maker, wrong)
            yield Finding("objects", str(maker), wrong, repair)
    needed = set(ledger.stored_artifacts()) if unmade else set()  # without outputs that were rendered anew meanwhile
    for artifact in unmade:
        if artifact in needed and not ledger.items_touching(artifact.sha256):
            yield Finding("objects", artifact.object_key, f"{unmade[artifact]}; {BY_HAND}")


def _object_fault(store: Store, artifact: Artifact, read_objects: bool) -> str:
    what = f"its {artifact.kind} {artifact.object_key}"
    try:
        size = store.stat(artifact.object_key).size
        if size != artifact.size:
            return f"{what} has {size} bytes instead of {artifact.size}"
        if read_objects and stored_digest(store, artifact.object_key) != artifact.sha256:
            return f"{what} is damaged: its bytes have another digest"
    except ObjectMissing:
        return f"{what} is not in the store"
    return ""


def _pointers(
    store: Store,
    ledger: Ledger,
    repair: bool,
    read_objects: bool,
    known: dict[WorkItem, Winner],
    reopened: set[str],
) -> Iterator[Finding]:
    """No pointer is an orphan: it leads to an output and its record, and the ledger has that output as the winner.

    Takes out of `known` what has one.
    """
    for stat in store.list(FOLDER):
        try:
            item = item_of(stat.key)
        except ValueError as exc:
            yield Finding("pointers", stat.key, f"not a pointer of ours: {exc}; find out whose it is and remove it")
            continue
        look = _look(store, item, partial(known.pop, item, None), read_objects)
        if look.fault:  # `known` was read minutes ago: all is read again, right before anything is repaired
            look = _look(store, item, partial(_winner, ledger, item), read_objects)
        if not look.fault or (look.rule == "pointers" and str(item) in reopened):
            continue
        if repair:
            _mend(store, ledger, item, look)
        yield Finding(look.rule, str(item), look.fault, repair)


@dataclass(frozen=True)
class Look:
    """One item's pointer, None if it leads nowhere, and what is wrong: with it, or with the record it names."""

    pointer: Pointer | None
    fault: str
    rule: str = "pointers"


def _look(store: Store, item: WorkItem, winner: Callable[[], Winner | None], read_objects: bool) -> Look:
    pointer = find_done(store, item)
    if pointer is None:
        return Look(None, "its pointer leads nowhere" if store.exists(pointer_key(item)) else "")
    fault = _winner_fault(winner(), pointer)  # after the pointer: what is published meanwhile is in both
    damage = _record_fault(store, pointer) if read_objects or fault else ""
    return Look(pointer, damage, "records") if damage else Look(pointer, fault)


def _record_fault(store: Store, pointer: Pointer) -> str:
    """Records are what a lost ledger is written from again."""
    try:
        with store.open_range(pointer.record.key) as file:
            data = file.read()
    except ObjectMissing:  # since the pointer was looked at
        return f"its record {pointer.record.key} is not in the store"
    if hashlib.sha256(data).hexdigest() != pointer.record.sha256:
        return f"its record {pointer.record.key} is damaged: its bytes have another digest"
    try:
        Record.from_json(data)
    except ValueError as exc:
        return f"its record {pointer.record.key} cannot be read: {exc}"
    return ""


def _mend(store: Store, ledger: Ledger, item: WorkItem, look: Look) -> None:
    if look.rule == "pointers" and look.pointer:
        _follow(store, ledger, look.pointer, look.fault)
        return
    _open_again(store, ledger, item, look.fault)
    if look.pointer:
        store.delete(look.pointer.record.key)  # or a new rendering would take the damaged one for its own


def _winner(ledger: Ledger, item: WorkItem) -> Winner | None:
    status = ledger.status(item)
    return ledger.winners().get(item) if status and status.state == "done" else None


def _winner_fault(winner: Winner | None, pointer: Pointer) -> str:
    if winner is None:
        return "published, but the ledger does not know"
    token, sha256 = winner
    if sha256 != pointer.object.sha256:
        return f"published as {pointer.object.sha256}, but the ledger has {sha256}"
    if token != pointer.token:
        return f"published by attempt {pointer.attempt} of {pointer.worker}, but the ledger has another winner"
    return ""


def _rows(store: Store, ledger: Ledger, repair: bool, unseen: Iterable[WorkItem]) -> Iterator[Finding]:
    """Everything that is done has a pointer."""
    for item in unseen:
        if _winner(ledger, item) is None or store.exists(pointer_key(item)):  # changed since we began to look
            continue
        if repair:
            ledger.reopen(item, ACTOR, "it has no pointer in the store")
        yield Finding("pointers", str(item), "done in the ledger, but the store has no pointer to it", repair)


def _inside(store: Store, ledger: Ledger, repair: bool) -> Iterator[Finding]:
    """One winner per key, attempts monotone, films and shots made of winners."""
    breaches: list[Breach] = ledger.breaches()
    stale = {breach.item for breach in breaches if breach.rule == "parts are winners"}
    for breach in breaches:
        yield Finding(breach.rule, str(breach.item), breach.message, repair and breach.item in stale)
    if repair:
        for item in sorted(stale):
            _open_again(store, ledger, item, "made of parts that are not winners")


def _leftovers(store: Store, ledger: Ledger, repair: bool, now: float) -> Iterator[Finding]:
    """Messages and checkpoints are gone once their shot is published."""
    for left in find_leftovers(store, ledger, set(ledger.winners()), now):
        if repair:
            clear_leftovers(store, left)
        yield Finding("leftovers", left.prefix, str(left), repair)


def _trail(store: Store, ledger: Ledger, repair: bool) -> list[Finding]:
    """The audit trail is whole and goes on from where it was anchored."""
    faults = ledger.verify_audit(read_anchor(store))
    if repair and not faults:
        write_anchor(store, ledger)
    return [Finding("audit trail", "audit", fault) for fault in faults]


def read_anchor(store: Store) -> tuple[int, str]:
    """Return position and digest of the newest audit row when it was last anchored; row 0 if it never was."""
    try:
        anchor = json.loads(store.get(ANCHOR))
    except ObjectMissing:
        return 0, ""
    return int(anchor["position"]), str(anchor["digest"])


def write_anchor(store: Store, ledger: Ledger) -> None:
    """Keep the audit trail's end outside the database, so that cutting rows off is noticed."""
    trail = ledger.audit_trail()
    if trail:
        anchor = {"position": trail[-1].position, "digest": trail[-1].digest}
        store.write_pointer(ANCHOR, json.dumps(anchor).encode())


def _follow(store: Store, ledger: Ledger, pointer: Pointer, why: str) -> None:
    """Make the ledger say what the pointer says."""
    ledger.reopen(pointer.item, ACTOR, why)
    adopt(store, ledger, pointer)


def _open_again(store: Store, ledger: Ledger, item: WorkItem, why: str) -> None:
    """Have the item rendered anew; one that the ledger has never heard of only loses its pointer."""
    store.delete(pointer_key(item))
    if ledger.status(item):
        ledger.reopen(item, ACTOR, why)
