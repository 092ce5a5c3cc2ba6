"""What the suite against a real cluster stands on: its waiting, its nodes, its leaving, what it moves where."""

import ssl
import subprocess
from pathlib import Path

import ground as cluster_ground
import kubernetes_validate
import pytest
from fake_node import FakeNode, other_kubelet
from ground import end_namespace, wait
from shipped import RIGHTS, Place

from tasks.cluster.api import ClusterError, connect

ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/here/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def test_a_servers_hiccup_is_no_answer_yet(apiserver, api):
    apiserver.put("/api/v1/namespaces", {"metadata": {"name": "here"}})
    apiserver.hiccups += [429, 500, 504]
    assert wait("the namespace", lambda: api.get("/api/v1/namespaces/here"), seconds=20)
    assert apiserver.hiccups == []


def test_what_does_not_come_is_said_with_the_last_error(apiserver, api):
    apiserver.hiccups += [503] * 100
    with pytest.raises(AssertionError, match=r"the namespace did not come in 1 s; the last error: .* 503 a hiccup"):
        wait("the namespace", lambda: api.get("/api/v1/namespaces/here"), seconds=1)


def test_a_certificate_that_the_kubeconfig_says_not_to_check_is_no_failure(apiserver, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=nobody", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    apiserver.wrap(context)
    path = apiserver.kubeconfig(tmp_path / "kubeconfig")
    path.write_text(path.read_text().replace('"server"', '"insecure-skip-tls-verify": true, "server"'))
    assert connect(kubeconfig=str(path)).request("GET", "/version")["major"] == "1"


@pytest.mark.parametrize("status", [403, 404, 422])
def test_a_refusal_ends_the_waiting_at_once(apiserver, api, status):
    apiserver.hiccups += [status]
    with pytest.raises(ClusterError):
        wait("the node", lambda: api.request("GET", "/api/v1/nodes/none"), seconds=20)


def test_a_node_of_ours_is_in_a_zone_of_its_own(apiserver, api):
    with FakeNode(api, "here", group="pair-1") as first, FakeNode(api, "here") as other:
        labels = [api.get(node.path)["metadata"]["labels"] for node in (first, other)]
    for area in ("region", "zone"):
        assert [each[f"topology.kubernetes.io/{area}"] for each in labels] == ["pair-1", other.name]
    assert apiserver.names("/api/v1/nodes") == []


@pytest.mark.parametrize(
    ("player", "deed"),
    [
        (None, ""),
        ("runs pods", "its pod is Running"),
        ("beats for nodes", "its Ready says KubeletReady"),
        ("renews leases", "its lease is renewed"),
    ],
)
def test_another_kubelet_is_found_out(apiserver, api, player, deed):
    put = apiserver.put

    def put_and_play(collection, thing):
        made = put(collection, thing)
        if collection == PODS:
            made["status"] = {"phase": "Running" if player == "runs pods" else "Pending"}
            node = apiserver.objects["/api/v1/nodes"][made["spec"]["nodeName"]]
            if player == "beats for nodes":
                node["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
            if player == "renews leases":
                put(LEASES, {"metadata": {"name": made["spec"]["nodeName"]}})
        return made

    apiserver.put = put_and_play
    assert other_kubelet(api, "here", seconds=1) == deed
    assert apiserver.names(PODS) == apiserver.names("/api/v1/nodes") == []


def test_a_namespace_is_left_empty_and_one_that_stays_is_said(apiserver, api, monkeypatch):
    monkeypatch.setattr(cluster_ground, "LEAVE_SECONDS", 0)
    apiserver.put("/api/v1/namespaces", {"metadata": {"name": "here"}})
    apiserver.put(PODS, {"metadata": {"name": "held-by-a-node-without-kubelet"}})
    delete = apiserver.delete

    def delete_when_empty(collection, name):
        if collection == "/api/v1/namespaces" and not may_go:
            return None
        return delete(collection, name)

    apiserver.delete, may_go = delete_when_empty, []
    with pytest.raises(AssertionError, match="the end of namespace here did not come in 1 s"):
        end_namespace(api, "here", seconds=1)
    assert apiserver.names(PODS) == []
    may_go.append(True)
    end_namespace(api, "here", seconds=1)


def test_what_is_moved_is_valid_and_names_nothing_of_the_farms_own():
    place = Place("a-control", "a-render", "a")
    things = list(place.things(("Namespace", *RIGHTS, "ResourceQuota", "LimitRange")))
    things += [pod for overlay in ("local", "cloud", "kueue") for pod in place.pods(overlay)]
    assert len(things) > 30
    for thing in things:
        assert kubernetes_validate.validate(thing, "1.33", strict=True) == "1.33"
        metadata = thing["metadata"]
        assert metadata.get("namespace", "a-control") in ("a-control", "a-render")
        assert "namespace" in metadata or metadata["name"].startswith("a-")
        assert {subject["namespace"] for subject in thing.get("subjects", [])} <= {"a-control"}
    names = {(thing["kind"], thing["metadata"].get("name")) for thing in things}
    for thing in things:
        if "roleRef" in thing:
            assert (thing["roleRef"]["kind"], thing["roleRef"]["name"]) in names
        if thing["kind"] == "Pod":
            assert ("PriorityClass", thing["spec"]["priorityClassName"]) in names
            assert ("ServiceAccount", thing["spec"]["serviceAccountName"]) in names


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("test", "env -u KUBECONFIG .venv/bin/python -m pytest -n 2 --dist loadfile"),
        ("cluster-test", ".venv/bin/python -m pytest -n0 -m cluster tests/cluster"),
    ],
)
def test_only_the_cluster_target_touches_the_cluster_of_the_shell(target, line):
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert line in told.splitlines()
