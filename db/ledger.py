"""The ledger: one object for all that is remembered. Every method is one transaction, safe to call from any thread.

Leases are measured with the database's clock (see db.engine.database_clock); a worker's own clock is never asked.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db import audit, claims, decisions, invariants, lineage, registry, report
from db.engine import open_engine
from db.limits import LIMITS, Verdict, breaker, may_retry
from db.records import (
    Artifact,
    Attempt,
    AuditEntry,
    Behalf,
    Claim,
    EpisodeEntry,
    ItemStatus,
    Record,
    SegmentEntry,
    ShotEntry,
    WeightsEntry,
    WorkItem,
)
from db.transactions import Transactions

T = TypeVar("T")


def open_ledger(
    url: str, *, clock: Callable[[], float] | None = None, sleep: Callable[[float], None] = time.sleep
) -> "Ledger":
    """Open the database, bring its tables up to date, and return its ledger. Raises: LedgerAway, ValueError."""
    return Ledger(open_engine(url), clock=clock, sleep=sleep)


def nothing() -> None:
    """Do nothing."""


class Ledger:
    """`clock` replaces the database's clock; `sleep` is how it waits before it asks a silent database again."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.transactions = Transactions(engine, clock=clock, sleep=sleep)

    def close(self) -> None:
        """Give the connections back."""
        self.transactions.engine.dispose()

    # -- what is planned

    def register_episode(self, episode: EpisodeEntry, actor: str = "farm") -> bool:
        """Write an episode down as the one asked for last; False when its key was known. Raises: LedgerAway."""
        return self._write(lambda s, now: registry.register_episode(s, episode, actor, now))

    def register_shots(self, episode_key: str, shots: Sequence[ShotEntry]) -> None:
        """Write the episode's shots down, each once. Raises: LedgerAway."""
        self.transactions.write(lambda s: registry.register_shots(s, episode_key, shots))

    def register_segments(self, shot_key: str, segments: Sequence[SegmentEntry]) -> None:
        """Write the shot's segments down, each once. Raises: LedgerAway."""
        self.transactions.write(lambda s: registry.register_segments(s, shot_key, segments))

    def register_weights(self, weights: WeightsEntry) -> None:
        """Write a weights file down, once. Raises: LedgerAway."""
        self.transactions.write(lambda s: registry.register_weights(s, weights))

    # -- who works on what

    def claim(
        self, item: WorkItem, worker: str, lease_seconds: float, *, behalf: Behalf | None = None, num_gpus: int = 0
    ) -> Claim:
        """Return the right to publish the item, with a new attempt number.

        Raises: Held while another worker's lease runs, AlreadyDone when it has a winner or is waived, LedgerAway.
        """
        token = secrets.token_hex(8)
        ask = partial(claims.claim, item=item, worker=worker, lease_seconds=lease_seconds, token=token)
        return self._write(lambda s, now: ask(s, behalf=behalf or Behalf(), num_gpus=num_gpus, now=now))

    def renew(self, claim: Claim, lease_seconds: float) -> float:
        """Make the lease longer and return its end. Raises: LeaseLost when a newer attempt exists, LedgerAway."""
        return self._write(lambda s, now: claims.renew(s, claim, lease_seconds, now))

    def finish(self, claim: Claim, record: Record, before_commit: Callable[[], None] = nothing) -> None:
        """Make the attempt the winner and write its lineage, in one transaction; calling it again changes nothing.

        Raises: LeaseLost when a newer attempt exists, LedgerAway.
        """

        def write(session: Session, now: float) -> None:
            claims.finish(session, claim, record, now)
            session.flush()
            before_commit()

        self._write(write)

    def fail(self, claim: Claim, failure_class: str, message: str, seconds: float) -> bool:
        """End the attempt, which wasted `seconds`; False when a newer one took over. Raises: LedgerAway."""
        return self._write(lambda s, now: claims.fail(s, claim, failure_class, message, seconds, now))

    def adopt(self, claim: Claim, record: Record, behalf: Behalf | None = None) -> bool:
        """Write down the winner that the store names; False when the ledger knew. Raises: Disagreement, LedgerAway."""
        adopt = partial(claims.adopt, item=claim.item, number=claim.attempt, token=claim.token, worker=claim.worker)
        return self._write(lambda s, now: adopt(s, record=record, behalf=behalf or Behalf(), now=now))

    def expire(self) -> list[WorkItem]:
        """End the attempts whose lease ran out; return their items, which wait again. Raises: LedgerAway."""
        return self._write(claims.expire)

    def pass_over(self, item: WorkItem, worker: str, why: str, failure_class: str = claims.LOST) -> bool:
        """End the attempt of a worker known to be gone; False when another one runs. Raises: LedgerAway."""
        return self._write(lambda s, now: claims.pass_over(s, item, worker, why, now, failure_class))

    def reopen(self, item: WorkItem, actor: str, why: str) -> bool:
        """Take the winner away, because its output is gone or wrong; False when it had none. Raises: LedgerAway."""
        return self._write(lambda s, now: claims.reopen(s, item, actor, why, now))

    # -- what people decide

    def waive(self, item: WorkItem, how: str, who: str, why: str) -> bool:
        """Let the film be made with `hold-last` or `slate` instead; False when that was so.

        Raises: AlreadyDone when the item has a winner, ValueError for another `how`, LedgerAway.
        """
        return self._write(lambda s, now: decisions.waive(s, item, how, who, why, now))

    def retry(self, item: WorkItem, who: str, why: str) -> bool:
        """Forgive failures and waiver; False when the item is running or done. Raises: LedgerAway."""
        return self._write(lambda s, now: decisions.retry(s, item, who, why, now))

    def close_breaker(self, episode_key: str, who: str, why: str) -> None:
        """Let the episode's farm try again. Raises: LedgerAway."""
        self._write(lambda s, now: decisions.close_breaker(s, episode_key, who, why, now))

    # -- questions

    def status(self, item: WorkItem) -> ItemStatus | None:
        """Return where the item stands, None when it was never planned. Raises: LedgerAway."""
        return self.statuses([item]).get(item)

    def statuses(self, items: Sequence[WorkItem]) -> dict[WorkItem, ItemStatus]:
        """Return where the known ones of these items stand. Raises: LedgerAway."""
        return self.transactions.read(lambda s: report.item_statuses(s, items))

    def items(self, kind: str = "", state: str = "") -> list[ItemStatus]:
        """Return every item, or those of a kind or state. Raises: LedgerAway."""
        return self.transactions.read(lambda s: report.all_statuses(s, kind, state))

    def episodes(self, name: str = "") -> list[EpisodeEntry]:
        """Return the episodes of a name, or all, the plan that was asked for last first. Raises: LedgerAway."""
        return self.transactions.read(lambda s: report.episodes(s, name))

    def attempts(self, item: WorkItem) -> list[Attempt]:
        """Return the item's attempts by number. Raises: LedgerAway."""
        return self.attempts_of([item]).get(item, [])

    def attempts_of(self, items: Sequence[WorkItem]) -> dict[WorkItem, list[Attempt]]:
        """Return the attempts, by number, at those of these items that were tried. Raises: LedgerAway."""
        return self.transactions.read(lambda s: report.attempts_of(s, items))

    def may_retry(self, item: WorkItem) -> Verdict:
        """Say whether the farm may try the item again by itself. Raises: LedgerAway."""
        status = self.status(item)
        return may_retry(self.attempts(item), status.forgiven if status else 0, LIMITS)

    def breaker(self, episode_key: str) -> Verdict:
        """Say whether the episode's circuit breaker lets new attempts through. Raises: LedgerAway."""
        return breaker(self.transactions.read(lambda s: report.episode_attempts(s, episode_key)))

    def usage(self, *, episode: str = "", shot: str = "", show: str = "", name_of: str = "") -> report.Usage:
        """Add up what was useful and wasted for a plan, a shot, a show, or all plans of the name that one has.

        Raises: LedgerAway.
        """
        given = {"episode": episode, "shot": shot, "show": show, "name_of": name_of}
        return self.transactions.read(lambda s: report.usage(s, **given))

    def usage_by_shot(self, episode: str) -> dict[str, report.Usage]:
        """Add up by shot id what all plans of the name that this one has have cost. Raises: LedgerAway."""
        return self.transactions.read(lambda s: report.usage_by_shot(s, episode))

    def usage_by_name(self) -> dict[str, report.Usage]:
        """Add up what every episode has cost, by its name. Raises: LedgerAway."""
        return self.transactions.read(report.usage_by_name)

    def trace(self, sha256: str, at_seconds: float | None = None) -> lineage.Node | None:
        """Return what the object was made from, all the way back; None when it is unknown. Raises: LedgerAway."""
        return self.transactions.read(lambda s: lineage.trace(s, sha256, at_seconds))

    def breaches(self) -> list[invariants.Breach]:
        """Return what does not hold inside the database. Raises: LedgerAway."""
        return self.transactions.read(invariants.breaches)

    def winners(self) -> dict[WorkItem, tuple[str, str]]:
        """Return each done item's winning token and digest. Raises: LedgerAway."""
        return self.transactions.read(invariants.winners)

    def stored_artifacts(self) -> list[Artifact]:
        """Return everything that the store must hold. Raises: LedgerAway."""
        return self.transactions.read(invariants.stored_artifacts)

    def items_touching(self, sha256: str) -> list[WorkItem]:
        """Return the done items that made this object. Raises: LedgerAway."""
        return self.transactions.read(lambda s: invariants.items_touching(s, sha256))

    # -- the trail

    def audit_trail(self, subject: str = "") -> list[AuditEntry]:
        """Return the trail, or what it says about one subject. Raises: LedgerAway."""
        return self.transactions.read(lambda s: audit.entries(s, subject))

    def verify_audit(self, anchor: tuple[int, str] = (0, audit.GENESIS)) -> list[str]:
        """Return what is wrong with the trail; empty: intact, and it goes on from `anchor`. Raises: LedgerAway."""
        return audit.verify(self.audit_trail(), anchor)

    def _write(self, work: Callable[[Session, float], T]) -> T:
        return self.transactions.write(lambda session: work(session, self.transactions.now(session)))
