"""A segment as a Job: made by Prefect's worker, placed by its GPUs, killed, evicted, drained, its node lost."""

import contextlib
from dataclasses import replace

import pytest
from fake_node import LABEL
from ground import BAD_IMAGE
from prefect.states import Completed, Running
from rendering import as_server_keeps_it, render

from tasks.cluster.api import ClusterError
from tasks.cluster.drain import cordon, evict, running_pods, uncordon
from tasks.cluster.job_template import GPU_RESOURCE, base_job_template
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


def test_a_deleted_job_crashes_its_run(ground, node, on_node):
    run = ground.submit("job-deleted", **on_node)
    ground.running_pod(run)
    ground.set_state(run, Running())
    for job in ground.jobs(run):
        ground.api.delete(ground.path("jobs", job["metadata"]["name"]))

    def crashed():
        if not ground.jobs(run):
            ground.sweep()
        return ground.state(run).is_crashed()

    ground.wait("the crash", crashed)


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


CHECKS = """
import os, pathlib, shutil, sys
assert os.getuid() == 10001, os.getuid()
assert abs(shutil.disk_usage("/dev/shm").total - 64 * 2**20) < 2**20, shutil.disk_usage("/dev/shm")
for folder in ("/scratch", "/tmp", "/dev/shm"):
    pathlib.Path(folder, "mark").write_text("x")
try:
    pathlib.Path("/mark").write_text("x")
except OSError:
    pass
else:
    sys.exit("the root is writable")
assert not pathlib.Path("/var/run/secrets/kubernetes.io").exists(), "there is a token"
assert os.environ["FARM_STORE"].startswith("file://") and os.environ["FARM_GPUS"] == "0"
"""


def test_on_a_real_node_the_pod_is_locked_down_as_the_template_says(ground, kube, shape):
    """Needs a real node that can pull FARM_CLUSTER_IMAGE; all other tests bring their own."""
    real = [n for n in kube.list("/api/v1/nodes") if LABEL not in n["metadata"].get("labels", {}) and _ready(n)]
    if not real:
        pytest.skip("this cluster has no real node that is ready")
    template = base_job_template(replace(shape, gpus=0, spot=False))
    job = as_server_keeps_it(render(template, run_name="real-node"))
    spec = job["spec"]["template"]["spec"]
    spec["initContainers"][0]["command"] = ["python", "-c", "print('preflight')"]
    spec["containers"][0]["args"] = ["python", "-c", CHECKS]
    made = kube.request("POST", ground.path("jobs"), body=job)
    path = ground.path("jobs", made["metadata"]["name"])

    def ended():
        status = kube.get(path)["status"]
        pods = list(kube.list(ground.path("pods"), labels=f"job-name={made['metadata']['name']}"))
        waiting = [s.get("state", {}).get("waiting", {}) for p in pods for s in _statuses(p)]
        if any(state.get("reason") in ("ErrImagePull", "ImagePullBackOff") for state in waiting):
            return "unpullable"
        return "succeeded" if status.get("succeeded") else "failed" if status.get("failed") else ""

    if not _has_kubelet(ground, kube, made["metadata"]["name"]):
        kube.delete(path)
        pytest.skip("the nodes of this cluster run nothing: no kubelet answers for them")
    result = ground.wait("the Job's end", ended)
    kube.delete(path)
    if result == "unpullable":
        pytest.skip(f"this cluster cannot pull {shape.image}; name another with FARM_CLUSTER_IMAGE")
    assert result == "succeeded"


KUBELET_SECONDS = 30  # a real one has heard of a pod by then


def _has_kubelet(ground, kube, job):
    """Say whether somebody runs the Job's pod: only a real kubelet has a log of it, or says that it has none yet."""

    def placed():
        pods = kube.list(ground.path("pods"), labels=f"job-name={job}")
        return next((pod for pod in pods if pod["spec"].get("nodeName")), None)

    path = ground.path("pods", ground.wait("the pod's node", placed)["metadata"]["name"])
    answers = []

    def answer():
        try:
            kube.request("GET", f"{path}/log", query={"container": "preflight"})
        except ClusterError as exc:
            answers.append(exc.status)
        except ValueError:  # text, no JSON: a log
            answers.append(200)
        else:
            answers.append(200)
        return answers[-1] != 404

    patient = replace(ground, wait_seconds=KUBELET_SECONDS)
    with contextlib.suppress(AssertionError):
        patient.wait("a kubelet's answer", answer)
    return answers[-1] in (200, 400)  # 400: its container is still being made


def _ready(node):
    tainted = any(taint["effect"] != "PreferNoSchedule" for taint in node["spec"].get("taints", []))
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not tainted and not node["spec"].get("unschedulable")


def _statuses(pod):
    return [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
