"""What the chaos has cost: counted from store, ledger and diaries, compared with what had to come out."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from db.ledger import Ledger
from db.records import Attempt
from tasks.chaos.diary import Beliefs
from tasks.chaos.expected import Expected
from tasks.fsck import Finding, audit
from tasks.leftovers import SETTLE_SECONDS
from tasks.pointer import find_done
from tasks.reconcile import reconcile
from tasks.store import Store


@dataclass(frozen=True)
class Score:
    """The figures that must be 0, and those that tell how hard it was."""

    segments: int
    films: int  # that are there
    lost: int
    wrong: int
    wrong_films: int
    two_winners: int
    duplicate_lineage: int
    leftovers: int
    unexpected: dict[str, int]
    findings: tuple[Finding, ...]
    adopted_late: int
    attempts: int
    wasted_by_reason: dict[str, int]

    @property
    def clean(self) -> bool:
        """Say whether nothing was lost, nothing doubled, nothing left behind, and nobody met what nobody expected."""
        return not (
            self.lost or self.wrong or self.wrong_films or self.two_winners or self.duplicate_lineage
            or self.leftovers or self.unexpected or self.findings
        )  # fmt: skip

    @property
    def wasted_attempts(self) -> int:
        return sum(self.wasted_by_reason.values())


def keep_score(store: Store, ledger: Ledger, episodes: Sequence[Expected], beliefs: Beliefs) -> Score:
    """Reconcile, audit and count. Everybody has gone, so nothing is left alone. Raises: StoreError, LedgerAway."""
    late = reconcile(store, ledger, time.time() + SETTLE_SECONDS + 1.0)
    lost = wrong = wrong_films = segments = 0
    for episode in episodes:
        for item, sha256 in episode.segments.items():
            found = find_done(store, item, verify=True)
            segments += 1
            lost += found is None
            wrong += found is not None and found.object.sha256 != sha256
        film = find_done(store, episode.film, verify=True)
        wrong_films += film is None or film.object.sha256 != episode.film_sha256
    attempts = [attempt for status in ledger.items() for attempt in ledger.attempts(status.item)]
    wasted = Counter(why_wasted(attempt) for attempt in attempts if attempt.state != "done")
    return Score(
        segments - lost, len(episodes) - wrong_films, lost, wrong, wrong_films,
        two_winners=beliefs.two_winners(),
        duplicate_lineage=count_duplicates(ledger),
        leftovers=count_leftovers(store, episodes),
        unexpected=dict(beliefs.unexpected),
        findings=tuple(audit(store, ledger, repair=False)),
        adopted_late=len(late.adopted), attempts=len(attempts), wasted_by_reason=dict(wasted),
    )  # fmt: skip


def count_duplicates(ledger: Ledger) -> int:
    """Return how many items were written down as published more often than they were to be published."""
    published, reopened = Counter[str](), Counter[str]()
    for entry in ledger.audit_trail():
        published[entry.subject] += entry.action == "published"
        reopened[entry.subject] += entry.action == "reopened"
    return sum(count > 1 + reopened[subject] for subject, count in published.items())


def count_leftovers(store: Store, episodes: Sequence[Expected]) -> int:
    """Return how many messages and kept steps there still are of pictures that are done."""
    keys = [stat.key for folder in ("halo/", "state/") for stat in store.list(folder)]
    traces = [traces for episode in episodes for picture, traces in episode.traces.items() if find_done(store, picture)]
    return sum(key.startswith(traces_of_one) for traces_of_one in traces for key in keys)


def why_wasted(attempt: Attempt) -> str:
    """Say in a word or two why an attempt came to nothing: fell silent, or the error that ended it."""
    if attempt.state == "running":
        return "still running"
    if attempt.state == "lost":
        reason = attempt.message.partition(":")[0]
        return {"its output is not in the store": "its record was deleted", "superseded": reason}.get(
            reason, "fell silent"
        )
    return attempt.message.partition(":")[0] or attempt.failure_class
