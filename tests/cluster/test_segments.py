"""A segment as a Job: made by Prefect's worker, placed by its GPUs, killed, evicted, drained, its node lost."""

from fake_node import LABEL
from ground import BAD_IMAGE
from prefect.states import Completed, Running

from tasks.cluster.drain import cordon, evict, running_pods, uncordon
from tasks.cluster.job_template import GPU_RESOURCE
from tasks.cluster.pools import pause_pool
from tasks.cluster.sweep import Patience


def of_run(verdicts, run):
    return [verdict for verdict in verdicts if verdict.run_id == run]


def verdict_on(ground, run):
    """Sweep until the run is judged: a round leaves alone what moves while it looks, as a new Job's run still does."""
    (verdict,) = ground.wait("the verdict", lambda: of_run(ground.sweep(), run))
    return verdict


def finish_all(ground, node, run):
    """End what a test leaves running, as a pod does that has done its work."""
    ground.set_state(run, Completed())
    for pod in ground.pods(run):
        if pod["status"].get("phase") == "Running":
            node.finish(pod)


def test_a_segment_runs_as_a_job_and_completes(ground, node, on_node):
    run = ground.submit("segment", **on_node)
    pod = ground.running_pod(run)
    assert pod["spec"]["nodeName"] == node.name
    assert pod["spec"]["automountServiceAccountToken"] is False
    ground.set_state(run, Running())
    ground.set_state(run, Completed())
    node.finish(pod)
    ground.wait("the Job's completion", lambda: ground.jobs(run)[0]["status"].get("succeeded"))
    assert of_run(ground.sweep(), run) == []
    assert ground.state(run).is_completed()


def test_gpus_are_counted_and_the_next_segment_waits_for_them(ground, node, on_node):
    first = ground.submit("six", gpus=6, **on_node)
    held = ground.running_pod(first)
    assert int(held["spec"]["containers"][0]["resources"]["limits"][GPU_RESOURCE]) == 6
    second = ground.submit("four", gpus=4, **on_node)
    ground.wait("the scheduler's word", lambda: _unscheduled(ground.pods(second)))
    ground.set_state(second, Running())
    assert of_run(ground.sweep(patience=Patience()), second) == []  # patience: it may yet fit
    finish_all(ground, node, first)
    ground.running_pod(second)
    finish_all(ground, node, second)


def _unscheduled(pods):
    conditions = [c for pod in pods for c in pod["status"].get("conditions", [])]
    return [c for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"]


def test_a_killed_pod_crashes_its_run_and_nothing_runs_twice(ground, node, on_node):
    run = ground.submit("killed", **on_node)
    pod = ground.running_pod(run)
    ground.set_state(run, Running())
    node.finish(pod, 137)
    ground.wait("the crash", lambda: ground.state(run).is_crashed())
    assert [p["metadata"]["uid"] for p in ground.pods(run)] == [pod["metadata"]["uid"]]


def test_an_evicted_pod_comes_back_in_the_same_job_and_prefect_stays_out_of_it(ground, node, on_node):
    run = ground.submit("evicted", **on_node)
    pod = ground.running_pod(run)
    ground.set_state(run, Running())
    assert evict(ground.api, ground.namespace, pod["metadata"]["name"])
    ground.running_pod(run, other_than=pod["metadata"]["uid"])
    (job,) = ground.jobs(run)
    assert job["status"].get("failed", 0) == 0
    assert ground.state(run).is_running()
    finish_all(ground, node, run)


def test_a_pod_of_a_lost_node_comes_back_on_another(ground, two_nodes):
    first, second = two_nodes
    run = ground.submit("node-lost", node_selector={LABEL: first.group})
    pod = ground.running_pod(run)
    ground.set_state(run, Running())
    lost, left = (first, second) if pod["spec"]["nodeName"] == first.name else (second, first)
    lost.lose()
    again = ground.running_pod(run, other_than=pod["metadata"]["uid"])
    assert again["spec"]["nodeName"] == left.name
    assert len(ground.jobs(run)) == 1
    finish_all(ground, left, run)


def test_a_silent_node_never_gets_a_second_pod_beside_the_first_until_the_sweeper_decides(ground, two_nodes):
    first, second = two_nodes
    run = ground.submit("node-silent", node_selector={LABEL: first.group})
    pod = ground.running_pod(run)
    ground.set_state(run, Running())
    (first if pod["spec"]["nodeName"] == first.name else second).die()
    ground.wait("the node's eviction", lambda: all("deletionTimestamp" in p["metadata"] for p in ground.pods(run)))
    assert len(ground.pods(run)) == 1
    verdict = verdict_on(ground, run)
    assert verdict.new_state == "Crashed"
    assert "does not confirm it" in verdict.sentence
    assert ground.state(run).is_crashed()


def test_more_gpus_than_any_node_has_becomes_a_clear_error(ground, node):
    run = ground.submit("too-big", gpus=10_000)
    ground.wait("the scheduler's word", lambda: _unscheduled(ground.pods(run)))
    verdict = verdict_on(ground, run)
    assert "asks for 10000 nvidia.com/gpu, the largest node has" in verdict.sentence
    assert ground.state(run).is_failed()
    assert verdict.sentence in ground.state(run).message
    ground.wait("the Job's end", lambda: not ground.jobs(run))


def test_a_bad_image_becomes_a_clear_error(ground, node, on_node):
    run = ground.submit("bad-image", image=BAD_IMAGE, **on_node)

    def refused():
        statuses = [s for pod in ground.pods(run) for s in pod["status"].get("containerStatuses", [])]
        return [s for s in statuses if "waiting" in s["state"]]

    ground.wait("the pull's failure", refused)
    verdict = verdict_on(ground, run)
    assert f"image {BAD_IMAGE} cannot be pulled: ErrImagePull" in verdict.sentence
    assert ground.state(run).is_failed()


def test_a_job_whose_run_is_over_is_cleaned_away_with_its_pods(ground, node, on_node):
    run = ground.submit("orphan", **on_node)
    ground.running_pod(run)
    ground.set_state(run, Completed())
    verdict = verdict_on(ground, run)
    assert verdict.kind == "orphan"
    ground.wait("the Job's end", lambda: not ground.jobs(run) and not ground.pods(run))
    assert ground.state(run).is_completed()


def test_a_deleted_job_crashes_its_run_without_the_sweeper(ground, node, on_node):
    run = ground.submit("job-deleted", **on_node)
    ground.running_pod(run)
    ground.set_state(run, Running())
    for job in ground.jobs(run):
        ground.api.delete(ground.path("jobs", job["metadata"]["name"]))

    ground.wait("the observer's word", lambda: ground.state(run).is_crashed())  # no sweep: this is the worker's to do
    assert ground.state(run).message == "Kubernetes job was deleted"


def test_draining_empties_the_node_and_undraining_brings_the_segment_back(ground, node, on_node):
    run = ground.submit("drained", **on_node)
    pod = ground.running_pod(run)
    ground.set_state(run, Running())
    ground.prefect(lambda client: pause_pool(client, ground.pool, True))
    try:
        assert cordon(ground.api, ground.pool, [node.name]) == [node.name]
        assert evict(ground.api, ground.namespace, pod["metadata"]["name"])
        holders = (ground.api, ground.namespace, ground.pool, [node.name])
        ground.wait("the empty node", lambda: not list(running_pods(*holders)))
        ground.wait("the scheduler's word", lambda: _unscheduled(ground.pods(run)))
        assert of_run(ground.sweep(), run) == []  # the pool is paused: waiting is right
        assert uncordon(ground.api, ground.pool) == [node.name]
        ground.running_pod(run, other_than=pod["metadata"]["uid"])
        assert len(ground.jobs(run)) == 1
    finally:
        ground.prefect(lambda client: pause_pool(client, ground.pool, False))
    finish_all(ground, node, run)
