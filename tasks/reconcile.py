"""Bring the ledger up to what the store says: winners whose workers died before their last step, and silent workers."""

import logging
from dataclasses import dataclass

from db.errors import Disagreement
from db.ledger import Ledger
from db.records import WorkItem
from tasks.pointer import FOLDER, adopt, find_done, item_of
from tasks.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciled:
    """What was put right: winners written down, items whose worker fell silent, items that only fsck can settle."""

    adopted: tuple[WorkItem, ...]
    expired: tuple[WorkItem, ...]
    unsettled: tuple[WorkItem, ...]


def reconcile(store: Store, ledger: Ledger) -> Reconciled:
    """Adopt every winner that the ledger does not know and end every attempt past its lease.

    Reads the pointers' names and one table; opens only the pointers that are news, so it may run every few minutes.
    Raises: StoreError, db.errors.LedgerAway.
    """
    known = ledger.winners()
    adopted, unsettled = [], []
    for stat in store.list(FOLDER):
        item = item_of(stat.key)
        if item in known:
            continue
        pointer = find_done(store, item)
        try:
            if pointer is None:
                unsettled.append(item)
            elif adopt(store, ledger, pointer):
                adopted.append(item)
                log.info("winner adopted", extra={"item": str(item), "attempt": pointer.attempt})
        except Disagreement:  # published, otherwise, while we were looking
            unsettled.append(item)
    return Reconciled(tuple(adopted), tuple(ledger.expire()), tuple(unsettled))
