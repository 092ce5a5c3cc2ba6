"""Setting a farm up, and who is queued again, against a real Prefect server; nobody renders here."""

import asyncio
import time
from dataclasses import replace
from uuid import UUID

import pytest
import yaml
from prefect import Task, flow, get_client
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, Failed, Pending, Running
from prefect_server import prefect_api

from db.records import Attempt, Behalf, WorkItem
from tasks.children import Child, Group, start_children
from tasks.dispatch import CANCELLED, revive
from tasks.farm_setup import files
from tasks.farm_setup.apply import Wanted, set_up
from tasks.farm_setup.files import read_automations, read_deployments
from tasks.pod import open_pod
from tasks.register import register
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.rerun import look_after, wake_neighbours
from tasks.retry_runs import retry
from tasks.rounds import DISPATCH_SECONDS, UNSTARTED_SECONDS, reconcile_runs, silent
from tasks.runs import PERSON, asked_by_a_person, children_of, read_run, requeue, server_now
from tasks.services import SERVER
from tasks.work import film_item, segment_item

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's own


@pytest.fixture(scope="module", autouse=True)
def server():
    with temporary_settings({PREFECT_API_URL: prefect_api()}):
        yield prefect_api()


@pytest.fixture(scope="module")
def setup_done(server):
    return asyncio.run(set_up(Wanted(slots={"farm-gpu": 2})))


@pytest.fixture(scope="module")
def episode(tmp_path_factory, setup_done):
    """A planned episode, and the parameters of its runs."""
    folder = tmp_path_factory.mktemp("rerun")
    store, database = (folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}"
    with open_pod(store, database) as pod:
        plan, order = ingest_rehearsal(folder / "manifest", Rehearsal((2,), steps=1), pod)
        yield pod, plan, {"episode": plan.episode, "order": order, "store": store, "database": database}


def segment_child(plan, given, index):
    segment = plan.shots[0].segments[index]
    return Child(segment_item(segment), "segment/segment", f"s1 {index}", {**given, "shot": "s1", "segment": index})


@flow(name="episode")
def dispatch_twice(children):
    """Stand in for an episode that was started again: everything is dispatched twice."""
    parent = UUID(str(flow_run.id))
    return [list(start_children(parent, [Group("s1", tuple(children))])) for _ in range(2)]


@pytest.fixture(scope="module")
def family(episode):
    """An episode's run with two children, as its deployment would have made them."""
    _, plan, given = episode
    given = {**given, "dispatch": "deployments"}
    parent = run_deployment("episode/episode", parameters=given, timeout=0, as_subflow=False)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(parent.id, Pending())
        client.set_flow_run_state(parent.id, Running())
        children, node = [], Task(fn=lambda: None, name="dispatch")
        for index in range(2):
            child = segment_child(plan, given, index)
            task_run = client.create_task_run(
                task=node, flow_run_id=parent.id, dynamic_key=str(index), name=f"dispatch {index}"
            )
            deployment = client.read_deployment_by_name(child.deployment)
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters=dict(child.parameters), parent_task_run_id=task_run.id
            )
            children.append(run.id)
    return parent.id, children


def set_states(run: UUID, *states) -> None:
    with get_client(sync_client=True) as client:
        for state in states:
            client.set_flow_run_state(run, state, force=True)


def test_everything_in_the_files_is_made_once(setup_done):
    deployments, _ = read_deployments()
    assert {f"deployment {one.name}" for one in deployments} <= setup_done.keys()
    assert set(setup_done.values()) <= {"created", "left out: no address to notify"}
    again = asyncio.run(set_up(Wanted(slots={"farm-gpu": 2})))
    assert set(again.values()) <= {"unchanged", "left out: no address to notify"}


def test_a_changed_limit_and_an_address_are_put_in(setup_done):
    again = asyncio.run(set_up(Wanted(slots={"farm-gpu": 3}, notify="http://127.0.0.1:9/hook")))
    assert again["pool farm-gpu"] == "updated" and again["automation farm-notify"] == "created"


def test_crashes_are_debounced_by_at_least_half_a_minute():
    restart = next(one for one in read_automations() if one["name"] == "farm-restart")
    assert restart["trigger"]["posture"] == "Proactive" and restart["trigger"]["within"] >= 30


def test_a_child_is_created_once_however_often_its_parent_starts(episode):
    _, plan, given = episode
    first, second = dispatch_twice([segment_child(plan, given, index) for index in range(2)])
    assert first == second and len(set(first)) == 2


def test_a_crashed_segment_goes_back_to_the_place_it_had(family):
    _, (first, _) = family
    before = read_run(first).expected_start
    set_states(first, Running(), Crashed())
    assert "queued again" in look_after(first)
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(first).state
    assert state.name == "AwaitingRetry" and abs((state.state_details.scheduled_time - before).total_seconds()) < 1
    assert not asked_by_a_person(first)
    assert look_after(first) == "nothing: the run is on its way"


def test_an_episode_goes_on_only_when_no_child_is_red_or_running(family):
    parent, (first, second) = family
    assert {run.id for run in children_of(parent)} == {first, second}
    set_states(parent, Failed())
    set_states(first, Completed())
    set_states(second, Failed())
    assert "1 of its 2 children are not through" in look_after(first)
    set_states(second, AwaitingRetry(message=PERSON))
    assert asked_by_a_person(second)
    set_states(second, Running(), Completed())
    assert look_after(second).endswith("goes on")
    assert read_run(parent).state == "SCHEDULED"
    assert look_after(second) == "nothing: the episode is scheduled"


def test_what_no_event_told_of_is_found_by_the_round(family):
    parent, (first, second) = family
    set_states(parent, Running(), Failed())
    set_states(first, Running(), Crashed())
    set_states(second, Running(), Completed())
    assert reconcile_runs() == []  # too fresh: the automation's business
    done = reconcile_runs(now=read_run(first).since + 60)
    assert len(done) == 1 and "queued again" in done[0]
    set_states(first, Running(), Completed())
    done = reconcile_runs(now=read_run(parent).since + 60)
    assert len(done) == 1 and done[0].endswith("goes on")


def test_a_segment_beyond_its_limit_is_left_to_a_person(episode, family):
    pod, plan, _ = episode
    _, (first, _) = family
    item = segment_item(plan.shots[0].segments[0])
    claim = pod.ledger.claim(item, "w", 60.0)
    pod.ledger.fail(claim, "bad_input", "no such file", 1.0)
    set_states(first, Running(), Crashed())
    assert look_after(first).startswith("nothing: 1 x bad_input")
    pod.ledger.retry(item, "sam", "the file is there now")
    assert "queued again" in look_after(first)


def test_a_run_that_has_moved_on_is_left_alone(family):
    _, (first, _) = family
    stale = read_run(first)
    set_states(first, Running())
    assert not requeue(stale, "too late")


def attempt(state, ended_at):
    item = WorkItem("segment", "s1 0")
    return Attempt(item, 1, "w", state, "", "", 10.0, ended_at, 0.0, 0.0, 1, Behalf("e", "s"), {})


def test_a_run_is_silent_soon_after_its_claim_was_passed_over(episode):
    pod, plan, _ = episode
    status = pod.ledger.status(segment_item(plan.shots[0].segments[1]))
    assert status.state == "pending"
    assert silent(status, attempt("lost", 100.0), since=50.0, now=200.0)
    assert not silent(status, attempt("lost", 100.0), since=120.0, now=200.0)  # it started after that
    assert not silent(status, attempt("lost", 190.0), since=50.0, now=200.0)
    assert not silent(replace(status, state="running"), attempt("running", None), since=50.0, now=9e9)


def test_a_run_is_silent_when_nobody_has_held_its_item_for_long(episode):
    pod, plan, _ = episode
    status = pod.ledger.status(segment_item(plan.shots[0].segments[1]))
    for nobody in (None, status, replace(status, state="done"), replace(status, state="failed")):
        assert not silent(nobody, None, since=50.0, now=50.0 + UNSTARTED_SECONDS)
        assert silent(nobody, None, since=50.0, now=51.0 + UNSTARTED_SECONDS)
    assert not silent(status, attempt("done", 100.0), since=50.0, now=100.0 + UNSTARTED_SECONDS)
    assert silent(status, attempt("failed", 100.0), since=50.0, now=101.0 + UNSTARTED_SECONDS)


def test_an_episode_that_died_when_nobody_could_tell_goes_on(family):
    parent, (first, second) = family
    set_states(parent, Running())
    set_states(first, AwaitingRetry())
    set_states(second, Running(), Completed())
    begun = read_run(second).since
    long_after = begun + UNSTARTED_SECONDS + 3600
    assert reconcile_runs(now=long_after) == []  # a child is on its way
    set_states(first, Running(), Completed())
    assert reconcile_runs(now=begun + UNSTARTED_SECONDS) == []
    name = read_run(parent).name
    assert reconcile_runs(now=long_after) == [f"{name} was silent and counts as crashed", f"{name} is queued again"]
    assert read_run(parent).state == "SCHEDULED"


def test_who_cancels_an_episode_cancels_its_children(family):
    parent, (first, second) = family
    with get_client(sync_client=True) as client:
        client.update_flow_run(second, infrastructure_pid="host:1")
    set_states(first, AwaitingRetry())
    set_states(second, Running())
    set_states(parent, Cancelled())
    assert look_after(parent) == f"2 children of {read_run(parent).name} are cancelled"
    assert [read_run(run).state for run in (first, second)] == ["CANCELLED", "CANCELLING"]
    assert look_after(parent).startswith("nothing")
    set_states(first, AwaitingRetry())
    assert reconcile_runs() == [f"1 children of {read_run(parent).name} are cancelled"]


def test_a_cancelled_segment_comes_back_only_with_its_whole_episode(episode, family):
    pod, plan, given = episode
    _, (first, _) = family
    set_states(first, Cancelled())
    child = segment_child(plan, given, 0)
    assert not revive(pod, plan, child, read_run(first))
    assert revive(pod, plan, child, read_run(first), CANCELLED)
    assert read_run(first).state == "SCHEDULED"


def test_a_cluster_gives_the_server_the_same_settings():
    text = (files.ROOT / "k8s" / "base" / "prefect-server.yaml").read_text()
    deployment = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    given = {one["name"]: one.get("value") for one in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert SERVER.items() <= given.items()


def test_a_segment_that_waited_in_vain_goes_on_with_the_one_it_waited_for(episode, family):
    pod, plan, _ = episode
    parent, (first, second) = family
    broken, waiting = (segment_item(segment) for segment in plan.shots[0].segments)
    pod.ledger.fail(pod.ledger.claim(broken, "w", 60.0), "bug", "broken", 1.0)
    pod.ledger.fail(pod.ledger.claim(waiting, "w", 60.0), "preempted", "NeighbourFailed: segment 0 has failed", 1.0)
    for run in (first, second, parent):
        set_states(run, Running(), Failed())
    assert "2 of its 2 children are not through" in look_after(second)  # nothing has changed for it
    pod.ledger.retry(broken, "sam", "mended")
    set_states(first, AwaitingRetry(message=PERSON), Running())
    assert wake_neighbours(first) == [read_run(second).name]
    assert read_run(second).state == "SCHEDULED"
    set_states(second, Running(), Failed())  # as if nobody had woken it
    set_states(first, Completed())
    assert look_after(first) == f"{read_run(second).name} go on: what they waited for is there or on its way"
    assert read_run(second).state == "SCHEDULED"


def test_farm_retry_queues_what_is_red_without_an_attempt_of_its_own(episode, family):
    pod, plan, given = episode
    _, (first, second) = family
    register(pod.ledger, plan, given["order"])
    for run in (first, second):
        set_states(run, Running(), Failed())  # refused by the breaker, or out of memory before the claim
    done = retry(pod, plan.episode, "", None, ["failed"], "sam", "mended", True)
    assert done.forgiven == () and {read_run(first).name, read_run(second).name} <= set(done.queued)
    set_states(second, Running(), Failed())
    assert retry(pod, plan.episode, "s1", 0, ["failed"], "sam", "mended", True).queued == ()


def test_an_episode_whose_film_cannot_be_made_is_left_to_a_person(episode, family):
    pod, plan, _ = episode
    parent, children = family
    for run in children:
        set_states(run, Running(), Completed())
    set_states(parent, Running(), Failed())
    pod.ledger.fail(pod.ledger.claim(film_item(plan), "w", 60.0), "failed_checks", "no sound", 1.0)
    assert look_after(children[0]).endswith("goes on")  # a device may have been broken
    set_states(parent, Running(), Failed())
    pod.ledger.fail(pod.ledger.claim(film_item(plan), "w", 60.0), "failed_checks", "no sound", 1.0)
    assert look_after(children[0]).startswith("nothing: 2 x failed_checks")
    assert reconcile_runs(now=read_run(parent).since + 60) == []
    assert read_run(parent).state == "FAILED"


def test_an_episode_that_has_no_children_yet_is_asking_the_store(episode):
    _, _, given = episode
    run = run_deployment(
        "episode/episode", parameters={**given, "dispatch": "deployments"}, timeout=0, as_subflow=False
    )
    set_states(run.id, Pending(), Running())
    begun = read_run(run.id).since
    assert reconcile_runs(now=begun + UNSTARTED_SECONDS + 600) == []
    done = reconcile_runs(now=begun + DISPATCH_SECONDS + 60)
    assert done[0] == f"{run.name} was silent and counts as crashed" or done[0].endswith("counts as crashed")


def test_the_servers_clock_is_asked_and_not_this_machines():
    assert abs(server_now() - time.time()) < 2.0
