"""Every overlay's network policies let through what the farm needs, and nothing else."""

from pathlib import Path

import pytest
from kustomize import build
from reach import Host, Pod, allowed

from tasks.cluster.job_template import POOL_LABEL

OVERLAYS = Path(__file__).parents[2] / "k8s" / "overlays"
CONTROL, RENDER = "avatar-farm", "avatar-farm-render"
overlays = pytest.mark.parametrize("overlay", ["local", "cloud", "kueue"])


def policies_of(overlay):
    return [thing for thing in build(OVERLAYS / overlay) if thing["kind"] == "NetworkPolicy"]


SERVER = Pod(CONTROL, {"app.kubernetes.io/name": "prefect-server"})
WORKER = Pod(CONTROL, {"app.kubernetes.io/name": "worker-gpu", "avatar-farm/role": "prefect-client"})
SWEEPER = Pod(CONTROL, {"app.kubernetes.io/name": "sweeper", "avatar-farm/role": "prefect-client"})
POSTGRES = Pod(CONTROL, {"app.kubernetes.io/name": "postgres"})
STORE = Pod(CONTROL, {"app.kubernetes.io/name": "object-store"})
RENDERER = Pod(RENDER, {POOL_LABEL: "farm-gpu"})
STRANGER = Pod("default", {POOL_LABEL: "farm-gpu", "avatar-farm/role": "prefect-client"})
INTRUDER = Pod(RENDER, {"app": "something-else"})
DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
INTERNET, DATABASE, METADATA = Host("93.184.216.34"), Host("10.3.4.5"), Host("169.254.169.254")
NODE_LOCAL_DNS = Host("169.254.20.10")

EVERYWHERE = {
    (RENDERER, SERVER, 4200): True,
    (WORKER, SERVER, 4200): True,
    (SWEEPER, SERVER, 4200): True,
    (WORKER, Host("10.96.0.1"), 443): True,
    (SWEEPER, Host("172.18.0.2"), 6443): True,
    (WORKER, Host("192.168.49.2"), 8443): True,  # minikube's API server
    (WORKER, Host("192.168.1.5"), 16443): True,  # MicroK8s's
    (RENDERER, RENDERER, 29500): False,
    (SERVER, RENDERER, 8080): False,
    (STRANGER, SERVER, 4200): False,
    (INTRUDER, SERVER, 4200): False,
    (INTRUDER, INTERNET, 443): False,
    (STRANGER, RENDERER, 4200): False,
    (INTERNET, SERVER, 4200): False,
    (INTERNET, RENDERER, 443): False,
    (SERVER, INTERNET, 443): False,
    (RENDERER, METADATA, 80): False,
    (RENDERER, METADATA, 443): False,
    (RENDERER, METADATA, 53): False,
    (RENDERER, INTERNET, 53): False,
    (WORKER, METADATA, 443): False,
    (RENDERER, INTERNET, 80): False,
    (RENDERER, Host("10.96.0.1"), 6443): False,
    (SWEEPER, POSTGRES, 5432): False,
}
IN_CLUSTER = {
    (SERVER, POSTGRES, 5432): True,
    (RENDERER, POSTGRES, 5432): True,
    (RENDERER, STORE, 9000): True,
    (SERVER, STORE, 9000): False,
    (STRANGER, POSTGRES, 5432): False,
    (RENDERER, INTERNET, 443): False,
}
MANAGED = {
    (SERVER, DATABASE, 5432): True,
    (RENDERER, DATABASE, 5432): True,
    (RENDERER, INTERNET, 443): True,
    (RENDERER, INTERNET, 5432): False,
}


@overlays
def test_the_network_lets_through_what_is_needed_and_nothing_else(overlay):
    policies = policies_of(overlay)
    table = EVERYWHERE | (IN_CLUSTER if overlay == "local" else MANAGED)
    for (source, target, port), wanted in table.items():
        assert allowed(policies, source, target, port) is wanted, (source, target, port)
    for pod in (SERVER, WORKER, SWEEPER, RENDERER, INTRUDER):
        for server in (DNS, NODE_LOCAL_DNS):
            assert allowed(policies, pod, server, 53, "UDP") and allowed(policies, pod, server, 53, "TCP")


@overlays
def test_each_namespace_denies_by_default(overlay):
    denies = [p for p in policies_of(overlay) if p["metadata"]["name"] == "default-deny"]
    assert {policy["metadata"]["namespace"] for policy in denies} == {CONTROL, RENDER}
    for policy in denies:
        assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
