"""A GPU node without a machine: a Node object, and a thread that does for its pods what a kubelet would.

So the suite needs a control plane, but neither GPUs nor images: pods on this node go to Running when they are bound,
to ErrImagePull when their image is a bad one, and end when they are told to. Whatever else plays kubelet in the cluster
must leave nodes with this label alone: `other_kubelet` finds out.
"""

import threading
import time
import uuid
from datetime import UTC, datetime

from tasks.cluster.api import MERGE_PATCH, ClusterError
from tasks.cluster.job_template import GPU_RESOURCE

LABEL = "avatar-farm/test-node"
TAINT = "avatar-farm/spot"  # GPU pods of the template tolerate it, nobody else's do
TICK_SECONDS = 0.5
BEAT_TICKS = 10
PROBE_SECONDS = 15.0  # whoever plays kubelet for all nodes has seen a pod by then
PASSING = (0, 404, 409, 429, 500, 502, 503, 504)  # gone, changed meanwhile, or a busy server: the next tick looks again


class FakeNode:
    """Use as a context manager. `lose` deletes the Node; `die` falls silent, as a machine without power does."""

    def __init__(self, api, namespace, *, gpus=8, bad_image="", group="", wait_seconds=240.0):
        self.name = f"avatar-farm-test-{uuid.uuid4().hex[:8]}"
        self.path = f"/api/v1/nodes/{self.name}"
        self.group = group or self.name
        self._api, self._namespace, self._gpus, self._bad_image = api, namespace, gpus, bad_image
        self._wait_seconds = wait_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.faults = []

    def __enter__(self):
        labels = {LABEL: self.group, "kubernetes.io/hostname": self.name, "nvidia.com/gpu.product": "FAKE"}
        for area in ("region", "zone"):  # of its own: where most nodes are dead, the controller evicts nobody
            labels[f"topology.kubernetes.io/{area}"] = self.group
        spec = {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}, "spec": spec}
        self._api.request("POST", "/api/v1/nodes", body=body)
        self._beat()
        self._thread.start()
        try:
            self._wait_until_open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.die()
        self._api.delete(self.path)
        for pod in self._pods():  # no kubelet is left to confirm their end
            remove(self._api, self._path(pod))
        assert self.faults == []

    def _wait_until_open(self):
        """Wait until the control plane believes that the node is ready: a new one is tainted until then."""
        end = time.monotonic() + self._wait_seconds
        while [t["key"] for t in self._api.get(self.path)["spec"].get("taints", [])] != [TAINT]:
            if time.monotonic() > end:
                raise AssertionError(f"{self.name} was not opened in {self._wait_seconds:.0f} s")
            self._stopped.wait(TICK_SECONDS)

    def die(self):
        """Stop answering for the pods and for the node."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def lose(self):
        """Take the node out of the cluster; its pods are the pod collector's now."""
        self.die()
        self._api.delete(self.path)

    def finish(self, pod, code=0):
        """End a pod's containers with an exit code, as the pod is now."""
        pod = self._api.get(self._path(pod)) or pod
        self._set(pod, "Succeeded" if code == 0 else "Failed", {"terminated": {"exitCode": code, "reason": "Test"}})

    def _work(self):
        ticks = 0
        while not self._stopped.wait(TICK_SECONDS):
            ticks += 1
            try:
                if ticks % BEAT_TICKS == 0:
                    self._beat()
                for pod in self._pods():
                    self._serve(pod)
            except ClusterError as exc:
                if exc.status not in PASSING:
                    self.faults.append(str(exc))

    def _serve(self, pod):
        phase = pod["status"].get("phase", "Pending")
        if "deletionTimestamp" in pod["metadata"]:
            if phase not in ("Succeeded", "Failed"):
                self.finish(pod, 143)
            remove(self._api, self._path(pod))
        elif phase == "Pending" and not pod["status"].get("containerStatuses"):
            image = pod["spec"]["containers"][0]["image"]
            if image == self._bad_image:
                waiting = {"reason": "ErrImagePull", "message": f"{image}: not found"}
                self._set(pod, "Pending", {"waiting": waiting}, unchanged=True)
            else:
                self._set(pod, "Running", {"running": {"startedAt": _now()}}, unchanged=True)

    def _set(self, pod, phase, state, unchanged=False):
        """Write a pod's status. `unchanged`: only if nobody has written it since it was read."""
        kept = [c for c in pod["status"].get("conditions", []) if c["type"] not in ("Ready", "ContainersReady")]
        ready = "True" if phase == "Running" else "False"
        kept += [{"type": kind, "status": ready, "lastTransitionTime": _now()} for kind in ("Ready", "ContainersReady")]
        container = pod["spec"]["containers"][0]
        status = {"name": container["name"], "image": container["image"], "imageID": "", "ready": ready == "True"}
        status |= {"restartCount": 0, "state": state}
        body = {"status": {"phase": phase, "startTime": _now(), "conditions": kept, "containerStatuses": [status]}}
        if unchanged:
            body["metadata"] = {"resourceVersion": pod["metadata"].get("resourceVersion")}
        self._api.request("PATCH", f"{self._path(pod)}/status", body=body, patch=MERGE_PATCH)

    def _beat(self):
        amounts = {"cpu": "64", "memory": "1000Gi", "ephemeral-storage": "1000Gi", "pods": "110"}
        amounts |= {GPU_RESOURCE: str(self._gpus)} if self._gpus else {}
        good = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
        beat = {"reason": "Test", "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}
        conditions = [{"type": kind, "status": status, **beat} for kind, status in good.items()]
        body = {"status": {"capacity": amounts, "allocatable": amounts, "conditions": conditions}}
        self._api.request("PATCH", f"{self.path}/status", body=body, patch=MERGE_PATCH)

    def _pods(self):
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        return list(self._api.list(path, fields=f"spec.nodeName={self.name}"))

    def _path(self, pod):
        return f"/api/v1/namespaces/{self._namespace}/pods/{pod['metadata']['name']}"


def remove(api, path):
    """Take a pod away without waiting for its node."""
    try:
        api.request("DELETE", path, query={"gracePeriodSeconds": "0"})
    except ClusterError as exc:
        if exc.status != 404:
            raise


def other_kubelet(api, namespace, *, seconds=PROBE_SECONDS, wait_seconds=240.0):
    """Return what somebody else did to a silent node of ours or to its pod; nothing when we are alone with them."""
    with FakeNode(api, namespace, wait_seconds=wait_seconds) as node:
        node.die()
        pods = f"/api/v1/namespaces/{namespace}/pods"
        made = api.request("POST", pods, body=_probe(node.name))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if deed := _deed(api, node, f"{pods}/{made['metadata']['name']}"):
                return deed
            time.sleep(TICK_SECONDS)
    return ""


def _deed(api, node, pod_path):
    phase = (api.get(pod_path) or {"status": {"phase": "gone"}})["status"].get("phase", "Pending")
    if phase != "Pending":
        return f"its pod is {phase}"
    ready = [c for c in api.get(node.path)["status"]["conditions"] if c["type"] == "Ready"]
    if any(c["reason"] not in ("Test", "NodeStatusUnknown") for c in ready):
        return f"its Ready says {ready[0]['reason']}"
    lease = api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node.name}")
    return "its lease is renewed" if lease else ""


def _probe(node_name):
    """Return a pod that every security level admits, placed on a node without a scheduler."""
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "probe", "image": "registry.invalid/probe:0", "securityContext": rights}
    spec = {"nodeName": node_name, "automountServiceAccountToken": False, "containers": [container]}
    spec |= {"serviceAccountName": "farm-render", "terminationGracePeriodSeconds": 0, "restartPolicy": "Never"}
    spec |= {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "probe-"}, "spec": spec}


def _now():
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
