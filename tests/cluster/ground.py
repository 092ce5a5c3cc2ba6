"""What the cluster tests do to a cluster, in one place: their namespace, their runs, their waiting."""

import asyncio
import os
import time
import uuid
from dataclasses import dataclass

from fake_node import PASSING, remove
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
LEAVE_SECONDS = 20.0
AT_ONCE = Patience(hopeless=0, pending=0, lost=0, orphan=0)


@flow(name="cluster-test")
async def stand_in():
    """Serves only to own flow runs."""


@dataclass(frozen=True)
class Ground:
    """One namespace of one cluster, one Prefect server, one pool whose worker puts Jobs there."""

    api: KubeApi  # with the rights of whoever runs the suite
    sweeper: KubeApi  # with those that the base gives the sweeper
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
        """Run one round of the sweeper over the pool, with its own rights and without patience."""
        options = {"apply": apply, "patience": patience, "sleep": _at_once}
        return self.prefect(lambda client: sweep(client, self.sweeper, self.namespace, (self.pool,), **options))

    def wait(self, what, look):
        """Return the first true answer of `look`."""
        return wait(what, look, self.wait_seconds)


def wait(what, look, seconds=WAIT_SECONDS):
    """Return the first true answer of `look`; an API server that is busy for a moment has not answered yet."""
    end, last = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            found = look()
        except ClusterError as exc:
            if exc.status == 404 or exc.status not in PASSING:
                raise
            found, last = None, f"; the last error: {exc}"
        if found:
            return found
        time.sleep(POLL_SECONDS)  # a cluster has no other way to be waited for
    raise AssertionError(f"{what} did not come in {seconds:.0f} s{last}")


async def _at_once(_seconds):
    """Looks again without waiting."""


def _runs(pod):
    return pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]


def make_namespace(api, name):
    """Make what a pod of the templates names, but for its account: config map, secrets."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    create(api, "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    inside = f"/api/v1/namespaces/{name}"
    data = {"FARM_STORE": "file:///scratch/store"}
    create(api, f"{inside}/configmaps", {"kind": "ConfigMap", "metadata": {"name": "farm-runtime"}, "data": data})
    for secret, key in (("farm-runtime", "FARM_DATABASE"), ("prefect-auth", "auth-string")):
        body = {"kind": "Secret", "metadata": {"name": secret}, "stringData": {key: "sqlite:////scratch/farm.db"}}
        create(api, f"{inside}/secrets", body)


def end_namespace(api, name, seconds=WAIT_SECONDS):
    """Delete a namespace and wait until it is gone: the next run, or the end of the cluster, finds it clean.

    Pods that no kubelet takes leave of are removed by force once a real one would have done so.
    """
    path, begun = f"/api/v1/namespaces/{name}", time.monotonic()
    api.delete(path)

    def gone():
        if time.monotonic() - begun > LEAVE_SECONDS:
            for pod in api.list(f"{path}/pods"):
                remove(api, f"{path}/pods/{pod['metadata']['name']}")
        return api.get(path) is None

    wait(f"the end of namespace {name}", gone, seconds)


def create(api, collection, body):
    return api.request("POST", collection, body={"apiVersion": "v1"} | body)
