"""Draining empties the GPU nodes, leaves others' work alone, and can be undone."""

import pytest
from things import NAMESPACE, node, pod

from tasks.cluster.api import ClusterError
from tasks.cluster.drain import cordon, nodes_of, uncordon, wait_until_empty
from tasks.errors import ConfigError

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


@pytest.fixture
def cluster(apiserver):
    for thing in (node("gpu-1"), node("gpu-2", cordoned=True), node("gpu-3"), node("cpu-1", gpus=0)):
        apiserver.put("/api/v1/nodes", thing)
    for name, where, phase in (("a", "gpu-1", "Running"), ("b", "gpu-3", "Running"), ("c", "gpu-1", "Succeeded")):
        apiserver.put(PODS, pod(name, phase=phase, node=where))
    apiserver.put(PODS, pod("elsewhere", phase="Running", node="cpu-1"))
    return apiserver


def closed(server):
    nodes = server.objects["/api/v1/nodes"].values()
    return sorted(thing["metadata"]["name"] for thing in nodes if thing["spec"].get("unschedulable"))


def test_only_nodes_with_gpus_are_cordoned_and_only_ours_are_opened_again(cluster, api):
    nodes = nodes_of(api, "farm-gpu")
    assert nodes == ["gpu-1", "gpu-2", "gpu-3"]
    assert cordon(api, "farm-gpu", nodes) == ["gpu-1", "gpu-3"]
    assert cordon(api, "farm-gpu", nodes) == []
    assert closed(cluster) == ["gpu-1", "gpu-2", "gpu-3"]
    assert uncordon(api, "farm-gpu") == ["gpu-1", "gpu-3"]
    assert uncordon(api, "farm-gpu") == []
    assert closed(cluster) == ["gpu-2"]


def test_nodes_that_are_named_are_drained_whatever_they_have_left(cluster, api):
    broken = node("gpu-4", gpus=0)
    broken["status"]["allocatable"]["nvidia.com/gpu"] = "0"
    broken["metadata"]["labels"]["rack"] = "b"
    cluster.put("/api/v1/nodes", broken)
    assert nodes_of(api, "farm-gpu", "rack=b") == ["gpu-4"]
    assert nodes_of(api, "farm-cpu", "rack=b") == ["gpu-4"]
    assert "gpu-4" not in nodes_of(api, "farm-gpu")
    broken["status"]["capacity"] = {"nvidia.com/gpu": "8"}  # it has them; their driver is down
    assert "gpu-4" in nodes_of(api, "farm-gpu")


def test_a_pool_without_gpus_must_have_its_nodes_named_and_some_must_match(cluster, api):
    with pytest.raises(ConfigError, match="pool farm-cpu: its pods may stand on any node; name those to drain"):
        nodes_of(api, "farm-cpu")
    with pytest.raises(ConfigError, match="no node matches 'rack=none'"):
        nodes_of(api, "farm-gpu", "rack=none")
    for name in ("gpu-1", "gpu-2", "gpu-3"):
        cluster.delete("/api/v1/nodes", name)
    with pytest.raises(ConfigError, match=r"no node has nvidia\.com/gpu"):
        nodes_of(api, "farm-gpu")


def test_a_node_that_two_pools_drain_is_opened_with_the_second(cluster, api):
    assert cordon(api, "farm-gpu", ["gpu-1", "gpu-3"]) == ["gpu-1", "gpu-3"]
    assert cordon(api, "farm-cpu", ["gpu-1", "gpu-2", "cpu-1"]) == ["cpu-1"]
    assert uncordon(api, "farm-gpu") == ["gpu-3"]
    assert closed(cluster) == ["cpu-1", "gpu-1", "gpu-2"]
    assert uncordon(api, "farm-cpu") == ["cpu-1", "gpu-1"]
    assert closed(cluster) == ["gpu-2"]  # cordoned by somebody else before


def test_waiting_ends_when_the_pods_have_finished(cluster, api):
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        cluster.objects[PODS][["a-abcde", "b-abcde"][len(slept) - 1]]["status"]["phase"] = "Succeeded"

    left = wait_until_empty(
        api, NAMESPACE, "farm-gpu", ["gpu-1", "gpu-3"], wait_seconds=60, evicting=False, clock=lambda: 0.0, sleep=sleep
    )
    assert left == []
    assert len(slept) == 2


def test_waiting_gives_up_and_says_who_still_runs(cluster, api):
    clock = iter([0.0, 30.0, 61.0])
    left = wait_until_empty(
        api,
        NAMESPACE,
        "farm-gpu",
        ["gpu-1"],
        wait_seconds=60,
        evicting=False,
        clock=lambda: next(clock),
        sleep=lambda _: None,
    )
    assert left == ["a-abcde"]


def test_evicting_asks_until_the_disruption_budget_allows_it(cluster, api):
    cluster.blocked.add("b-abcde")

    def sleep(_):
        cluster.blocked.clear()

    left = wait_until_empty(
        api, NAMESPACE, "farm-gpu", ["gpu-1", "gpu-3"], wait_seconds=60, evicting=True, clock=lambda: 0.0, sleep=sleep
    )
    assert left == []
    assert cluster.names(PODS) == ["c-abcde", "elsewhere-abcde"]
    asked = [path for method, path, _ in cluster.requests if method == "POST"]
    assert [path.split("/")[-2] for path in asked] == ["a-abcde", "b-abcde", "b-abcde"]


def test_another_error_of_the_server_is_not_swallowed(cluster, api):
    with pytest.raises(ClusterError, match="404 gpu-9 not found") as raised:
        api.request("GET", "/api/v1/nodes/gpu-9")
    assert raised.value.status == 404
