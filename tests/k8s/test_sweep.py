"""What the sweeper concludes from runs and Jobs, and what it leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from things import NOW, event, job, node, pod

from tasks.cluster.diagnosis import diagnose, requested
from tasks.cluster.sweep import Ground, Patience, RunFact, judge


def run(state="PENDING", *, id="r", age=0.0, pool="farm-gpu"):  # noqa: A002
    return RunFact(id, f"shot-3-{id}", state, f"state-{id}", NOW - age, pool)


def round_(jobs=(), runs=(), *, pods=(), events=(), nodes=(), **options):
    ground = Ground(tuple(jobs), tuple(pods), tuple(events), tuple(nodes))
    return judge(ground, {fact.id: fact for fact in runs}, NOW, **options)


def test_a_job_of_a_run_that_has_ended_is_deleted_once_its_pod_had_time_to_go():
    for state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        (verdict,) = round_([job("j", "r", age=500)], [run(state, age=61)])
        assert (verdict.kind, verdict.jobs, verdict.new_state) == ("orphan", ("j",), "")
        assert round_([job("j", "r", age=500)], [run(state, age=59)]) == []
        assert round_([job("j", "r", age=59)], [run(state, age=500)]) == []


def test_a_job_of_a_run_that_prefect_does_not_know_is_deleted():
    (verdict,) = round_([job("j", "r", age=500)])
    assert verdict.kind == "orphan"
    assert "unknown to Prefect" in verdict.sentence


def test_a_finished_job_is_left_to_its_ttl():
    assert round_([job("j", "r", age=500, ended="Complete")], [run("COMPLETED", age=400)]) == []
    assert round_([job("j", "r", age=500, ended="Failed")]) == []


def test_jobs_without_our_labels_are_not_ours():
    foreign = job("j", "r", age=10_000)
    del foreign["metadata"]["labels"]["avatar-farm/pool"]
    assert round_([foreign]) == []


def test_a_run_whose_job_is_gone_is_crashed_so_that_it_starts_again():
    for state in ("RUNNING", "PENDING"):
        (verdict,) = round_(runs=[run(state, age=301)])
        assert (verdict.kind, verdict.new_state, verdict.state_id) == ("lost", "Crashed", "state-r")
        assert "it has no Job" in verdict.sentence
        assert round_(runs=[run(state, age=299)]) == []


def test_a_run_whose_job_ended_without_telling_is_crashed():
    (verdict,) = round_([job("j", "r", age=900, ended="Complete", ended_ago=301)], [run("RUNNING", age=800)])
    assert verdict.new_state == "Crashed"
    assert "its Job j has ended (Complete)" in verdict.sentence
    assert round_([job("j", "r", age=900, ended="Failed", ended_ago=200)], [run("RUNNING", age=800)]) == []


@pytest.mark.parametrize("state", ["SCHEDULED", "PAUSED", "CANCELLING"])
def test_runs_that_are_not_on_the_ground_are_left_alone(state):
    assert round_([job("j", "r", age=10_000)], [run(state, age=10_000)]) == []


def test_a_bad_image_fails_the_run_with_its_name():
    waiting = ("ImagePullBackOff", 'Back-off pulling image\n "farm/renderer:1"')
    (verdict,) = round_([job("j", "r", age=130)], [run()], pods=[pod("j", age=125, waiting=waiting)])
    assert (verdict.kind, verdict.new_state, verdict.jobs) == ("stuck", "Failed", ("j",))
    assert "image farm/renderer:1 cannot be pulled: ImagePullBackOff Back-off pulling image" in verdict.sentence
    assert "correct the image's name" in verdict.sentence
    assert round_([job("j", "r", age=130)], [run()], pods=[pod("j", age=115, waiting=waiting)]) == []


def test_more_gpus_than_any_node_has_fails_the_run_with_both_numbers():
    stuck = pod("j", age=125, unscheduled="0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", gpus=16)
    (verdict,) = round_([job("j", "r", age=130)], [run()], pods=[stuck], nodes=[node("a"), node("b", gpus=4)])
    assert verdict.new_state == "Failed"
    assert "asks for 16 nvidia.com/gpu, the largest node has 8" in verdict.sentence


def test_a_full_cluster_is_waited_for_longer_than_a_hopeless_one():
    full = pod("j", age=1700, unscheduled="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert round_([job("j", "r", age=1700)], [run()], pods=[full], nodes=[node("a")]) == []
    full = pod("j", age=1801, unscheduled="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    (verdict,) = round_([job("j", "r", age=1801)], [run()], pods=[full], nodes=[node("a")])
    assert "no node takes the pod: 0/1 nodes are available" in verdict.sentence


def test_a_cluster_without_gpu_nodes_waits_for_its_autoscaler():
    stuck = pod("j", age=900, unscheduled="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    assert round_([job("j", "r", age=900)], [run()], pods=[stuck], nodes=[node("cpu-only", gpus=0)]) == []


def test_an_evicted_pod_that_waits_counts_from_its_new_pod():
    waiting = pod("j", age=100, unscheduled="0/1 nodes are available")
    assert round_([job("j", "r", age=40_000)], [run("RUNNING", age=39_000)], pods=[waiting], nodes=[node("a")]) == []


def test_a_job_that_its_queue_has_just_let_go_counts_from_then():
    assert round_([job("j", "r", age=9000, started_ago=5)], [run()]) == []
    (verdict,) = round_([job("j", "r", age=9000, started_ago=1801)], [run()])
    assert "nothing has run for 1801 s" in verdict.sentence


def test_a_pod_held_by_a_dead_node_crashes_its_run():
    held = pod("j", age=9000, phase="Running", gone_ago=301, node="gpu-7")
    (verdict,) = round_([job("j", "r", age=9000)], [run("RUNNING", age=8000)], pods=[held], nodes=[node("a")])
    assert (verdict.new_state, verdict.jobs) == ("Crashed", ("j",))
    assert "node gpu-7 does not confirm it" in verdict.sentence
    leaving = pod("j", age=9000, phase="Running", gone_ago=-90, node="gpu-7")
    assert round_([job("j", "r", age=9000)], [run("RUNNING", age=8000)], pods=[leaving]) == []


def test_what_runs_what_is_queued_and_what_is_drained_is_left_alone():
    assert round_([job("j", "r", age=9000)], [run()], pods=[pod("j", age=9000, phase="Running")]) == []
    assert round_([job("j", "r", age=9000, suspend=True)], [run()]) == []
    waiting = pod("j", age=9000, unscheduled="0/1 nodes are available: 1 node(s) were unschedulable.")
    ground = {"pods": [waiting], "nodes": [node("a", cordoned=True)]}
    assert round_([job("j", "r", age=9000)], [run()], paused=frozenset({"farm-gpu"}), **ground) == []
    assert len(round_([job("j", "r", age=9000)], [run()], **ground)) == 1


@pytest.mark.parametrize(
    ("pods", "events", "cause", "words"),
    [
        ([pod("j", waiting=("CreateContainerConfigError", 'secret "x" not found'))], [], "configuration", 'secret "x"'),
        ([pod("j")], [event("j-abcde", "FailedMount", "SetUp failed")], "volume", "cannot be mounted: SetUp failed"),
        ([], [event("j", "FailedCreate", "pods is forbidden: exceeded quota: renderers")], "refused", "exceeded quota"),
        ([], [], "unknown", "has no pod"),
        ([pod("j")], [], "unknown", "nothing says why"),
    ],
)
def test_each_reason_has_its_sentence(pods, events, cause, words):
    found = diagnose(job("j", "r"), pods, events, [node("a")])
    assert found is not None
    assert found.cause == cause
    assert words in str(found)


def test_an_unknown_reason_starts_again_instead_of_waiting_for_a_person():
    (verdict,) = round_([job("j", "r", age=1900)], [run()])
    assert (verdict.kind, verdict.new_state) == ("stuck", "Crashed")


def test_a_pods_request_is_its_containers_sum_or_its_largest_init_container():
    asked = {"containers": [], "initContainers": []}
    for kind, cpus in (("containers", ["1", "500m"]), ("initContainers", ["2", "1"])):
        asked[kind] = [{"resources": {"requests": {"cpu": cpu}}} for cpu in cpus]
    assert requested(asked) == {"cpu": 2}
    asked["initContainers"].pop(0)
    assert requested(asked)["cpu"] * 2 == 3


ages = st.floats(0, 5000)


@given(
    st.lists(st.tuples(ages, st.sampled_from(["", "Complete", "Failed"])), max_size=3),
    st.sampled_from(["PENDING", "RUNNING", "COMPLETED", "CRASHED", "SCHEDULED", "CANCELLING"]),
    ages,
)
def test_nothing_happens_before_its_patience_is_over(jobs, state, age):
    patience = Patience(hopeless=5001, pending=5001, lost=5001, orphan=5001)
    made = [job(f"j{index}", "r", age=job_age, ended=ended) for index, (job_age, ended) in enumerate(jobs)]
    assert round_(made, [run(state, age=age)], patience=patience) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), ages, st.sampled_from(["", "Complete"])), max_size=6), ages)
def test_a_run_gets_one_verdict_and_only_its_own_living_jobs_are_deleted(jobs, age):
    made = [job(f"j{index}", name, age=job_age, ended=ended) for index, (name, job_age, ended) in enumerate(jobs)]
    verdicts = round_(made, [run("COMPLETED", id="a", age=age), run("RUNNING", id="b", age=age)])
    assert len({verdict.run_id for verdict in verdicts}) == len(verdicts)
    for verdict in verdicts:
        owners = {f"j{index}": (name, ended) for index, (name, _, ended) in enumerate(jobs)}
        assert all(owners[name][0] == verdict.run_id for name in verdict.jobs)
        if verdict.kind == "orphan":
            assert all(owners[name][1] == "" for name in verdict.jobs)
