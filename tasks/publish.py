"""Publish a work item so that exactly one rendering of it wins, whatever dies when.

    claim -> render to scratch -> check -> content -> record -> pointer, put once -> one transaction

The store decides: whoever creates the pointer has won. The database follows in the last step; when a worker dies
before it, the next one (or tasks.reconcile) finds the pointer and writes the winner down. So the database never names
an object that is not there, and a result whose worker died, or was passed over, in between is not lost.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from db.errors import AlreadyDone, LeaseLost, LedgerAway, LedgerError
from db.ledger import Ledger
from db.records import Artifact, Behalf, Claim, Derivation, Facts, Record, WorkItem
from tasks.attempt import Heartbeat, Stopwatch, Work, failure_class_of, preemption, working
from tasks.crash import CrashPoints, NoCrash
from tasks.errors import ObjectMissing, StoreError
from tasks.pointer import Pointer, adopt, as_farm_error, find_done, pointer_key
from tasks.store import ObjectRef, Store

log = logging.getLogger(__name__)
CRASH_POINTS = (
    "after_claim", "after_render", "after_check", "after_content", "after_record", "after_pointer", "before_commit",
    "after_commit",
)  # fmt: skip
REPAIR_POINTS = ("after_reopen", "before_swap", "after_swap")  # passed only where a winner's objects were lost
POINTER_TRIES = 5  # each one lost means that another worker replaced a broken pointer meanwhile


@dataclass(frozen=True)
class Output:
    """A finished file in scratch: what it is (segment_latents, film, thumbnail, ...), suffix, and name for people."""

    path: Path
    kind: str
    suffix: str = ""
    name: str = ""


@dataclass(frozen=True)
class Input:
    """What the output was made from, and as what; `source` is the work item that made it, if one did.

    The span says which seconds of the output come from it: None for all of them.
    """

    artifact: Artifact
    role: str
    source: WorkItem | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class Rendered:
    """What a renderer hands over: the item's own output, what comes with it, and where it all comes from."""

    output: Output
    extras: tuple[Output, ...] = ()
    inputs: tuple[Input, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """The winner; `rendered` says whether this call made it or found it."""

    pointer: Pointer
    rendered: bool


@dataclass(frozen=True)
class Publisher:
    """Where one worker publishes to, under which name, and how it holds its claims."""

    store: Store
    ledger: Ledger
    worker: str
    scratch: Path
    lease_seconds: float = 120.0
    num_gpus: int = 0
    crash: CrashPoints = field(default_factory=NoCrash)

    def publish(
        self,
        item: WorkItem,
        render: Callable[[Work], Rendered],
        check: Callable[[Rendered], None] = lambda _rendered: None,
        *,
        behalf: Behalf | None = None,
        stop: threading.Event | None = None,
    ) -> Published:
        """Return the item's winner, rendering it if there is none.

        `check` raises CheckFailed when the rendering must not be published. `stop` asks the renderer to end at its next
        checkpoint; without it SIGTERM does.
        Raises: Busy while another worker is at it, Waived, LeaseLost, Preempted, DatabaseAway, StoreError, and whatever
        `render` and `check` raise; each has been counted in the ledger under its failure class.
        """
        behalf = behalf or Behalf()
        try:
            claim = self._found(item) or self._claim(item, behalf)
            if isinstance(claim, Pointer):
                return Published(claim, rendered=False)
            if stop is not None:
                return self._attempt(claim, behalf, render, check, stop)
            with preemption() as stop:
                return self._attempt(claim, behalf, render, check, stop)
        except LedgerError as exc:
            raise as_farm_error(exc) from exc

    def _found(self, item: WorkItem) -> Pointer | None:
        found = find_done(self.store, item)
        if found:
            adopt(self.store, self.ledger, found)
        return found

    def _claim(self, item: WorkItem, behalf: Behalf) -> Claim | Pointer:
        def ask() -> Claim:
            return self.ledger.claim(item, self.worker, self.lease_seconds, behalf=behalf, num_gpus=self.num_gpus)

        try:
            return ask()
        except AlreadyDone as exc:
            if exc.waived:
                raise
            found = self._found(item)
            if found:  # somebody published between our look into the store and our claim
                return found
            # Done in the ledger but not in the store: the output was lost or damaged after it had been published.
            self.ledger.reopen(item, self.worker, "its output is not in the store")
            self.crash.hit("after_reopen")
            return ask()

    def _attempt(
        self,
        claim: Claim,
        behalf: Behalf,
        render: Callable[[Work], Rendered],
        check: Callable[[Rendered], None],
        stop: threading.Event,
    ) -> Published:
        self.crash.hit("after_claim")
        watch = Stopwatch()
        with Heartbeat(self.ledger, claim, self.lease_seconds) as heart:
            try:
                with working(claim, heart, stop, self.scratch) as work:
                    rendered = render(work)
                    self.crash.hit("after_render")
                    check(rendered)
                    self.crash.hit("after_check")
                    pointer, record = self._put_objects(claim, behalf, rendered, watch)
                heart.beat()  # a claim that was passed over does not get as far as the pointer
                winner = self._put_pointer(pointer)
            except BaseException as exc:
                self._give_up(claim, exc, watch.seconds)
                raise
        self.crash.hit("after_pointer")
        return self._settle(claim, pointer, winner, record, behalf)

    def _put_objects(
        self, claim: Claim, behalf: Behalf, rendered: Rendered, watch: Stopwatch
    ) -> tuple[Pointer, Record]:
        outputs = (rendered.output, *rendered.extras)
        refs = [self.store.put_content(output.path, output.suffix) for output in outputs]
        self.crash.hit("after_content")
        record = _record(rendered, outputs, refs, watch.seconds)
        record_ref = self.store.put_content(record.to_json(), ".json")
        self.crash.hit("after_record")
        return Pointer(claim.item, refs[0], record_ref, claim.attempt, claim.token, claim.worker, behalf), record

    def _put_pointer(self, pointer: Pointer) -> Pointer:
        """Return the winner: this pointer if it got in, or the sound one that was there."""
        key, mine = pointer_key(pointer.item), pointer.to_json()
        for _ in range(POINTER_TRIES):
            if self.store.put_once(key, mine):
                return pointer
            winner = find_done(self.store, pointer.item)
            if winner:
                return winner
            # A pointer to something that is gone: replace it, unless somebody else just replaced or removed it.
            with suppress(ObjectMissing):
                broken = self.store.get(key)
                self.crash.hit("before_swap")
                if self.store.swap_pointer(key, broken, mine):
                    self.crash.hit("after_swap")
                    return pointer
        raise StoreError(f"pointer {key} changed {POINTER_TRIES} times while it was being put; look who writes there")

    def _settle(self, claim: Claim, pointer: Pointer, winner: Pointer, record: Record, behalf: Behalf) -> Published:
        if winner.token != pointer.token:
            log.warning("another attempt had published", extra={"item": str(claim.item), "winner": winner.attempt})
            adopt(self.store, self.ledger, winner)
            return Published(winner, rendered=False)
        try:
            self.ledger.finish(claim, record, lambda: self.crash.hit("before_commit"))
        except LeaseLost:  # passed over between pointer and commit: the store has decided, for us
            self.ledger.adopt(claim, record, behalf)
        self.crash.hit("after_commit")
        log.info("published", extra={"item": str(claim.item), "attempt": claim.attempt, "sha256": record.sha256})
        return Published(pointer, rendered=True)

    def _give_up(self, claim: Claim, exc: BaseException, seconds: float) -> None:
        try:
            self.ledger.fail(claim, failure_class_of(exc), f"{type(exc).__name__}: {exc}", seconds)
        except LedgerAway as away:  # the lease will run out instead
            log.warning("failure not written down", extra={"item": str(claim.item), "failure": str(away)})


def _record(rendered: Rendered, outputs: tuple[Output, ...], refs: list[ObjectRef], seconds: float) -> Record:
    made = [Artifact(ref.sha256, ref.size, o.kind, ref.key, o.name) for o, ref in zip(outputs, refs)]
    main = made[0].sha256
    arrows = [
        Derivation(main, i.artifact.sha256, i.role, i.source, i.start_seconds, i.end_seconds) for i in rendered.inputs
    ]
    arrows += [Derivation(extra.sha256, main, extra.kind) for extra in made[1:]]
    artifacts = {artifact.sha256: artifact for artifact in [*(i.artifact for i in rendered.inputs), *made]}
    return Record(main, tuple(artifacts.values()), tuple(arrows), rendered.metrics, rendered.facts, seconds)
