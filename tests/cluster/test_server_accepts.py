"""A real API server takes every manifest of ours, in its strictest mode, without keeping any."""

import json

import pytest
from kustomize import build
from rendering import as_server_keeps_it, render
from shipped import COLLECTIONS, DIGEST, OVERLAYS, SHAPES, STRICT

from tasks.cluster.api import ClusterError
from tasks.cluster.facts import read_facts
from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.preflight import needed_permissions, preflight
from tasks.cluster.weights_volume import claim_manifests


def offer(kube, namespace, manifest):
    """Have the server judge a manifest as if it were made in the test's namespace; return what it would keep."""
    moved = json.loads(json.dumps(manifest))
    if "namespace" in moved["metadata"]:
        moved["metadata"]["namespace"] = namespace
    moved["metadata"] = {key: value for key, value in moved["metadata"].items() if key != "uid"}
    path = COLLECTIONS[moved["kind"]].format(namespace)
    try:
        return kube.request("POST", path, query=STRICT, body=moved)
    except ClusterError as exc:
        if exc.status != 409:  # there already, so it was acceptable
            raise
        return moved


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_job_of_every_pool(kube, namespace, shape):
    kept = offer(kube, namespace, as_server_keeps_it(render(base_job_template(shape), run_name="x" * 200)))
    assert len(kept["metadata"]["name"]) <= 57  # six more for the pod
    assert kept["spec"]["podReplacementPolicy"] == "Failed"


@pytest.mark.parametrize("overlay", ["local", "cloud", "kueue"])
def test_every_object_of_every_overlay(kube, namespace, overlay):
    ours = [thing for thing in build(OVERLAYS / overlay) if "kueue" not in thing["apiVersion"]]
    assert len(ours) > 20
    for thing in ours:
        offer(kube, namespace, thing)


def test_claim_and_filling_job_of_weights(kube, namespace):
    for manifest in claim_manifests(DIGEST, "200Gi", "shared"):
        offer(kube, namespace, manifest)


def test_the_server_refuses_what_our_rules_refuse(kube, namespace):
    job = as_server_keeps_it(render(base_job_template(GPU_POOL), gpus=1))
    for container in job["spec"]["template"]["spec"]["containers"]:
        container["resources"]["limits"]["nvidia.com/gpu"] = "500m"
    with pytest.raises(ClusterError) as refused:
        offer(kube, namespace, job)
    assert refused.value.status == 422


def test_preflight_reads_this_cluster_and_finds_the_gpu_node(ground, node, shape):
    def look():
        facts = read_facts(ground.api, ground.namespace, needed_permissions(ground.namespace, ground.namespace))
        return facts, [str(finding) for finding in preflight(facts, (shape,))]

    def room():  # pods of earlier tests may still be going
        return any(f"ok      {shape.pool}:" in text and "FAKE" in text for text in look()[1])

    ground.wait("room for a pod on the GPU node", room)
    facts, findings = look()
    assert facts.minor >= 31
    assert any("ok      configuration" in text for text in findings), findings
    assert not any(f"error   {shape.pool}" in text for text in findings), findings
    assert not any("denied to system:serviceaccount" in text for text in findings), findings
