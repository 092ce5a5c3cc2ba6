"""What only a real kubelet can show: the pod is locked down as the template says."""

import contextlib
from dataclasses import replace

import pytest
from fake_node import LABEL, remove
from ground import wait
from rendering import as_server_keeps_it, render

from tasks.cluster.api import ClusterError
from tasks.cluster.job_template import base_job_template

KUBELET_SECONDS = 30  # a real one has heard of a pod by then

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


def test_on_a_real_node_the_pod_is_locked_down_as_the_template_says(kube, namespace, shape):
    """Needs a real node that can pull FARM_CLUSTER_IMAGE; all other tests bring their own."""
    real = [n for n in kube.list("/api/v1/nodes") if LABEL not in n["metadata"].get("labels", {}) and _ready(n)]
    if not real:
        pytest.skip("this cluster has no real node that is ready")
    template = base_job_template(replace(shape, gpus=0, spot=False))
    body = as_server_keeps_it(render(template, run_name="real-node"))
    spec = body["spec"]["template"]["spec"]
    spec["initContainers"][0]["command"] = ["python", "-c", "print('preflight')"]
    spec["containers"][0]["args"] = ["python", "-c", CHECKS]
    job = Job(kube, namespace, body)
    try:
        job.skip_without_kubelet()
        result = wait("the Job's end", job.ended)
    finally:
        job.leave()
    if result == "unpullable":
        pytest.skip(f"this cluster cannot pull {shape.image}; name another with FARM_CLUSTER_IMAGE")
    assert result == "succeeded"


class Job:
    """One Job and its pods on somebody else's node."""

    def __init__(self, kube, namespace, body):
        jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self._kube, self._pods = kube, f"/api/v1/namespaces/{namespace}/pods"
        self._name = kube.request("POST", jobs, body=body)["metadata"]["name"]
        self._path = f"{jobs}/{self._name}"

    def pods(self):
        return list(self._kube.list(self._pods, labels=f"job-name={self._name}"))

    def ended(self):
        status = self._kube.get(self._path)["status"]
        waiting = [s.get("state", {}).get("waiting", {}) for p in self.pods() for s in _statuses(p)]
        if any(state.get("reason") in ("ErrImagePull", "ImagePullBackOff") for state in waiting):
            return "unpullable"
        return "succeeded" if status.get("succeeded") else "failed" if status.get("failed") else ""

    def leave(self):
        """Take the Job and its pods away, those too that no kubelet will ever take leave of."""
        self._kube.delete(self._path)
        for pod in self.pods():
            remove(self._kube, f"{self._pods}/{pod['metadata']['name']}")

    def skip_without_kubelet(self):
        """Skip unless a node takes the pod and somebody runs it there: a kubelet has its log, or says: not yet."""
        placed = wait("the scheduler's word", self._placed)
        if isinstance(placed, str):
            pytest.skip(f"no node of this cluster takes the pod: {placed}")
        answers = [0]

        def answer():
            answers.append(self._log_status(placed["metadata"]["name"]))
            return answers[-1] != 404

        with contextlib.suppress(AssertionError):
            wait("a kubelet's answer", answer, KUBELET_SECONDS)
        if answers[-1] not in (200, 400):  # 400: its container is still being made
            pytest.skip("the nodes of this cluster run nothing: no kubelet answers for them")

    def _placed(self):
        """Return the pod once it has a node, or why it has none."""
        for pod in self.pods():
            if pod["spec"].get("nodeName"):
                return pod
            for condition in pod["status"].get("conditions", []):
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    return condition.get("message", "") or "unschedulable"
        return None

    def _log_status(self, pod):
        try:
            self._kube.request("GET", f"{self._pods}/{pod}/log", query={"container": "preflight"})
        except ClusterError as exc:
            return exc.status
        except ValueError:  # text, no JSON: a log
            return 200
        return 200


def _ready(node):
    tainted = any(taint["effect"] != "PreferNoSchedule" for taint in node["spec"].get("taints", []))
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    return ready and not tainted and not node["spec"].get("unschedulable")


def _statuses(pod):
    return [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
