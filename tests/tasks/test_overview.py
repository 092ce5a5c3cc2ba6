"""Where an episode stands, its limits and its budget; the retry of a person."""

import pytest

from db.records import WorkItem
from tasks.admission import Budget, Refused, forgive, judge, require
from tasks.errors import ObjectMissing
from tasks.overview import Line, overview, seconds_left, segment_named
from tasks.pod import open_pod
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.retry_runs import retry
from tasks.work import segment_item


@pytest.fixture
def scene(tmp_path):
    with open_pod((tmp_path / "store").as_uri(), f"sqlite:///{tmp_path / 'farm.db'}") as pod:
        plan, _ = ingest_rehearsal(tmp_path / "manifest", Rehearsal((2,), steps=2), pod)
        yield pod, plan


def fail(pod, item: WorkItem, failure_class: str, times: int = 1, episode: str = "") -> None:
    from db.records import Behalf

    for _ in range(times):
        claim = pod.ledger.claim(item, "w", 60.0, behalf=Behalf(episode), num_gpus=1)
        pod.ledger.fail(claim, failure_class, "because", 1800.0)


def test_every_segment_has_a_line_with_the_word_that_helps(scene):
    pod, plan = scene
    first, second = (segment_item(segment) for segment in plan.shots[0].segments)
    fail(pod, first, "failed_checks")
    pod.ledger.waive(second, "slate", "sam", "no time")
    seen = overview(pod, "rehearsal", usd_per_hour=2.0)
    assert [line.state for line in seen.lines][1] == "waived"
    assert (seen.num_done, seen.shots_done, seen.film_done) == (1, 0, False)
    pod.ledger.retry(second, "sam", "there is time")
    assert [line.state for line in overview(pod, "rehearsal").lines] == ["rejected", "waiting"]


def test_costs_are_told_for_show_episode_and_shot(scene):
    pod, plan = scene
    fail(pod, segment_item(plan.shots[0].segments[0]), "infrastructure", 2, plan.key)
    costs = {cost.what: cost for cost in overview(pod, "rehearsal", usd_per_hour=3.0).costs}
    assert costs["show rehearsals"].wasted_hours == costs["episode rehearsal"].wasted_hours == 1.0
    assert costs["episode rehearsal"].usd == 3.0
    assert costs["shot s1"].wasted_hours == 0.0


def test_a_spent_budget_stops_an_episode(scene):
    pod, plan = scene
    item = segment_item(plan.shots[0].segments[0])
    fail(pod, item, "infrastructure", 2, plan.key)
    assert judge(pod.ledger, item, plan.key, Budget(1.5)).allowed
    verdict = judge(pod.ledger, item, plan.key, Budget(1.0))
    assert not verdict.allowed and "1.00 GPU-hours are spent, the budget is 1" in verdict.reason


def test_bad_input_is_not_tried_again_until_a_person_says_so(scene):
    pod, plan = scene
    item = segment_item(plan.shots[0].segments[0])
    fail(pod, item, "bad_input")
    with pytest.raises(Refused, match="1 x bad_input, limit 0"):
        require(pod.ledger, item, plan.key)
    forgive(pod.ledger, item, plan.key, "sam", "the plate is there now")
    require(pod.ledger, item, plan.key)


def test_retry_takes_only_the_states_it_is_asked_for(scene):
    pod, plan = scene
    first, second = (segment_item(segment) for segment in plan.shots[0].segments)
    fail(pod, first, "failed_checks", 2)
    fail(pod, second, "bug")
    assert retry(pod, "rehearsal", "", None, ["failed"], "sam", "", False).forgiven == ("s1/1",)
    assert not pod.ledger.may_retry(first).allowed and pod.ledger.may_retry(second).allowed
    assert retry(pod, "rehearsal", "s1", 0, ["rejected"], "sam", "", False).forgiven == ("s1/0",)
    assert pod.ledger.may_retry(first).allowed


def test_names_that_do_not_exist_say_which_do(scene):
    pod, _ = scene
    assert segment_named(pod, "rehearsal/s1/1")[2].index == 1
    with pytest.raises(ObjectMissing, match="known: rehearsal"):
        overview(pod, "nothing")
    with pytest.raises(ObjectMissing, match="EPISODE/SHOT/INDEX"):
        segment_named(pod, "rehearsal/s1/7")


def test_time_left_goes_on_as_it_went():
    def line(state: str, steps: int, useful: float) -> Line:
        return Line("s", 0, 2, state, steps, 10, 1, useful, 0.0, "", "", "")

    assert seconds_left([line("running", 3, 0.0)]) is None
    lines = [line("done", 10, 40.0), line("running", 5, 0.0), line("running", 0, 0.0), line("waived", 0, 0.0)]
    assert seconds_left(lines) == pytest.approx((10 + 20) * 2.0 / 2)
