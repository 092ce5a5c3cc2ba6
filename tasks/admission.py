"""May this be tried now? Asked before every claim: the item's own limits, the episode's breaker, its budget."""

from dataclasses import dataclass

from db.ledger import Ledger
from db.limits import Verdict
from db.records import WorkItem
from tasks.errors import FailureClass, FarmError
from tasks.settings import settings


class Refused(FarmError):
    """The farm does not try this by itself any more; a person has to look. Costs no attempt."""

    failure_class = FailureClass.PREEMPTED


@dataclass(frozen=True)
class Budget:
    """What an episode may cost. 0: no limit."""

    gpu_hours: float = 0.0

    def judge(self, gpu_seconds: float) -> Verdict:
        """Say whether an episode that has cost so much may go on."""
        hours = gpu_seconds / 3600
        if self.gpu_hours and hours >= self.gpu_hours:
            return Verdict(
                False,
                f"{hours:.2f} GPU-hours are spent, the budget is {self.gpu_hours:g}; raise FARM_BUDGET_GPU_HOURS",
            )
        return Verdict(True)


def judge(ledger: Ledger, item: WorkItem, episode: str, budget: Budget | None = None) -> Verdict:
    """Return whether the item may be tried again by itself, and if not, why. Raises: LedgerAway."""
    verdict = ledger.may_retry(item)
    return judge_episode(ledger, episode, budget) if verdict.allowed else verdict


def judge_episode(ledger: Ledger, episode: str, budget: Budget | None = None) -> Verdict:
    """Return whether anything of an episode, named by its plan's key, may be started: its breaker, then its budget.

    The breaker looks at this plan; an edit or a waiver makes another plan, and the budget counts all of the name.
    Raises: LedgerAway.
    """
    verdict = ledger.breaker(episode)
    if not verdict.allowed:
        return verdict
    return judge_budget(ledger, episode, budget)


def judge_budget(ledger: Ledger, episode: str, budget: Budget | None = None) -> Verdict:
    """Return whether an episode, named by its plan's key, may still cost anything. Raises: LedgerAway."""
    limit = budget or Budget(settings().budget_gpu_hours)
    return limit.judge(ledger.usage(name_of=episode).gpu_seconds)


def require(ledger: Ledger, item: WorkItem, episode: str) -> None:
    """Raise Refused when the item may not be tried now."""
    verdict = judge(ledger, item, episode)
    if not verdict.allowed:
        raise Refused(f"{item}: {verdict.reason}")


def require_budget(ledger: Ledger, episode: str, name: str) -> None:
    """Raise Refused when the budget is spent: the one limit that a person who renders by hand has set for himself."""
    verdict = judge_budget(ledger, episode)
    if not verdict.allowed:
        raise Refused(f"{name}: {verdict.reason}")


def forgive(ledger: Ledger, item: WorkItem, episode: str, who: str, why: str) -> None:
    """Have somebody's wish to try again count: what failed before is forgiven, the breaker closed."""
    ledger.retry(item, who, why)
    if not ledger.breaker(episode).allowed:
        ledger.close_breaker(episode, who, why)
