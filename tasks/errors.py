"""The error tree. PermanentError is never retried, TransientError is, anything else is a bug."""

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Why an attempt ended without a result; each class has its own retry limit."""

    INFRASTRUCTURE = "infrastructure"  # pod gone, network, database or store away
    OUT_OF_MEMORY = "out_of_memory"
    BAD_INPUT = "bad_input"
    FAILED_CHECKS = "failed_checks"
    LICENCE = "licence"
    PREEMPTED = "preempted"  # asked to stop: saved its step, costs no retry
    BUG = "bug"


class FarmError(Exception):
    """Everything the farm raises on purpose; `failure_class` says how it counts."""

    failure_class: FailureClass = FailureClass.BUG


class PermanentError(FarmError):
    """Trying again cannot help."""

    failure_class = FailureClass.BAD_INPUT


class TransientError(FarmError):
    """Trying again may help."""

    failure_class = FailureClass.INFRASTRUCTURE


class ConfigError(PermanentError):
    """A setting is missing or wrong."""


class MediaError(PermanentError):
    """A media file cannot be used."""


class WeightsError(PermanentError):
    """A weights file is missing, incomplete or of another network."""


class LicenceError(PermanentError):
    """The licence of the weights, or a character's consent, does not allow this render."""

    failure_class = FailureClass.LICENCE


class CheckFailed(PermanentError):
    """A rendered object did not pass its checks."""

    failure_class = FailureClass.FAILED_CHECKS


class OutOfMemory(TransientError):
    """The device or the pod ran out of memory."""

    failure_class = FailureClass.OUT_OF_MEMORY


class StoreError(TransientError):
    """The object store did not do what was asked, after its own retries."""


class ObjectMissing(PermanentError):
    """An object that must exist is not in the store."""


class DatabaseAway(TransientError):
    """The database did not answer, after the ledger's own retries."""


class Busy(TransientError):
    """Another worker is at it and its lease still runs; leave it or come back."""


class Waived(PermanentError):
    """A person decided that the film is made without this."""


class LeaseLost(TransientError):
    """Another attempt holds a newer fencing token; this one must not publish."""


class Preempted(TransientError):
    """The machine is being taken away; everything up to the last step is saved."""

    failure_class = FailureClass.PREEMPTED


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in what a person wrote.

    `where` is a dotted path (`shots[2].characters[0].face`), `line` starts at 1 (0: unknown).
    """

    file: str
    line: int
    where: str
    rule: str
    message: str  # what was wrong, the value, the limit and the way out, in one sentence

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.where}: {self.message} [{self.rule}]"


class ManifestError(PermanentError):
    """A manifest has faults; all of them at once."""

    def __init__(self, faults: "list[Fault]") -> None:
        self.faults = sorted(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
