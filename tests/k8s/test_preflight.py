"""Preflight names what is missing before a render finds out, and reads it all from an API server."""

from dataclasses import replace

import pytest
from things import NAMESPACE, node, pod

from tasks.cluster.api import ClusterError, KubeApi
from tasks.cluster.facts import check_cluster
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL
from tasks.cluster.preflight import ClusterFacts, Permission, needed_permissions, preflight

DIGEST = "ab" * 32
WEIGHTS = replace(GPU_POOL, weights_digest=DIGEST)
CLAIM = {
    "metadata": {"name": "weights-abababababababab"},
    "spec": {"accessModes": ["ReadOnlyMany"]},
    "status": {"phase": "Bound"},
}
GOOD = ClusterFacts(
    minor=33,
    nodes=(node("gpu-1", taints=("nvidia.com/gpu",)), node("cpu-1", gpus=0)),
    namespaces=frozenset({"avatar-farm", NAMESPACE}),
    priority_classes=frozenset({"farm-control", "farm-batch", "farm-urgent"}),
    service_accounts=frozenset({"default", "farm-render"}),
    claims=(CLAIM,),
    keys={
        "configmap/farm-runtime": frozenset({"FARM_STORE"}),
        "secret/farm-runtime": frozenset({"FARM_DATABASE", "AWS_ACCESS_KEY_ID"}),
        "secret/prefect-auth": frozenset({"auth-string"}),
    },
    asked=len(needed_permissions(NAMESPACE)),
)


def bad(facts, *shapes):
    return [str(finding) for finding in preflight(facts, shapes or (CPU_POOL, WEIGHTS)) if finding.level != "ok"]


def test_a_good_cluster_has_nothing_to_say_against_it():
    assert bad(GOOD) == []
    sentences = [str(finding) for finding in preflight(GOOD, (CPU_POOL, WEIGHTS))]
    assert any("1 of 2 nodes take a pod of 8 cpu, 96.0 GiB memory" in text and "H200" in text for text in sentences)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"minor": 28}, "error   version: Kubernetes 1.28; 1.31 is the oldest"),
        ({"namespaces": frozenset()}, "error   namespaces: avatar-farm, avatar-farm-render missing"),
        ({"priority_classes": frozenset({"farm-control"})}, "error   priority classes: farm-batch missing"),
        ({"service_accounts": frozenset()}, "farm-render missing"),
        ({"keys": {}}, "error   secret/farm-runtime: lacks FARM_DATABASE"),
        ({"claims": ()}, "error   weights-abababababababab: no such volume claim"),
        ({"claims": (CLAIM | {"status": {"phase": "Pending"}},)}, "is Pending; its storage class has given no volume"),
        ({"claims": (CLAIM | {"spec": {"accessModes": ["ReadWriteOnce"]}},)}, "abababab: is ReadWriteOnce"),
        ({"denied": (Permission("w", "create", "jobs.batch", "n"),)}, "error   permissions: denied to w: create jobs"),
        ({"denied": (Permission("", "patch", "nodes", ""),)}, "warning permissions: denied to you: patch nodes in the"),
        ({"nodes": (node("gpu-1", gpus=0),)}, "error   farm-gpu: no node takes a pod of 8 cpu"),
        ({"nodes": (node("gpu-1", memory="90Gi"),)}, "90.0 GiB memory at most"),
        ({"nodes": (node("gpu-1", cordoned=True),)}, "every node is cordoned, not ready or tainted"),
        ({"nodes": (node("gpu-1", ready=False),)}, "every node is cordoned, not ready or tainted"),
        ({"nodes": (node("gpu-1", taints=("team-b",)),)}, "every node is cordoned, not ready or tainted"),
        ({"nodes": (node("a", gpus=0), node("b", memory="90Gi"))}, "no single node has all of it"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(change, sentence):
    assert any(sentence in text for text in bad(replace(GOOD, **change)))


def test_a_full_node_is_a_warning_and_finished_pods_do_not_count():
    busy = tuple(pod(f"j{index}", phase="Running", node="gpu-1") for index in range(8))
    assert any("none has room now" in text for text in bad(replace(GOOD, pods=busy)))
    done = tuple(pod(f"j{index}", phase="Succeeded", node="gpu-1") for index in range(8))
    assert bad(replace(GOOD, pods=done)) == []


def test_a_quota_that_never_admits_is_an_error_and_a_used_one_a_warning():
    def quota(hard, used):
        status = {"hard": {"requests.nvidia.com/gpu": hard}, "used": {"requests.nvidia.com/gpu": used}}
        return {"metadata": {"name": "renderers"}, "status": status}

    assert bad(replace(GOOD, quotas=(quota("8", "7"),))) == []
    assert "is used up" in bad(replace(GOOD, quotas=(quota("8", "8"),)))[0]
    eight = replace(WEIGHTS, gpus=8, memory="720Gi")
    assert any(
        "never admits a pod of farm-gpu" in text for text in bad(replace(GOOD, quotas=(quota("4", "0"),)), eight)
    )


def test_kueue_labels_without_kueue_are_an_error():
    queued = replace(GPU_POOL, kueue_queue="farm-gpu")
    assert "not installed" in bad(GOOD, queued)[0]
    installed = replace(GOOD, groups=frozenset({"kueue.x-k8s.io"}))
    assert "queue farm-gpu missing" in bad(installed, queued)[0]
    assert bad(replace(installed, queues=frozenset({"farm-gpu"})), queued) == []


def test_preflight_reads_everything_from_the_server(apiserver, api):
    for thing in GOOD.nodes:
        apiserver.put("/api/v1/nodes", thing)
    for name in GOOD.namespaces:
        apiserver.put("/api/v1/namespaces", {"metadata": {"name": name}})
    for name in GOOD.priority_classes:
        apiserver.put("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": name}})
    inside = f"/api/v1/namespaces/{NAMESPACE}"
    apiserver.put(f"{inside}/serviceaccounts", {"metadata": {"name": "farm-render"}})
    apiserver.put(f"{inside}/configmaps", {"metadata": {"name": "farm-runtime"}, "data": {"FARM_STORE": "s3://b/p"}})
    apiserver.put(f"{inside}/secrets", {"metadata": {"name": "farm-runtime"}, "data": {"FARM_DATABASE": "c2VjcmV0"}})
    found = check_cluster(api)
    assert [str(f) for f in found if f.level == "error"] == [
        "error   secret/prefect-auth: lacks auth-string: pods would wait in CreateContainerConfigError; "
        "run k8s/make-secrets.sh"
    ]
    assert "c2VjcmV0" not in " ".join(map(str, found))
    apiserver.put(f"{inside}/secrets", {"metadata": {"name": "prefect-auth"}, "data": {"auth-string": "eA=="}})
    apiserver.denied.add(("system:serviceaccount:avatar-farm:farm-worker", "create", "jobs"))
    (error,) = [f for f in check_cluster(api) if f.level == "error"]
    assert "denied to system:serviceaccount:avatar-farm:farm-worker: create jobs.batch" in error.sentence


def test_what_may_not_be_read_is_said_and_nothing_is_concluded_from_it(apiserver, api):
    apiserver.denied |= {("nobody", "list", kind) for kind in ("nodes", "namespaces", "resourcequotas")}
    found = check_cluster(api)
    assert [(f.level, f.subject) for f in found if "may not be listed" in f.sentence] == [
        ("error", "nodes"),
        ("warning", "namespaces"),
        ("warning", "resourcequotas"),
    ]
    assert not any(f.subject == "farm-gpu" or "avatar-farm-render missing" in f.sentence for f in found)


def test_rights_of_others_that_may_not_be_asked_are_said_and_not_judged(apiserver, api):
    apiserver.denied.add(("nobody", "create", "subjectaccessreviews"))
    apiserver.put("/api/v1/nodes", node("gpu-1"))
    found = check_cluster(api)
    unasked = [(f.level, f.sentence.split()[3].rpartition(":")[2]) for f in found if "may not be asked" in f.sentence]
    assert unasked == [("warning", "farm-sweeper"), ("warning", "farm-worker")]
    assert any("2 rights of yourself are granted" in f.sentence for f in found)
    assert any(f.subject == "farm-gpu" and f.level == "ok" for f in found)  # and everything else is judged all the same


def test_every_fault_has_a_way_out():
    worst = ClusterFacts(minor=1, nodes=(node("cpu", gpus=0),), denied=tuple(needed_permissions(NAMESPACE)[:1]))
    for facts in (worst, replace(GOOD, claims=()), replace(GOOD, nodes=(), unread=frozenset({"nodes"}))):
        faults = [finding for finding in preflight(facts, (CPU_POOL, WEIGHTS)) if finding.level != "ok"]
        assert faults and all(finding.way_out for finding in faults)


def test_pods_of_eight_gpus_ask_for_eight_times_the_memory():
    eight = GPU_POOL.on_gpus(8)
    assert (eight.gpus, eight.cpu, eight.memory, eight.shm, eight.scratch) == (8, "64", "768Gi", "128Gi", "50Gi")
    assert GPU_POOL.on_gpus(1) == GPU_POOL
    with pytest.raises(ValueError, match="4 GPUs cannot be made of a pod of 0"):
        CPU_POOL.on_gpus(4)
    assert any("64 cpu, 768.0 GiB memory" in text for text in bad(replace(GOOD, nodes=(node("a", cpu="8"),)), eight))


def test_an_unreachable_server_is_one_clear_error():
    from kubernetes import client

    with client.ApiClient(client.Configuration(host="http://127.0.0.1:9")) as transport:
        transport.configuration.retries = False
        with pytest.raises(ClusterError, match="the Kubernetes API server does not answer"):
            check_cluster(KubeApi(transport))
