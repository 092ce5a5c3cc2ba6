"""Read from a cluster what `preflight` judges. Reads only; of secrets it keeps the names of their keys."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tasks.cluster.api import ClusterError, KubeApi, Object
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL, RENDER_NAMESPACE, PoolShape
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

    Raises: ClusterError when the server does not answer; what this person may not read is a finding.
    """
    render = shapes[0].namespace
    return preflight(read_facts(api, render, needed_permissions(render)), shapes)


def shapes_of(
    gpus: int = 1, weights_digest: str = "", kueue: bool = False, namespace: str = RENDER_NAMESPACE
) -> tuple[PoolShape, ...]:
    """Return the pools as they are to be: pods of so many GPUs, with these weights, in this namespace.

    Raises: ValueError for a digest that is none.
    """
    return tuple(
        replace(shape, namespace=namespace, kueue_queue=shape.pool if kueue else "")
        for shape in (CPU_POOL, replace(GPU_POOL.on_gpus(gpus), weights_digest=weights_digest))
    )


@dataclass
class _Reader:
    """Lists collections and notes which ones it was not allowed to."""

    api: KubeApi
    unread: set[str] = field(default_factory=set)

    def things(self, path: str) -> tuple[Object, ...]:
        try:
            return tuple(self.api.list(path))
        except ClusterError as exc:
            if exc.status != 403:
                raise
            self.unread.add(path.rpartition("/")[2])
            return ()

    def names(self, path: str) -> frozenset[str]:
        return frozenset(str(found["metadata"]["name"]) for found in self.things(path))


def read_facts(api: KubeApi, render: str, permissions: Iterable[Permission]) -> ClusterFacts:
    """Return what the cluster says about itself and about the render namespace.

    Raises: ClusterError when the server does not answer.
    """
    version = api.request("GET", "/version")
    groups = frozenset(group["name"] for group in api.request("GET", "/apis").get("groups", []))
    answers = {right: _allowed(api, right) for right in permissions}
    reader, inside = _Reader(api), f"/api/v1/namespaces/{render}"
    found = ClusterFacts(
        minor=int("".join(digit for digit in str(version["minor"]) if digit.isdigit())),
        groups=groups,
        nodes=reader.things("/api/v1/nodes"),
        pods=reader.things("/api/v1/pods"),
        namespaces=reader.names("/api/v1/namespaces"),
        priority_classes=reader.names("/apis/scheduling.k8s.io/v1/priorityclasses"),
        service_accounts=reader.names(f"{inside}/serviceaccounts"),
        claims=reader.things(f"{inside}/persistentvolumeclaims"),
        quotas=reader.things(f"{inside}/resourcequotas"),
        keys={name: _keys(api, render, name) for name in WANTED_KEYS},
        queues=_queues(reader, render) if KUEUE_GROUP in groups else frozenset(),
        denied=tuple(right for right, allowed in answers.items() if allowed is False),
        unasked=frozenset(right.who for right, allowed in answers.items() if allowed is None),
        asked=sum(allowed is not None for allowed in answers.values()),
    )
    return replace(found, unread=frozenset(reader.unread))


def _queues(reader: _Reader, render: str) -> frozenset[str]:
    """Return the LocalQueues, in whichever version this Kueue serves."""
    group = reader.api.request("GET", f"/apis/{KUEUE_GROUP}")
    return reader.names(f"/apis/{group['preferredVersion']['groupVersion']}/namespaces/{render}/localqueues")


def _keys(api: KubeApi, render: str, name: str) -> frozenset[str]:
    kind, _, thing = name.partition("/")
    try:
        found = api.get(f"/api/v1/namespaces/{render}/{kind}s/{thing}")
    except ClusterError as exc:
        if exc.status == 403:
            return WANTED_KEYS[name]  # not ours to read: no verdict
        raise
    return frozenset((found or {}).get("data", {}))


def _allowed(api: KubeApi, permission: Permission) -> bool | None:
    """Ask the server: for oneself by a SelfSubjectAccessReview, for a service account by a SubjectAccessReview.

    Return None where this person may not ask about others, as most who are no administrators may not.
    """
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
    try:
        answer = api.request("POST", f"/apis/authorization.k8s.io/v1/{kind.lower()}s", body=body)
    except ClusterError as exc:
        if exc.status == 403 and permission.who:
            return None
        raise
    return bool(answer.get("status", {}).get("allowed"))
