"""The first course's reconciler: the farm's own rounds on the real ledger, by a process with a fate."""

import time

from db.errors import LedgerAway
from tasks.chaos.place import Fate, Place, enter
from tasks.errors import FarmError
from tasks.reconcile import reconcile

ROUNDS = 10  # of one process; with a wrong clock enough of them to end what only looks silent
ROUND_SECONDS = 1.0


def reconcile_again(place: Place, name: str, fate: Fate) -> None:
    """Reconcile some rounds; the next reconciler goes on."""
    store, ledger, diary, _ = enter(place, name, fate)
    for _ in range(ROUNDS):
        try:
            reconcile(store, ledger)
            diary.note("round")
        except LedgerAway:
            pass
        except FarmError as exc:
            diary.error(exc)
        time.sleep(ROUND_SECONDS)
