"""Can this cluster render? Every answer at once: capacity, GPU types, volumes, permissions. Pure, over plain dicts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from tasks.cluster.diagnosis import requested
from tasks.cluster.job_template import GPU_RESOURCE, QUEUE_LABEL, tolerations
from tasks.cluster.pool_shape import PoolShape, weights_claim
from tasks.cluster.quantity import format_gibibytes, parse_quantity

Object = dict[str, Any]
Level = Literal["ok", "warning", "error"]

OLDEST_MINOR = 31  # podFailurePolicy and podReplacementPolicy as we use them
CONTROL_NAMESPACE = "avatar-farm"
PRODUCT_LABEL = "nvidia.com/gpu.product"
KUEUE_GROUP = "kueue.x-k8s.io"
APPLY, ASK = "apply an overlay of k8s/overlays", "ask an administrator of the cluster for it"


@dataclass(frozen=True)
class Permission:
    """A right that somebody must have; `who` is empty for the person who asks."""

    who: str
    verb: str
    resource: str  # `jobs.batch`, `pods/log`
    namespace: str

    def __str__(self) -> str:
        who = self.who or "you"
        return f"{who}: {self.verb} {self.resource} in {self.namespace or 'the cluster'}"


@dataclass(frozen=True)
class ClusterFacts:
    """What the cluster said. Secrets and config maps are known by the names of their keys alone."""

    minor: int = 0
    groups: frozenset[str] = frozenset()
    nodes: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    namespaces: frozenset[str] = frozenset()
    priority_classes: frozenset[str] = frozenset()
    service_accounts: frozenset[str] = frozenset()  # of the render namespace
    claims: tuple[Object, ...] = ()
    quotas: tuple[Object, ...] = ()
    keys: dict[str, frozenset[str]] = field(default_factory=dict)  # "secret/farm-runtime" -> its keys
    queues: frozenset[str] = frozenset()
    denied: tuple[Permission, ...] = ()
    unasked: frozenset[str] = frozenset()  # service accounts about whose rights this person may not ask
    asked: int = 0  # how many permissions the server answered for
    unread: frozenset[str] = frozenset()  # collections that this person may not list: nothing is concluded from them


@dataclass(frozen=True)
class Finding:
    """One answer, for a person."""

    level: Level
    subject: str
    sentence: str  # what is so, with its value and its limit
    way_out: str = ""

    def __str__(self) -> str:
        return f"{self.level:7} {self.subject}: {self.sentence}" + (f"; {self.way_out}" if self.way_out else "")


# what envFrom and the pods' variables name; a missing one keeps every pod in CreateContainerConfigError
WANTED_KEYS = {
    "configmap/farm-runtime": frozenset({"FARM_STORE"}),
    "secret/farm-runtime": frozenset({"FARM_DATABASE"}),
    "secret/prefect-auth": frozenset({"auth-string"}),
}


def needed_permissions(render: str, control: str = CONTROL_NAMESPACE) -> list[Permission]:
    """Return the rights that the worker and the sweeper use, and those that draining needs of a person."""
    worker = f"system:serviceaccount:{control}:farm-worker"
    sweeper = f"system:serviceaccount:{control}:farm-sweeper"
    table = {
        worker: {"jobs.batch": "create get list watch delete", "pods": "get list watch", "pods/log": "get"},
        sweeper: {"jobs.batch": "list delete", "pods": "list", "events": "list"},
    }
    rights = [
        Permission(who, verb, resource, render)
        for who, resources in table.items()
        for resource, verbs in resources.items()
        for verb in verbs.split()
    ]
    rights.append(Permission(sweeper, "list", "nodes", ""))
    rights += [Permission("", "patch", "nodes", ""), Permission("", "create", "pods/eviction", render)]
    return rights


def preflight(facts: ClusterFacts, shapes: tuple[PoolShape, ...]) -> list[Finding]:
    """Return one finding for everything that was looked at, errors first."""
    findings = [*_version(facts), *_unread(facts), *_names(facts, shapes), *_keys(facts), *_permissions(facts)]
    for shape in shapes:
        findings += [*_capacity(facts, shape), *_volumes(facts, shape), *_quota(facts, shape)]
    order = ("error", "warning", "ok")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _version(facts: ClusterFacts) -> Iterator[Finding]:
    if facts.minor < OLDEST_MINOR:
        sentence = f"Kubernetes 1.{facts.minor}; 1.{OLDEST_MINOR} is the oldest that renders"
        yield Finding("error", "version", sentence, "upgrade the cluster")
    else:
        yield Finding("ok", "version", f"Kubernetes 1.{facts.minor}")


def _unread(facts: ClusterFacts) -> Iterator[Finding]:
    for name in sorted(facts.unread):
        level: Level = "error" if name == "nodes" else "warning"
        yield Finding(level, name, "may not be listed by you: what depends on them was not judged", ASK)


def _names(facts: ClusterFacts, shapes: tuple[PoolShape, ...]) -> Iterator[Finding]:
    wanted = {CONTROL_NAMESPACE, *(shape.namespace for shape in shapes)}
    missing = [] if "namespaces" in facts.unread else sorted(wanted - facts.namespaces)
    if missing:
        yield Finding("error", "namespaces", f"{', '.join(missing)} missing", APPLY)
    asked = {shape.priority_class for shape in shapes}
    classes = [] if "priorityclasses" in facts.unread else sorted(asked - facts.priority_classes)
    if classes:
        sentence = f"{', '.join(classes)} missing: the server refuses pods that name them"
        yield Finding("error", "priority classes", sentence, APPLY)
    if "farm-render" not in facts.service_accounts and "serviceaccounts" not in facts.unread:
        yield Finding("error", "service account", "farm-render missing: no pod is made without it", APPLY)
    queues = {shape.kueue_queue for shape in shapes if shape.kueue_queue}
    if queues and KUEUE_GROUP not in facts.groups:
        sentence = f"not installed, but the templates carry {QUEUE_LABEL}: Jobs stay suspended for ever"
        yield Finding("error", "kueue", sentence, "install Kueue, or use an overlay without it")
    elif queues - facts.queues and "localqueues" not in facts.unread:
        sentence = f"queue {', '.join(sorted(queues - facts.queues))} missing: Jobs stay suspended"
        yield Finding("error", "kueue", sentence, "apply k8s/overlays/kueue")
    if not (missing or classes):
        yield Finding("ok", "names", "namespaces and priority classes are there")


def _keys(facts: ClusterFacts) -> Iterator[Finding]:
    complete = True
    for name, wanted in WANTED_KEYS.items():
        missing = sorted(wanted - facts.keys.get(name, frozenset()))
        if missing:
            complete = False
            sentence = f"lacks {', '.join(missing)}: pods would wait in CreateContainerConfigError"
            yield Finding("error", name, sentence, APPLY if name.startswith("configmap") else "run k8s/make-secrets.sh")
    if complete:
        yield Finding("ok", "configuration", "config maps and secrets hold what pods read")


def _permissions(facts: ClusterFacts) -> Iterator[Finding]:
    for permission in facts.denied:
        level: Level = "error" if permission.who else "warning"
        yield Finding(level, "permissions", f"denied to {permission}", APPLY if permission.who else ASK)
    for who in sorted(facts.unasked):
        yield Finding("warning", "permissions", f"the rights of {who} may not be asked by you: not judged", ASK)
    if not facts.denied:
        whose = "yourself" if facts.unasked else "worker, sweeper and yourself"
        yield Finding("ok", "permissions", f"{facts.asked} rights of {whose} are granted")


def _capacity(facts: ClusterFacts, shape: PoolShape) -> Iterator[Finding]:
    """Compare one pod of the pool with the nodes as they are, then with what is free on them now."""
    if "nodes" in facts.unread:
        return
    asked = {"cpu": shape.cpu, "memory": shape.memory, "ephemeral-storage": shape.scratch}
    wanted = {name: parse_quantity(text) for name, text in asked.items()}
    wanted |= {GPU_RESOURCE: Fraction(shape.gpus)} if shape.gpus else {}
    usable = [node for node in facts.nodes if _tolerated(node, shape)]
    large = [node for node in usable if _fits(_allocatable(node), wanted)]
    free = [node for node in large if _fits(_free(node, facts.pods), wanted)]
    pod = ", ".join(f"{_show(name, amount)}" for name, amount in wanted.items())
    if not large:
        reason = _largest(usable, wanted) if usable else "every node is cordoned, not ready or tainted"
        yield Finding("error", shape.pool, f"no node takes a pod of {pod}: {reason}", "add such a node or ask for less")
        return
    where = f"{len(large)} of {len(facts.nodes)} nodes take a pod of {pod}"
    if free:
        yield Finding("ok", shape.pool, f"{where}; {len(free)} have room now{_types(large)}")
    else:
        yield Finding("warning", shape.pool, f"{where}; none has room now{_types(large)}", "wait, or add a node")


def _volumes(facts: ClusterFacts, shape: PoolShape) -> Iterator[Finding]:
    if not shape.weights_digest or "persistentvolumeclaims" in facts.unread:
        return
    name = weights_claim(shape.weights_digest)
    claim = next((claim for claim in facts.claims if claim["metadata"]["name"] == name), None)
    if claim is None:
        yield Finding("error", name, "no such volume claim", "fill one from the store (k8s/README.md, weights)")
        return
    phase = claim.get("status", {}).get("phase", "Pending")
    modes = set(claim["spec"].get("accessModes", []))
    if phase != "Bound":
        sentence = f"is {phase}; its storage class has given no volume"
        yield Finding("error", name, sentence, f"look at: kubectl -n {shape.namespace} describe pvc {name}")
    elif not modes & {"ReadOnlyMany", "ReadWriteMany"}:
        modes_text = ", ".join(sorted(modes))
        yield Finding("warning", name, f"is {modes_text}: pods on a second node cannot mount it", "use ReadOnlyMany")
    else:
        yield Finding("ok", name, "is bound and every node can mount it")


def _quota(facts: ClusterFacts, shape: PoolShape) -> Iterator[Finding]:
    gpus = f"requests.{GPU_RESOURCE}"
    wanted = {gpus: Fraction(shape.gpus), "requests.memory": parse_quantity(shape.memory), "pods": Fraction(1)}
    for quota in facts.quotas:
        hard, used = quota.get("status", {}).get("hard", {}), quota.get("status", {}).get("used", {})
        for resource, amount in wanted.items():
            if resource not in hard or not amount:
                continue
            left = parse_quantity(hard[resource]) - parse_quantity(used.get(resource, 0))
            subject = f"quota {quota['metadata']['name']}"
            if amount > parse_quantity(hard[resource]):
                sentence = f"{resource} of {hard[resource]} never admits a pod of {shape.pool}, which asks for "
                yield Finding("error", subject, sentence + _show(resource, amount), "raise it, or ask for less")
            elif amount > left:
                sentence = f"{resource} of {hard[resource]} is used up; {shape.pool} waits"
                yield Finding("warning", subject, sentence, "wait, or raise it")


def _tolerated(node: Object, shape: PoolShape) -> bool:
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))
    taints = [t for t in node["spec"].get("taints", []) if t.get("effect") in ("NoSchedule", "NoExecute")]
    accepted = {(toleration["key"], toleration["effect"]) for toleration in tolerations(shape)}
    return ready and not node["spec"].get("unschedulable") and all((t["key"], t["effect"]) in accepted for t in taints)


def _allocatable(node: Object) -> dict[str, Fraction]:
    return {name: parse_quantity(text) for name, text in node.get("status", {}).get("allocatable", {}).items()}


def _free(node: Object, pods: tuple[Object, ...]) -> dict[str, Fraction]:
    free = _allocatable(node)
    for pod in pods:
        if pod["spec"].get("nodeName") != node["metadata"]["name"]:
            continue
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            continue
        for name, amount in requested(pod["spec"]).items():
            free[name] = free.get(name, Fraction(0)) - amount
    return free


def _fits(offered: dict[str, Fraction], wanted: dict[str, Fraction]) -> bool:
    return all(offered.get(name, Fraction(0)) >= amount for name, amount in wanted.items())


def _largest(nodes: list[Object], wanted: dict[str, Fraction]) -> str:
    most = {name: max(_allocatable(node).get(name, Fraction(0)) for node in nodes) for name in wanted}
    short = [f"{_show(name, most[name])} at most" for name, amount in wanted.items() if most[name] < amount]
    return ", ".join(short) or "no single node has all of it"


def _types(nodes: list[Object]) -> str:
    labels = (node["metadata"].get("labels", {}).get(PRODUCT_LABEL) for node in nodes)
    products = sorted({product for product in labels if product})
    return f" ({', '.join(products)})" if products else ""


def _show(name: str, amount: Fraction) -> str:
    if name.removeprefix("requests.") in ("memory", "ephemeral-storage"):
        return f"{format_gibibytes(amount)} {name}"
    return f"{float(amount):g} {name}"
