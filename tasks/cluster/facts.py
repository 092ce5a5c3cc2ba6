"""Read from a cluster what `preflight` judges. Reads only; of secrets it keeps the names of their keys."""

from collections.abc import Iterable

from tasks.cluster.api import ClusterError, KubeApi
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL, PoolShape
from tasks.cluster.preflight import (
    KUEUE_GROUP,
    WANTED_KEYS,
    ClusterFacts,
    Finding,
    Permission,
    needed_permissions,
    preflight,
)


def check_cluster(api: KubeApi, shapes: tuple[PoolShape, ...] = (CPU_POOL, GPU_POOL)) -> list[Finding]:
    """Return every finding about a cluster and the pools' pods, errors first.

    Raises: ClusterError when the server does not answer or this person may not read nodes and pods.
    """
    render = shapes[0].namespace
    return preflight(read_facts(api, render, needed_permissions(render)), shapes)


def read_facts(api: KubeApi, render: str, permissions: Iterable[Permission]) -> ClusterFacts:
    """Return what the cluster says about itself and about the render namespace.

    Raises: ClusterError when the server does not answer or this person may not read nodes and pods.
    """
    version = api.request("GET", "/version")
    groups = frozenset(group["name"] for group in api.request("GET", "/apis").get("groups", []))
    rights = list(permissions)
    return ClusterFacts(
        minor=int("".join(digit for digit in str(version["minor"]) if digit.isdigit())),
        groups=groups,
        nodes=tuple(api.list("/api/v1/nodes")),
        pods=tuple(api.list("/api/v1/pods")),
        namespaces=_names(api, "/api/v1/namespaces"),
        priority_classes=_names(api, "/apis/scheduling.k8s.io/v1/priorityclasses"),
        service_accounts=_names(api, f"/api/v1/namespaces/{render}/serviceaccounts"),
        claims=tuple(api.list(f"/api/v1/namespaces/{render}/persistentvolumeclaims")),
        quotas=tuple(api.list(f"/api/v1/namespaces/{render}/resourcequotas")),
        keys={name: _keys(api, render, name) for name in WANTED_KEYS},
        queues=_queues(api, render) if KUEUE_GROUP in groups else frozenset(),
        denied=tuple(right for right in rights if not _allowed(api, right)),
        asked=len(rights),
    )


def _names(api: KubeApi, path: str) -> frozenset[str]:
    return frozenset(str(found["metadata"]["name"]) for found in api.list(path))


def _queues(api: KubeApi, render: str) -> frozenset[str]:
    """Return the LocalQueues, in whichever version this Kueue serves."""
    group = api.request("GET", f"/apis/{KUEUE_GROUP}")
    return _names(api, f"/apis/{group['preferredVersion']['groupVersion']}/namespaces/{render}/localqueues")


def _keys(api: KubeApi, render: str, name: str) -> frozenset[str]:
    kind, _, thing = name.partition("/")
    try:
        found = api.get(f"/api/v1/namespaces/{render}/{kind}s/{thing}")
    except ClusterError as exc:
        if exc.status == 403:
            return WANTED_KEYS[name]  # not ours to read: no verdict
        raise
    return frozenset((found or {}).get("data", {}))


def _allowed(api: KubeApi, permission: Permission) -> bool:
    """Ask the server: for oneself by a SelfSubjectAccessReview, for a service account by a SubjectAccessReview."""
    plain, _, subresource = permission.resource.partition("/")
    resource, _, group = plain.partition(".")
    attributes = {
        "verb": permission.verb,
        "resource": resource,
        "subresource": subresource,
        "group": group,
        "namespace": permission.namespace,
    }
    kind = "SubjectAccessReview" if permission.who else "SelfSubjectAccessReview"
    spec: dict[str, object] = {"resourceAttributes": attributes}
    if permission.who:
        spec |= {"user": permission.who, "groups": ["system:serviceaccounts", "system:authenticated"]}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {}, "spec": spec}
    answer = api.request("POST", f"/apis/authorization.k8s.io/v1/{kind.lower()}s", body=body)
    return bool(answer.get("status", {}).get("allowed"))
