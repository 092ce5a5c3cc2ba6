"""What the chaos has cost: counted from store and ledger, compared with what had to come out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from db.ledger import Ledger
from db.records import Attempt
from tasks.chaos.expected import Expected
from tasks.fsck import Finding, audit
from tasks.pointer import find_done
from tasks.reconcile import reconcile
from tasks.store import Store


@dataclass(frozen=True)
class Score:
    """The figures that must be 0, and those that tell how hard it was."""

    segments: int
    films: int
    lost: int
    wrong: int
    wrong_films: int
    two_winners: int
    duplicate_lineage: int
    findings: tuple[Finding, ...]
    adopted_late: int
    attempts: int
    wasted_by_reason: dict[str, int]

    @property
    def clean(self) -> bool:
        """Say whether nothing was lost and nothing doubled."""
        return not (
            self.lost or self.wrong or self.wrong_films or self.two_winners or self.duplicate_lineage or self.findings
        )

    @property
    def wasted_attempts(self) -> int:
        return sum(self.wasted_by_reason.values())


def keep_score(store: Store, ledger: Ledger, episodes: Sequence[Expected]) -> Score:
    """Reconcile, audit and count. Raises: StoreError, LedgerAway."""
    late = reconcile(store, ledger)
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
    winners = Counter(attempt.item for attempt in attempts if attempt.state == "done")
    wasted = Counter(why_wasted(attempt) for attempt in attempts if attempt.state != "done")
    published = Counter(entry.subject for entry in ledger.audit_trail() if entry.action == "published")
    return Score(
        segments, len(episodes), lost, wrong, wrong_films,
        two_winners=sum(count > 1 for count in winners.values()),
        duplicate_lineage=sum(count > 1 for count in published.values()),
        findings=tuple(audit(store, ledger, repair=False)),
        adopted_late=len(late.adopted), attempts=len(attempts), wasted_by_reason=dict(wasted),
    )  # fmt: skip


def why_wasted(attempt: Attempt) -> str:
    """Say in a word or two why an attempt came to nothing: fell silent, or the error that ended it."""
    if attempt.state == "lost":
        return "fell silent"
    if attempt.state == "running":
        return "still running"
    return attempt.message.partition(":")[0] or attempt.failure_class
