"""A round of the sweeper, with a real Prefect server and an API server over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from kustomize import build
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Cancelled, Completed, Pending, Running
from scenes import make_run, run_in_prefect, stand_in
from things import NAMESPACE, event, job, node, pod

from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.pools import ensure_pool
from tasks.cluster.sweep import Patience
from tasks.cluster.sweep_round import LOOK_AGAIN_SECONDS, sweep

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
POOLS = ("farm-cpu", "farm-gpu")
SWEEPER = ("CronJob", "sweeper")


async def at_once(_seconds):
    """Looks again without waiting."""


def test_a_sweep_puts_right_what_prefect_cannot_see(prefect_url, apiserver, api):
    async def scene(client):
        runs = {
            "done": await make_run(client, "done", Completed()),
            "cancelled": await make_run(client, "cancelled", Cancelled()),
            "vanished": await make_run(client, "vanished", Running()),
            "stuck": await make_run(client, "stuck", Pending(name="InfrastructurePending")),
            "busy": await make_run(client, "busy", Running()),
        }
        now = (await client.read_flow_run(runs["busy"])).state.timestamp.timestamp() + 400
        for name in ("done", "cancelled", "stuck", "busy"):
            apiserver.put(JOBS, job(f"job-{name}", str(runs[name]), age=390, now=now))
        apiserver.put(JOBS, job("job-deleted", str(uuid4()), age=390, now=now))
        apiserver.put(PODS, pod("job-busy", age=390, phase="Running", now=now))
        apiserver.put(PODS, pod("job-stuck", age=390, waiting=("ErrImagePull", "not found"), now=now))
        apiserver.put("/api/v1/nodes", node("gpu-1"))
        looked = await sweep(client, api, NAMESPACE, POOLS, apply=False, now=now, sleep=at_once)
        assert len(apiserver.names(JOBS)) == 5
        acted = await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now, sleep=at_once)
        assert looked == acted
        states = {name: (await client.read_flow_run(run_id)).state for name, run_id in runs.items()}
        return acted, states, await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now)

    acted, states, again = run_in_prefect(prefect_url, scene)
    assert sorted(verdict.kind for verdict in acted) == ["lost", "orphan", "orphan", "orphan", "stuck"]
    assert apiserver.names(JOBS) == ["job-busy"]
    assert states["vanished"].is_crashed()
    assert "it has no Job" in states["vanished"].message
    assert states["stuck"].is_failed()
    assert "image farm/renderer:1 cannot be pulled: ErrImagePull not found" in states["stuck"].message
    assert states["busy"].is_running()
    assert again == []


def test_a_run_that_moves_between_judging_and_acting_is_left_alone(prefect_url, apiserver, api):
    async def scene(client):
        run_id = await make_run(client, "moves", Running())
        moment = (await client.read_flow_run(run_id)).state.timestamp.timestamp() + 400
        read = api.list

        def list_and_move(path, **options):
            if path == "/api/v1/nodes":  # after the runs are read, before anything is judged
                run_in_prefect(prefect_url, lambda other: other.set_flow_run_state(run_id, Completed(), force=True))
            return read(path, **options)

        api.list = list_and_move
        acted = await sweep(client, api, NAMESPACE, POOLS, apply=True, now=moment)
        return run_id, acted, (await client.read_flow_run(run_id)).state

    run_id, acted, state = run_in_prefect(prefect_url, scene)
    assert str(run_id) not in {verdict.run_id for verdict in acted}
    assert state.is_completed()


def test_runs_of_a_process_pool_are_none_of_the_sweepers(prefect_url, api):
    async def scene(client):
        await client.create_work_pool(WorkPoolCreate(name="desk", type="process"))
        flow_id = await client.create_flow(stand_in)
        deployment = await client.create_deployment(flow_id, "at-a-desk", work_pool_name="desk")
        run = await client.create_flow_run_from_deployment(deployment)
        await client.set_flow_run_state(run.id, Running(), force=True)
        acted = await sweep(client, api, NAMESPACE, ("desk", "no-such-pool"), apply=True, patience=Patience(lost=-1))
        return acted, (await client.read_flow_run(run.id)).state

    acted, state = run_in_prefect(prefect_url, scene)
    assert acted == []
    assert state.is_running()


def test_a_sweep_that_cannot_read_the_cluster_touches_nothing(prefect_url, apiserver, api):
    apiserver.denied.add(("nobody", "list", "jobs"))

    async def scene(client):
        run_id = await make_run(client, "safe", Running())
        with pytest.raises(Exception, match="403 jobs is forbidden"):
            await sweep(client, api, NAMESPACE, POOLS, apply=True, patience=Patience(lost=0))
        return (await client.read_flow_run(run_id)).state

    assert run_in_prefect(prefect_url, scene).is_running()


def test_without_the_right_to_see_nodes_a_sweep_still_works(prefect_url, apiserver, api):
    apiserver.denied.add(("nobody", "list", "nodes"))
    apiserver.put(JOBS, job("left-over", str(uuid4()), age=9e8))

    async def scene(client):
        await ensure_pool(client, "farm-gpu", base_job_template(GPU_POOL))
        return await sweep(client, api, NAMESPACE, POOLS, apply=True, now=1.8e9)

    acted = run_in_prefect(prefect_url, scene)
    assert any(verdict.jobs == ("left-over",) for verdict in acted)
    assert apiserver.names(JOBS) == []


@pytest.fixture
def no_prefect():
    """Address of a server that knows nothing, as an ingress's default backend or a wrong path."""

    class Nothing(BaseHTTPRequestHandler):
        def _refuse(self):
            self.send_error(404)

        do_GET = do_POST = _refuse

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_a_server_that_knows_nothing_costs_no_job_its_life(no_prefect, apiserver, api):
    for name in ("living", "living-too"):
        apiserver.put(JOBS, job(name, str(uuid4()), age=9e8))
    acted = run_in_prefect(no_prefect, lambda client: sweep(client, api, NAMESPACE, POOLS, apply=True, sleep=at_once))
    assert acted == []
    assert apiserver.names(JOBS) == ["living", "living-too"]


def test_jobs_of_a_pool_that_this_prefect_does_not_know_are_another_farms(prefect_url, apiserver, api):
    apiserver.put(JOBS, job("theirs", str(uuid4()), age=9e8, pool="another-farms-pool"))
    apiserver.put(JOBS, job("ours", str(uuid4()), age=9e8))

    async def scene(client):
        await ensure_pool(client, "farm-gpu", base_job_template(GPU_POOL))
        return await sweep(client, api, NAMESPACE, POOLS, apply=True, now=1.8e9)

    acted = run_in_prefect(prefect_url, scene)
    assert [verdict.jobs for verdict in acted if "unknown to Prefect" in verdict.sentence] == [("ours",)]
    assert apiserver.names(JOBS) == ["theirs"]


def test_a_run_of_ours_is_not_lost_while_its_job_bears_another_pools_label(prefect_url, apiserver, api):
    async def scene(client):
        run_id = await make_run(client, "relabelled", Running())
        now = (await client.read_flow_run(run_id)).state.timestamp.timestamp() + 400
        apiserver.put(JOBS, job("relabelled", str(run_id), age=390, pool="renamed-pool", now=now))
        apiserver.put(PODS, pod("relabelled", age=390, phase="Running", now=now))
        await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now)
        return (await client.read_flow_run(run_id)).state

    assert run_in_prefect(prefect_url, scene).is_running()


@pytest.mark.parametrize("between", ["no pod", "an old refusal", "an ended pod"])
def test_a_healthy_eviction_is_seen_twice_before_anything_is_judged(prefect_url, apiserver, api, between):
    """The segment has run for two hours, its pod was evicted, and the first look falls before the new pod is made."""

    async def scene(client):
        run_id = await make_run(client, "evicted", Running())
        now = (await client.read_flow_run(run_id)).state.timestamp.timestamp() + 7200
        apiserver.put(JOBS, job("evicted", str(run_id), age=7200, now=now))
        if between == "an old refusal":
            events = f"/api/v1/namespaces/{NAMESPACE}/events"
            apiserver.put(events, event("evicted", "FailedCreate", "exceeded quota: renderers"))
        if between == "an ended pod":
            apiserver.put(PODS, pod("evicted", age=7200, phase="Failed", now=now))
        slept = []

        async def and_then_the_new_pod(seconds):
            slept.append(seconds)
            apiserver.put(PODS, pod("evicted", age=0, now=now))

        acted = await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now, sleep=and_then_the_new_pod)
        return run_id, acted, slept, (await client.read_flow_run(run_id)).state

    run_id, acted, slept, state = run_in_prefect(prefect_url, scene)
    assert str(run_id) not in {verdict.run_id for verdict in acted}
    assert slept == [LOOK_AGAIN_SECONDS]
    assert state.is_running()
    assert apiserver.names(JOBS) == ["evicted"]


def test_what_two_looks_find_stuck_is_put_right(prefect_url, apiserver, api):
    async def scene(client):
        run_id = await make_run(client, "no-pod", Running())
        now = (await client.read_flow_run(run_id)).state.timestamp.timestamp() + 7200
        apiserver.put(JOBS, job("no-pod", str(run_id), age=7200, now=now))
        await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now, sleep=at_once)
        return (await client.read_flow_run(run_id)).state

    state = run_in_prefect(prefect_url, scene)
    assert state.is_crashed() and "has no pod" in state.message
    assert apiserver.names(JOBS) == []


def test_a_round_with_its_second_look_ends_before_the_cronjob_is_stopped():
    overlay = Path(__file__).parents[2] / "k8s" / "overlays" / "local"
    (sweeper,) = [thing for thing in build(overlay) if (thing["kind"], thing["metadata"]["name"]) == SWEEPER]
    assert sweeper["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] / 3 > LOOK_AGAIN_SECONDS
