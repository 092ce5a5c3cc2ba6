"""When to stop trying."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.limits import LIMITS, BreakerRule, breaker, may_retry
from db.records import Attempt, Behalf, WorkItem
from tasks.errors import FailureClass


def attempt(number: int, failure_class: str = "", key: str = "k", state: str = "") -> Attempt:
    state = state or ("failed" if failure_class else "done")
    item = WorkItem("segment", key)
    return Attempt(item, number, "w", state, failure_class, "", 0.0, 1.0, 0.0, 0.0, 0, Behalf(), {})


def test_every_failure_class_has_a_limit() -> None:
    assert set(LIMITS) == {failure_class.value for failure_class in FailureClass}


@pytest.mark.parametrize(
    ("failure_class", "retries"),
    [("infrastructure", 5), ("out_of_memory", 2), ("bad_input", 0), ("failed_checks", 1), ("licence", 0), ("bug", 0)],
)
def test_a_class_is_retried_up_to_its_limit(failure_class: str, retries: int) -> None:
    failures = [attempt(number, failure_class) for number in range(1, retries + 2)]
    assert may_retry(failures[:retries]).allowed
    verdict = may_retry(failures)
    assert not verdict.allowed
    assert (
        verdict.reason == f"{retries + 1} x {failure_class}, limit {retries}; look at it, then farm retry or farm waive"
    )


def test_being_preempted_never_ends_it_and_lost_attempts_count_as_infrastructure() -> None:
    assert may_retry([attempt(n, "preempted") for n in range(1, 500)]).allowed
    assert not may_retry([attempt(n, "infrastructure", state="lost") for n in range(1, 7)]).allowed


def test_an_unknown_class_is_treated_like_a_bug() -> None:
    assert not may_retry([attempt(1, "novel")]).allowed


@given(st.lists(st.sampled_from([*LIMITS, ""]), max_size=12), st.integers(0, 12))
def test_only_what_failed_after_the_forgiveness_counts(classes: list[str], forgiven: int) -> None:
    attempts = [attempt(number, failure_class) for number, failure_class in enumerate(classes, 1)]
    assert may_retry(attempts, forgiven) == may_retry(attempts[forgiven:])


def episode(*classes: str, num_items: int = 100) -> list[Attempt]:
    return [attempt(1, failure_class, f"k{index % num_items}") for index, failure_class in enumerate(classes)]


def test_the_breaker_opens_on_many_failures_on_many_items() -> None:
    assert breaker([]).allowed
    assert breaker(episode(*["bug"] * 5)).allowed
    assert not breaker(episode(*["bug"] * 6)).allowed
    assert breaker(episode(*["bug"] * 6, num_items=2)).allowed, "one bad segment is not a bad episode"
    assert breaker(episode(*["bug"] * 6 + [""] * 7)).allowed
    assert not breaker(episode(*[""] * 50 + ["bug", ""] * 10)).allowed, "only the newest twenty count"
    assert breaker(episode(*["preempted"] * 50)).allowed
    reason = breaker(episode(*["bug"] * 2 + ["out_of_memory"] * 5)).reason
    assert reason.startswith("7 of the newest 7 attempts failed on 7 items, 5 of them out_of_memory")


@given(st.lists(st.sampled_from(["", "bug", "infrastructure", "preempted"]), max_size=40), st.integers(1, 6))
def test_preempted_attempts_never_change_the_breaker(classes: list[str], min_failures: int) -> None:
    rule = BreakerRule(min_failures=min_failures)
    without = [failure_class for failure_class in classes if failure_class != "preempted"]
    spread = {"num_items": 1000}
    assert breaker(episode(*classes, **spread), rule).allowed == breaker(episode(*without, **spread), rule).allowed
