"""What the ledger refuses; the publisher turns these into the farm's own errors."""


class LedgerError(Exception):
    """Everything that the ledger raises on purpose."""


class Held(LedgerError):
    """Another worker holds an unexpired lease on this work item."""

    def __init__(self, what: str, worker: str, attempt: int, seconds_left: float) -> None:
        self.worker, self.attempt, self.seconds_left = worker, attempt, seconds_left
        super().__init__(
            f"{what}: attempt {attempt} of {worker} holds it for another {seconds_left:.0f} s; wait or leave it"
        )


class AlreadyDone(LedgerError):
    """The work item has a winner, or a person waived it; `waived` says with what (empty: it is done)."""

    def __init__(self, what: str, sha256: str, waived: str = "") -> None:
        self.sha256, self.waived = sha256, waived
        super().__init__(f"{what}: waived with {waived}" if waived else f"{what}: done, object {sha256}")


class LeaseLost(LedgerError):
    """A newer attempt number was given out: this one must not publish."""

    def __init__(self, what: str, attempt: int, current: int) -> None:
        self.attempt, self.current = attempt, current
        super().__init__(f"{what}: attempt {attempt} is no longer the current one ({current} is); drop its result")


class Disagreement(LedgerError):
    """The store and the ledger name different winners for one work item; `farm fsck --repair` settles it."""


class LedgerAway(LedgerError):
    """The database did not answer, after the ledger's own retries."""
