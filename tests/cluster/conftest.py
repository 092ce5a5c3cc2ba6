"""The suite against a real cluster: whichever KUBECONFIG names, needing nothing in it but the right to change it.

    KUBECONFIG=... pytest -m cluster tests/cluster

FARM_CLUSTER_IMAGE: an image with Python 3 that real nodes can pull (python:3.11-slim).
FARM_CLUSTER_BAD_IMAGE: one that does not exist. FARM_CLUSTER_WAIT: longest wait for one thing, in seconds (300).

An API server, a scheduler and a controller manager are enough: nodes and what a kubelet does for pods come with the
tests (fake_node.py). Everything stands in a namespace of its own, named anew for every run, on nodes of its own; both
are gone afterwards.
"""

import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.cluster.api import connect
from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.pools import ensure_pool

sys.path.insert(0, str(Path(__file__).parents[1] / "k8s"))  # the helpers of both folders of tests
sys.path.insert(0, str(Path(__file__).parent))

from fake_node import LABEL, FakeNode, other_kubelet
from ground import BAD_IMAGE, IMAGE, WAIT_SECONDS, Ground, end_namespace, make_namespace
from prefect_process import prefect_server, process
from shipped import RIGHTS, Place, as_account, bring


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kube():
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("needs a Kubernetes cluster named by KUBECONFIG")
    return connect(kubeconfig=os.environ["KUBECONFIG"])


@pytest.fixture(scope="session")
def namespace(kube):
    """A namespace with the accounts and rights of the base, and priority classes of its own: other runs have theirs."""
    name = f"avatar-farm-test-{uuid.uuid4().hex[:8]}"
    outside = []
    try:
        make_namespace(kube, name)
        outside = bring(kube, Place(name, name, name).things(RIGHTS))
        yield name
    finally:
        for path in outside:
            kube.delete(path)
        end_namespace(kube, name)


@pytest.fixture(scope="session")
def shape(namespace):
    """A pool of its own: the worker's observer sees this session's Jobs and no others."""
    small = replace(GPU_POOL, cpu="100m", memory="256Mi", shm="64Mi", scratch="256Mi", image=IMAGE, grace_seconds=5)
    priority = f"{namespace}-{GPU_POOL.priority_class}"
    return replace(small, pool=f"farm-test-{namespace[-8:]}", namespace=namespace, priority_class=priority)


@pytest.fixture(scope="session")
def ground(kube, namespace, shape, tmp_path_factory):
    """The cluster with a Prefect server beside it and a real worker between them; the worker and the sweeper have the
    tokens of their own accounts, and so no right that the base does not give them.
    """
    folder = tmp_path_factory.mktemp("worker")
    sweeper = as_account(kube, namespace, "farm-sweeper", folder / "sweeper-kubeconfig")
    as_account(kube, namespace, "farm-worker", folder / "worker-kubeconfig")
    with prefect_server(tmp_path_factory.mktemp("server"), "--no-services", "--no-ui") as url:
        made = Ground(kube, sweeper, namespace, url, shape.pool, WAIT_SECONDS)
        made.prefect(lambda client: ensure_pool(client, shape.pool, base_job_template(shape)))
        observer = "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER"
        variables = {
            "KUBECONFIG": str(folder / "worker-kubeconfig"),
            "PREFECT_API_URL": url,
            f"{observer}_NAMESPACES": namespace,
            f"{observer}_ADDITIONAL_LABEL_FILTERS": f"avatar-farm/pool={shape.pool}",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        command = ["prefect", "worker", "start", f"--pool={shape.pool}", "--type=kubernetes", "--install-policy=never"]
        with process(command, folder, variables):
            yield made


@pytest.fixture(scope="session")
def alone(kube, namespace):
    """Nobody else does a kubelet's work on nodes of ours."""
    deed = other_kubelet(kube, namespace, wait_seconds=WAIT_SECONDS)
    if deed:
        sentence = f"somebody else plays kubelet on nodes labelled {LABEL} ({deed} while ours is silent); exclude them"
        pytest.fail(sentence, pytrace=False)


@pytest.fixture
def node(ground, alone):
    with FakeNode(ground.api, ground.namespace, bad_image=BAD_IMAGE, wait_seconds=WAIT_SECONDS) as made:
        yield made


@pytest.fixture
def on_node(node):
    """Job variables that send a pod to the test's own node."""
    return {"node_selector": {LABEL: node.group}}


@pytest.fixture
def two_nodes(ground, alone):
    group = f"pair-{uuid.uuid4().hex[:6]}"
    with (
        FakeNode(ground.api, ground.namespace, group=group, wait_seconds=WAIT_SECONDS) as first,
        FakeNode(ground.api, ground.namespace, group=group, wait_seconds=WAIT_SECONDS) as second,
    ):
        yield first, second
