"""Where an episode stands, its limits and its budget; the retry of a person."""

from collections import Counter
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from db.records import Behalf, WorkItem
from tasks import steps
from tasks.admission import Budget, Refused, forgive, judge, require
from tasks.episodes import list_episodes
from tasks.errors import ObjectMissing, PermanentError
from tasks.exchange import Checkpoints
from tasks.overview import Line, find_order, overview, seconds_left, segment_named
from tasks.pod import open_pod
from tasks.register import register
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.retry_runs import retry
from tasks.settings import settings
from tasks.waivers import load_order
from tasks.work import segment_item, shot_item


@pytest.fixture
def scene(tmp_path):
    with open_pod((tmp_path / "store").as_uri(), f"sqlite:///{tmp_path / 'farm.db'}") as pod:
        plan, _ = ingest_rehearsal(tmp_path / "manifest", Rehearsal((2,), steps=2), pod)
        yield pod, plan


@pytest.fixture
def budget(monkeypatch):
    """Sets how many GPU-hours an episode may cost."""

    def allow(hours: float) -> None:
        monkeypatch.setenv("FARM_BUDGET_GPU_HOURS", str(hours))
        settings.cache_clear()

    yield allow
    monkeypatch.undo()
    settings.cache_clear()


@contextmanager
def counted(pod):
    """Count what is asked of ledger and store: SQL, and each verb of the store."""
    asked: Counter[str] = Counter()
    engine, store = pod.ledger.transactions.engine, pod.store

    def statement(_connection, _cursor, sql, *_):
        asked["sql"] += not sql.startswith(("BEGIN", "COMMIT"))

    def verb(name):
        def call(*args, **kwargs):
            asked[name] += 1
            return getattr(type(store), name)(store, *args, **kwargs)

        return call

    names = ("get", "list", "stat")
    vars(store).update({name: verb(name) for name in names})
    event.listen(engine, "before_cursor_execute", statement)
    try:
        yield asked
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        for name in names:
            vars(store).pop(name)


def fail(pod, item: WorkItem, failure_class: str, times: int = 1, episode: str = "") -> None:
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


def test_an_episode_that_its_budget_stops_says_so(scene, budget):
    pod, plan = scene
    fail(pod, segment_item(plan.shots[0].segments[0]), "infrastructure", 2, plan.key)
    budget(2.0)
    seen = overview(pod, "rehearsal")
    assert (seen.stopped, seen.spent_gpu_hours, seen.budget_gpu_hours) == ("", 1.0, 2.0)
    budget(1.0)
    seen = overview(pod, "rehearsal")
    assert "1.00 GPU-hours are spent, the budget is 1" in seen.stopped
    assert {line.reason for line in seen.lines if line.state == "waiting"} == {seen.stopped}
    told = retry(pod, "rehearsal", "", None, ["failed"], "sam", "", False)
    assert told.forgiven == ("s1/0",) and told.stopped == seen.stopped


def test_a_spent_budget_stops_a_render_by_hand_before_its_first_step(tmp_path, budget):
    store, database = (tmp_path / "store").as_uri(), f"sqlite:///{tmp_path / 'farm.db'}"
    with open_pod(store, database) as pod:
        plan, order = ingest_rehearsal(tmp_path / "manifest", Rehearsal((1,), steps=1), pod)
        register(pod.ledger, plan, order)
        fail(pod, segment_item(plan.shots[0].segments[0]), "infrastructure", 2, plan.key)
        budget(1.0)
        with pytest.raises(Refused, match=r"shot s1: 1.00 GPU-hours are spent, the budget is 1"):
            steps.render_shot.fn(order, "s1", store, database)
        budget(2.0)
        assert steps.render_shot.fn(order, "s1", store, database) == 1


def test_an_edit_or_a_waiver_does_not_start_the_budget_anew(scene, tmp_path, budget):
    pod, plan = scene
    fail(pod, segment_item(plan.shots[0].segments[0]), "infrastructure", 4, plan.key)
    edited, order = ingest_rehearsal(tmp_path / "edited", Rehearsal((2,), steps=2, seed=8), pod)
    assert edited.key != plan.key and edited.shots[0].key != plan.shots[0].key
    fail(pod, segment_item(edited.shots[0].segments[0]), "infrastructure", 2, edited.key)
    pod.ledger.waive(segment_item(edited.shots[0].segments[1]), "slate", "sam", "no time")
    waived = load_order(pod, order)
    register(pod.ledger, waived, order)
    assert waived.key not in (plan.key, edited.key)
    item = segment_item(waived.shots[0].segments[0])
    assert judge(pod.ledger, item, waived.key, Budget(3.5)).allowed
    assert "3.00 GPU-hours are spent" in judge(pod.ledger, item, waived.key, Budget(3.0)).reason
    budget(3.0)
    seen = overview(pod, "rehearsal", usd_per_hour=2.0)
    assert "3.00 GPU-hours are spent" in seen.stopped
    assert {cost.what: cost.usd for cost in seen.costs}["episode rehearsal"] == 6.0


def test_a_plan_that_is_put_back_is_the_one_that_is_looked_at(scene, tmp_path):
    pod, plan = scene
    _, first = find_order(pod, "rehearsal")
    _, second = ingest_rehearsal(tmp_path / "edited", Rehearsal((2,), steps=2, seed=8), pod)
    assert find_order(pod, "rehearsal")[1] == second
    register(pod.ledger, plan, first)
    assert find_order(pod, "rehearsal")[1] == first


@pytest.mark.parametrize("look", [lambda pod: overview(pod, "rehearsal"), list_episodes])
def test_looking_asks_as_little_of_forty_segments_as_of_two(tmp_path, look):
    asked = []
    for windows in (2, 40):
        database = f"sqlite:///{tmp_path / str(windows)}.db"
        with open_pod((tmp_path / f"store-{windows}").as_uri(), database) as pod:
            plan, _ = ingest_rehearsal(tmp_path / f"manifest-{windows}", Rehearsal((windows,), steps=2), pod)
            fail(pod, segment_item(plan.shots[0].segments[1]), "infrastructure", 1, plan.key)
            with counted(pod) as counts:
                look(pod)
        asked.append(counts)
    assert asked[0] == asked[1]
    assert asked[0]["sql"] <= 12 and asked[0]["get"] <= 2 and asked[0]["list"] <= 1


def test_a_segment_under_way_tells_the_steps_that_are_kept(scene):
    pod, plan = scene
    first, second = plan.shots[0].segments
    fail(pod, segment_item(first), "infrastructure")
    pod.store.put_once(Checkpoints(pod.store, first)._key(0), b"half of it")
    pod.ledger.claim(segment_item(second), "w7", 60.0)
    assert [(line.state, line.steps, line.worker) for line in overview(pod, "rehearsal").lines] == [
        ("failed", 1, ""),
        ("running", 0, "w7"),
    ]


def test_every_episode_is_a_line_with_its_segments_counted(scene, tmp_path):
    pod, plan = scene
    assert [(one.episode, one.film_done) for one in list_episodes(pod)] == [("rehearsal", False)]
    fail(pod, segment_item(plan.shots[0].segments[0]), "infrastructure", 2, plan.key)
    pod.ledger.waive(segment_item(plan.shots[0].segments[1]), "slate", "sam", "no time")
    (one,) = list_episodes(pod, usd_per_hour=2.0)
    assert one.states == {"waived": 1, "waiting": 1}  # beside a still it is another segment
    assert (one.num_segments, one.spent_gpu_hours, one.cost.usd) == (2, 1.0, 2.0)
    pod.store.delete(find_order(pod, "rehearsal")[1])
    (one,) = list_episodes(pod)
    assert one.num_segments == 0 and "its plan is not in file://" in one.fault
    with pytest.raises(ObjectMissing, match="is that its store"):
        overview(pod, "rehearsal")


def test_a_plan_of_another_version_is_said_to_be_one(scene):
    pod, plan = scene
    old = pod.store.put_content(b'{"version": 0}')
    register(pod.ledger, plan, old.key)
    with pytest.raises(PermanentError, match="planned by another version"):
        overview(pod, "rehearsal")


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


def test_a_waiver_that_is_taken_back_is_the_episode_s_plan_again(scene):
    pod, plan = scene
    entry, order = find_order(pod, "rehearsal")
    pod.ledger.waive(segment_item(plan.shots[0].segments[1]), "slate", "sam", "no time")
    register(pod.ledger, load_order(pod, order), order)
    assert find_order(pod, "rehearsal")[0].key != entry.key
    assert retry(pod, "rehearsal", "", None, ["waived"], "sam", "", False).forgiven == ("s1/1",)
    assert find_order(pod, "rehearsal")[0].key == entry.key


def test_retry_refuses_names_that_do_not_exist(scene):
    pod, plan = scene
    with pytest.raises(ObjectMissing, match="episode 'rehearsal' has no shot 'nosuch'; it has s1"):
        retry(pod, "rehearsal", "nosuch", None, ["failed"], "sam", "", False)
    with pytest.raises(ObjectMissing, match="shot 's1' has no segment 99; it has 0 to 1"):
        retry(pod, "rehearsal", "s1", 99, ["failed"], "sam", "", False)
    fail(pod, shot_item(plan, plan.shots[0]), "bug")
    assert retry(pod, "rehearsal", "s1", None, ["failed"], "sam", "", False).forgiven == ("s1",)


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
