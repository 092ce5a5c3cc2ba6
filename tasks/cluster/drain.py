"""Empty the GPU nodes without losing a step, and open them again.

Draining pauses the work pool (nothing new starts), cordons the nodes (nothing comes back to them) and, on request,
evicts what runs: each pod saves its step and its Job waits for a node. Nodes cordoned by others stay cordoned.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from tasks.cluster.api import MERGE_PATCH, ClusterError, KubeApi
from tasks.cluster.job_template import GPU_RESOURCE, POOL_LABEL

Object = dict[str, Any]
DRAINED = "avatar-farm/drained"  # annotation: cordoned by us
POLL_SECONDS = 5.0


def nodes_of(nodes: list[Object], resource: str = GPU_RESOURCE) -> list[str]:
    """Return the names of the nodes that have a resource, sorted."""
    return sorted(
        str(node["metadata"]["name"])
        for node in nodes
        if str(node.get("status", {}).get("allocatable", {}).get(resource, "0")) != "0"
    )


def cordon(api: KubeApi, names: list[str]) -> list[str]:
    """Close nodes for new pods; return those that were open."""
    closed = []
    for name in names:
        node = api.get(f"/api/v1/nodes/{name}")
        if node is None or node["spec"].get("unschedulable"):
            continue
        body = {"metadata": {"annotations": {DRAINED: "true"}}, "spec": {"unschedulable": True}}
        api.request("PATCH", f"/api/v1/nodes/{name}", body=body, patch=MERGE_PATCH)
        closed.append(name)
    return closed


def uncordon(api: KubeApi) -> list[str]:
    """Open again every node that a drain of ours has closed; return their names."""
    opened = []
    for node in api.list("/api/v1/nodes"):
        if DRAINED in node["metadata"].get("annotations", {}):
            body = {"metadata": {"annotations": {DRAINED: None}}, "spec": {"unschedulable": None}}
            api.request("PATCH", f"/api/v1/nodes/{node['metadata']['name']}", body=body, patch=MERGE_PATCH)
            opened.append(str(node["metadata"]["name"]))
    return sorted(opened)


def running_pods(api: KubeApi, namespace: str, pool: str, nodes: list[str]) -> Iterator[str]:
    """Yield the pool's pods that still hold one of the nodes."""
    for pod in api.list(f"/api/v1/namespaces/{namespace}/pods", labels=f"{POOL_LABEL}={pool}"):
        ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if not ended and pod["spec"].get("nodeName") in nodes:
            yield str(pod["metadata"]["name"])


def evict(api: KubeApi, namespace: str, pod: str) -> bool:
    """Ask the API server to evict a pod; False when a disruption budget says not now."""
    metadata = {"name": pod, "namespace": namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    try:
        api.request("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", body=body)
    except ClusterError as exc:
        if exc.status == 404:
            return True
        if exc.status == 429:
            return False
        raise
    return True


def wait_until_empty(
    api: KubeApi,
    namespace: str,
    pool: str,
    nodes: list[str],
    *,
    wait_seconds: float,
    evicting: bool,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait until no pod of the pool holds the nodes; return those that still do after `wait_seconds`."""
    end = clock() + wait_seconds
    asked: set[str] = set()
    while left := sorted(running_pods(api, namespace, pool, nodes)):
        if evicting:
            asked |= {pod for pod in left if pod not in asked and evict(api, namespace, pod)}
        if clock() >= end:
            break
        sleep(POLL_SECONDS)
    return left
