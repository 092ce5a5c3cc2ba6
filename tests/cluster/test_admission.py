"""Pods of every workload pass what judges pods, and accounts may do what they must, with the shipped limits in force.

A server that takes a Deployment has said nothing about its pods: security level, priority, account, quota and limit
ranges judge each pod when it is made, and only then.
"""

import copy

import pytest
from ground import end_namespace, wait
from rendering import as_server_keeps_it, render
from shipped import COLLECTIONS, RIGHTS, SHAPES, STRICT, Place, as_account, bring

from tasks.cluster.api import ClusterError
from tasks.cluster.facts import read_facts
from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.preflight import Permission, needed_permissions
from tasks.cluster.sweep_round import read_ground

SECURITY_MINOR = 25  # pod security admission


@pytest.fixture(scope="module")
def place(kube, namespace):
    """Both namespaces of the farm with everything that stands in them before the first pod."""
    made = Place(f"{namespace}-control", f"{namespace}-render", f"{namespace}-shipped")
    outside = []
    try:
        bring(kube, made.things(("Namespace",)))
        outside = bring(kube, made.things((*RIGHTS, "ResourceQuota", "LimitRange")))
        wait("the quotas' first count", lambda: all(_counted(kube, here) for here in (made.control, made.render)))
        yield made
    finally:
        for path in outside:
            kube.delete(path)
        for here in (made.control, made.render):
            end_namespace(kube, here)


def _counted(kube, namespace):
    quotas = list(kube.list(COLLECTIONS["ResourceQuota"].format(namespace)))
    return quotas and all("hard" in quota.get("status", {}) for quota in quotas)


def admit(kube, pod):
    """Have the server judge a pod as if it were made; return what it would keep."""
    return kube.request("POST", COLLECTIONS["Pod"].format(pod["metadata"]["namespace"]), query=STRICT, body=pod)


def segment(place, shape):
    """Return the pod that the Job of a segment makes."""
    template = as_server_keeps_it(render(base_job_template(shape)))["spec"]["template"]
    named = {"generateName": "segment-", "namespace": shape.namespace, "labels": template["metadata"]["labels"]}
    return place.pod(named, template["spec"])


@pytest.mark.parametrize("overlay", ["local", "cloud", "kueue"])
def test_a_pod_of_every_workload_is_admitted(kube, place, overlay):
    pods = list(place.pods(overlay))
    assert len(pods) >= 5
    for pod in pods:
        kept = admit(kube, pod)
        assert kept["spec"]["priority"] == 100000, pod["metadata"]["generateName"]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_pod_of_every_pool_is_admitted(kube, place, shape):
    kept = admit(kube, segment(place, shape))
    assert kept["spec"]["priority"] == (100000 if shape.priority_class == "farm-control" else 10)


def test_the_quota_is_in_force(kube, place):
    pod = segment(place, GPU_POOL)
    for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
        for amounts in container["resources"].values():
            amounts |= {"nvidia.com/gpu": "65"} if "nvidia.com/gpu" in amounts else {}
    with pytest.raises(ClusterError, match="exceeded quota: renderers") as refused:
        admit(kube, pod)
    assert refused.value.status == 403


def test_a_container_that_names_no_limits_gets_the_namespaces(kube, place):
    pod = segment(place, GPU_POOL)
    del pod["spec"]["containers"][0]["resources"]
    kept = admit(kube, pod)
    assert kept["spec"]["containers"][0]["resources"]["limits"]["memory"] == "256Mi"


@pytest.mark.parametrize("where", ["control", "render"])
def test_the_security_level_is_in_force(kube, place, where):
    if read_facts(kube, place.render, []).minor < SECURITY_MINOR:
        pytest.skip(f"this cluster is older than Kubernetes 1.{SECURITY_MINOR}: no namespace has a security level")
    pod = copy.deepcopy(segment(place, GPU_POOL))
    pod["metadata"]["namespace"] = getattr(place, where)
    pod["spec"].pop("securityContext")
    pod["spec"]["serviceAccountName"] = "default"
    with pytest.raises(ClusterError, match="violates PodSecurity"):
        admit(kube, pod)


def test_the_accounts_may_do_what_they_must_and_nothing_else(kube, place):
    needed = [right for right in needed_permissions(place.render, place.control) if right.who]

    def granted():
        facts = read_facts(kube, place.render, needed)
        return facts.asked == len(needed) and not facts.denied

    wait("the rights of worker and sweeper", granted)
    worker, sweeper = (f"system:serviceaccount:{place.control}:farm-{name}" for name in ("worker", "sweeper"))
    renderer = f"system:serviceaccount:{place.render}:farm-render"
    forbidden = [
        Permission(worker, "get", "secrets", place.render),
        Permission(worker, "create", "jobs.batch", place.control),
        Permission(worker, "create", "pods", place.render),
        Permission(worker, "list", "nodes", ""),
        Permission(sweeper, "create", "jobs.batch", place.render),
        Permission(sweeper, "delete", "pods", place.render),
        Permission(sweeper, "patch", "nodes", ""),
        Permission(renderer, "list", "jobs.batch", place.render),
        Permission(renderer, "get", "secrets", place.render),
    ]
    anybody = Permission("system:serviceaccount:nowhere:nobody", "create", "jobs.batch", place.render)
    if not read_facts(kube, place.render, [anybody]).denied:
        pytest.skip("this cluster's authorizer allows everybody everything")
    assert read_facts(kube, place.render, forbidden).denied == tuple(forbidden)


def test_the_sweeper_reads_its_ground_by_its_own_token(kube, place, tmp_path):
    sweeper = as_account(kube, place.control, "farm-sweeper", tmp_path / "kubeconfig")
    ground = wait("what the sweeper may see", lambda: _seen(sweeper, place.render))
    assert (ground.jobs, ground.pods) == ((), ())
    with pytest.raises(ClusterError, match="farm-sweeper") as refused:  # it is the account that asks, not whoever tests
        list(sweeper.list(f"/api/v1/namespaces/{place.render}/secrets"))
    assert refused.value.status == 403


def _seen(sweeper, namespace):
    """Return the sweeper's ground, or nothing while its rights are not known everywhere yet."""
    try:
        return read_ground(sweeper, namespace)
    except ClusterError as exc:
        if exc.status != 403:
            raise
        return None
