"""When to stop trying: pure functions of what the ledger says."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from db.records import Attempt

# How often the farm tries again by itself after a failure of a class; then a person has to look.
LIMITS: Mapping[str, float] = {
    "infrastructure": 5,  # pods die for reasons of their own; six in a row on one item are no accident
    "out_of_memory": 2,  # another node may have more room; a third will not
    "bad_input": 0,
    "failed_checks": 1,  # once by a broken device, twice by the work itself
    "licence": 0,
    "preempted": math.inf,
    "bug": 0,
}


@dataclass(frozen=True)
class Verdict:
    """Whether the farm may try by itself, and if not, why."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True)
class BreakerRule:
    """Of the newest `window` ended attempts, so many failures on so many items, and such a share, open the breaker."""

    window: int = 20
    min_failures: int = 6
    min_items: int = 3  # one bad segment is its own limit's business
    min_share: float = 0.5


def may_retry(attempts: Sequence[Attempt], forgiven: int = 0, limits: Mapping[str, float] = LIMITS) -> Verdict:
    """Judge one work item by its attempts numbered above `forgiven` (a person's retry forgives what was before)."""
    failures = Counter(a.failure_class for a in attempts if a.number > forgiven and a.state in ("failed", "lost"))
    for failure_class, count in sorted(failures.items()):
        limit = limits.get(failure_class, 0)
        if count > limit:
            return Verdict(
                False, f"{count} x {failure_class}, limit {limit:.0f}; look at it, then farm retry or farm waive"
            )
    return Verdict(True)


def breaker(attempts: Sequence[Attempt], rule: BreakerRule = BreakerRule()) -> Verdict:
    """Judge an episode by its attempts in the order of their start: not allowed means that the breaker is open."""
    counted = [a for a in attempts if a.state != "running" and a.failure_class != "preempted"][-rule.window :]
    failures = [a for a in counted if a.state in ("failed", "lost")]
    num_items = len({a.item for a in failures})
    if len(failures) < max(rule.min_failures, rule.min_share * len(counted)) or num_items < rule.min_items:
        return Verdict(True)
    worst, count = Counter(a.failure_class for a in failures).most_common(1)[0]
    return Verdict(
        False,
        f"{len(failures)} of the newest {len(counted)} attempts failed on {num_items} items, {count} of them {worst}; "
        "find the cause, then farm retry closes the breaker",
    )
