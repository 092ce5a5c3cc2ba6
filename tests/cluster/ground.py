"""What the cluster tests do to a cluster, in one place: their namespace, their runs, their waiting."""

import asyncio
import os
import time
import uuid
from dataclasses import dataclass

from prefect import flow
from prefect.client.orchestration import PrefectClient

from tasks.cluster.api import ClusterError, KubeApi
from tasks.cluster.job_template import POOL_LABEL
from tasks.cluster.sweep import RUN_LABEL, Patience
from tasks.cluster.sweep_round import sweep

IMAGE = os.environ.get("FARM_CLUSTER_IMAGE", "python:3.11-slim")
BAD_IMAGE = os.environ.get("FARM_CLUSTER_BAD_IMAGE", "registry.invalid/avatar-farm/none:0")
WAIT_SECONDS = float(os.environ.get("FARM_CLUSTER_WAIT", "300"))
POLL_SECONDS = 0.5
AT_ONCE = Patience(hopeless=0, pending=0, lost=0, orphan=0)


@flow(name="cluster-test")
async def stand_in():
    """Serves only to own flow runs."""


@dataclass(frozen=True)
class Ground:
    """One namespace of one cluster, one Prefect server, one pool whose worker puts Jobs there."""

    api: KubeApi
    namespace: str
    prefect_url: str
    pool: str
    wait_seconds: float

    def path(self, kind, name=""):
        group = "/apis/batch/v1" if kind == "jobs" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def prefect(self, scene):
        """Run `await scene(client)` against the server."""

        async def enter():
            async with PrefectClient(self.prefect_url) as client:
                return await scene(client)

        return asyncio.run(enter())

    def submit(self, name, **job_variables):
        """Create a flow run on the pool and return its id; the worker makes a Job of it."""

        async def scene(client):
            flow_id = await client.create_flow(stand_in)
            unique = f"{name}-{uuid.uuid4().hex[:6]}"
            deployment = await client.create_deployment(
                flow_id, unique, work_pool_name=self.pool, job_variables=job_variables
            )
            run = await client.create_flow_run_from_deployment(deployment, name=unique)
            return str(run.id)

        return self.prefect(scene)

    def state(self, run):
        return self.prefect(lambda client: client.read_flow_run(uuid.UUID(run))).state

    def set_state(self, run, state):
        self.prefect(lambda client: client.set_flow_run_state(uuid.UUID(run), state, force=True))

    def jobs(self, run):
        return list(self.api.list(self.path("jobs"), labels=f"{RUN_LABEL}={run}"))

    def pods(self, run):
        return list(self.api.list(self.path("pods"), labels=f"{RUN_LABEL}={run},{POOL_LABEL}={self.pool}"))

    def running_pod(self, run, *, other_than=""):
        """Wait until a pod of the run is Running and return it."""

        def look():
            return next((pod for pod in self.pods(run) if _runs(pod) and pod["metadata"]["uid"] != other_than), None)

        return self.wait(f"a running pod of {run}", look)

    def sweep(self, *, apply=True, patience=AT_ONCE):
        """Run one round of the sweeper over the pool, without patience."""
        return self.prefect(
            lambda client: sweep(client, self.api, self.namespace, (self.pool,), apply=apply, patience=patience)
        )

    def wait(self, what, look):
        """Return the first true answer of `look`."""
        end = time.monotonic() + self.wait_seconds
        while time.monotonic() < end:
            found = look()
            if found:
                return found
            time.sleep(POLL_SECONDS)  # a cluster has no other way to be waited for
        raise AssertionError(f"{what} did not come in {self.wait_seconds:.0f} s")


def _runs(pod):
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def make_namespace(api, name):
    """Make what a pod of the templates names: account, config map, secrets."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    create(api, "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    inside = f"/api/v1/namespaces/{name}"
    create(api, f"{inside}/serviceaccounts", {"kind": "ServiceAccount", "metadata": {"name": "farm-render"}})
    data = {"FARM_STORE": "file:///scratch/store"}
    create(api, f"{inside}/configmaps", {"kind": "ConfigMap", "metadata": {"name": "farm-runtime"}, "data": data})
    for secret, key in (("farm-runtime", "FARM_DATABASE"), ("prefect-auth", "auth-string")):
        body = {"kind": "Secret", "metadata": {"name": secret}, "stringData": {key: "sqlite:////scratch/farm.db"}}
        create(api, f"{inside}/secrets", body)


def make_priority_class(api, name, value):
    """Make a priority class if the cluster lacks it; return whether we did."""
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value}
    try:
        api.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body=body)
    except ClusterError as exc:
        if exc.status != 409:
            raise
        return False
    return True


def create(api, collection, body):
    return api.request("POST", collection, body={"apiVersion": "v1"} | body)
