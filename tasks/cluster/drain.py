"""Empty a pool's nodes without losing a step, and open them again.

Draining pauses the work pool (nothing new starts), cordons the nodes (nothing comes back to them) and, on request,
evicts what runs: each pod saves its step and its Job waits for a node. Nodes cordoned by others stay cordoned, and a
node that two pools drain is opened with the second.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from tasks.cluster.api import MERGE_PATCH, ClusterError, KubeApi
from tasks.cluster.job_template import GPU_RESOURCE, POOL_LABEL
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL
from tasks.errors import ConfigError

Object = dict[str, Any]
DRAINED = "avatar-farm/drained"  # annotation: cordoned by us, for these pools, with commas between
POLL_SECONDS = 5.0


def nodes_of(api: KubeApi, pool: str, selector: str = "") -> list[str]:
    """Return the names of the nodes that a drain of the pool means, sorted: the selected ones, else all with GPUs.

    A node whose device plugin is gone has GPUs still: its capacity says so. Raises: ClusterError; ConfigError when
    there is none, or the pool's pods may stand on any node.
    """
    gpus = {shape.pool: shape.gpus for shape in (CPU_POOL, GPU_POOL)}
    if not selector and not gpus.get(pool):
        raise ConfigError(f"pool {pool}: its pods may stand on any node; name those to drain with --nodes SELECTOR")
    nodes = list(api.list("/api/v1/nodes", labels=selector))
    if not selector:
        nodes = [node for node in nodes if _has(node, GPU_RESOURCE)]
    if not nodes:
        what = f"matches {selector!r}" if selector else f"has {GPU_RESOURCE}"
        raise ConfigError(f"pool {pool}: no node {what}; name those to drain with --nodes SELECTOR")
    return sorted(str(node["metadata"]["name"]) for node in nodes)


def _has(node: Object, resource: str) -> bool:
    status = node.get("status", {})
    return any(str(status.get(amounts, {}).get(resource, "0")) != "0" for amounts in ("allocatable", "capacity"))


def cordon(api: KubeApi, pool: str, names: list[str]) -> list[str]:
    """Close nodes for new pods in the pool's name; return those that were open."""
    closed = []
    for name in names:
        node = api.get(f"/api/v1/nodes/{name}")
        if node is None:
            continue
        is_open, pools = not node["spec"].get("unschedulable"), _drained_for(node)
        if is_open or (pools and pool not in pools):
            _mark(api, name, [pool] if is_open else [*pools, pool])
        closed += [name] if is_open else []
    return closed


def uncordon(api: KubeApi, pool: str) -> list[str]:
    """Open every node that our drains have closed for this pool and no other; return their names."""
    opened = []
    for node in api.list("/api/v1/nodes"):
        pools, name = _drained_for(node), str(node["metadata"]["name"])
        if pool in pools:
            left = [other for other in pools if other != pool]
            _mark(api, name, left)
            opened += [] if left else [name]
    return sorted(opened)


def _drained_for(node: Object) -> list[str]:
    text = node["metadata"].get("annotations", {}).get(DRAINED, "")
    return str(text).split(",") if text else []


def _mark(api: KubeApi, name: str, pools: list[str]) -> None:
    annotations = {DRAINED: ",".join(pools) or None}
    body = {"metadata": {"annotations": annotations}, "spec": {"unschedulable": bool(pools) or None}}
    api.request("PATCH", f"/api/v1/nodes/{name}", body=body, patch=MERGE_PATCH)


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
