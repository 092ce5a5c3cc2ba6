"""Bring the ledger up to what the store says: winners whose workers died before their last step, and silent workers."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

from db.errors import Disagreement
from db.ledger import Ledger
from db.records import WorkItem
from tasks.leftovers import clear_leftovers, find_leftovers
from tasks.pointer import FOLDER, adopt, find_done, is_sound, item_of
from tasks.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciled:
    """What was put right: winners written down, items whose worker fell silent, and what only fsck can settle.

    `unsettled` names items, and keys under done/ that are no item's; `cleared` are the prefixes of messages and
    checkpoints that published shots had left behind.
    """

    adopted: tuple[WorkItem, ...]
    expired: tuple[WorkItem, ...]
    unsettled: tuple[str, ...]
    cleared: tuple[str, ...]


def reconcile(store: Store, ledger: Ledger, now: float | None = None) -> Reconciled:
    """Adopt every winner that the ledger does not know, end every attempt past its lease, clear published takes.

    Reads one table, and the names of pointers, messages and checkpoints; opens only the pointers that are news, so it
    may run every few minutes.
    Raises: StoreError, db.errors.LedgerAway.
    """
    done = set(ledger.winners())
    adopted, unsettled = [], []
    for stat in store.list(FOLDER):
        try:
            item = item_of(stat.key)
        except ValueError as exc:  # somebody else's object must not keep the others from being looked after
            log.warning("not a pointer of ours", extra={"key": stat.key, "failure": str(exc)})
            unsettled.append(stat.key)
            continue
        if item in done:
            continue
        news = _adopt(store, ledger, item)
        if news is None:
            unsettled.append(str(item))
        elif news:
            adopted.append(item)
    expired = ledger.expire()
    cleared = _clear(store, ledger, done.union(adopted), time.time() if now is None else now)
    return Reconciled(tuple(adopted), tuple(expired), tuple(unsettled), tuple(cleared))


def _clear(store: Store, ledger: Ledger, done: set[WorkItem], now: float) -> Iterator[str]:
    for left in find_leftovers(store, ledger, done, now):
        clear_leftovers(store, left)
        log.info("leftovers cleared", extra={"prefix": left.prefix, "objects": left.num_objects})
        yield left.prefix


def _adopt(store: Store, ledger: Ledger, item: WorkItem) -> bool | None:
    """Write a winner down; False when the ledger knows it by now, None when only fsck can settle it."""
    pointer = find_done(store, item)
    if pointer is None or not is_sound(store, pointer.record, verify=True):
        return None
    try:
        adopted = adopt(store, ledger, pointer)
    except (Disagreement, ValueError):  # published, otherwise, while we were looking; or a record that is none
        return None
    if adopted:
        log.info("winner adopted", extra={"item": str(item), "attempt": pointer.attempt})
    return adopted
