"""`python -m tasks.cluster`, run with a real Prefect server and an API server over HTTP."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.deployments.steps.core import run_steps
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Pending, Running
from things import NAMESPACE, job, node, pod

from tasks.cluster.__main__ import main
from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.pools import ensure_pool, pause_pool
from tasks.cluster.sweep import Patience
from tasks.cluster.sweep_round import sweep
from tasks.errors import ConfigError
from tasks.farm_setup.apply import Wanted, _pool

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
POOLS = ("farm-cpu", "farm-gpu")


@flow(name="stand-in")
async def stand_in():
    """Serves only to own flow runs."""


@pytest.fixture
def command(prefect_url, capsys):
    """Runs one command in this process, against the test's own Prefect server; returns its code and its output."""

    def run(*arguments, kubeconfig=None):
        named = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
        with temporary_settings({PREFECT_API_URL: prefect_url}):
            code = main([*arguments, *named])
        out, err = capsys.readouterr()
        return code, (out + err).strip()

    return run


def run_in_prefect(url, scene):
    async def enter():
        async with PrefectClient(url) as client:
            return await scene(client)

    return asyncio.run(enter())


async def make_run(client, name, state):
    await ensure_pool(client, "farm-gpu", base_job_template(GPU_POOL))
    flow_id = await client.create_flow(stand_in)
    deployment = await client.create_deployment(flow_id, f"segment-{name}-{uuid4().hex[:6]}", work_pool_name="farm-gpu")
    run = await client.create_flow_run_from_deployment(deployment, name=name)
    await client.set_flow_run_state(run.id, state, force=True)
    return run.id


def test_the_pool_command_makes_the_pool_and_keeps_what_people_set(prefect_url, command, tmp_path):
    code, text = command("templates", "--folder", str(tmp_path))
    assert code == 0, text
    template = tmp_path / "farm-cpu.json"

    async def by_hand(client):
        await client.update_work_pool("farm-cpu", WorkPoolUpdate(is_paused=True, concurrency_limit=7))
        assert await ensure_pool(client, "farm-cpu", json.loads(template.read_text())) == "unchanged"
        changed = base_job_template(GPU_POOL)
        assert await ensure_pool(client, "farm-cpu", changed) == "updated"
        pool = await client.read_work_pool("farm-cpu")
        assert (pool.is_paused, pool.concurrency_limit, pool.base_job_template) == (True, 7, changed)
        assert await pause_pool(client, "farm-cpu", False) is True
        assert await pause_pool(client, "farm-cpu", False) is False

    code, text = command("pool", "farm-cpu", "--template", str(template))
    assert (code, text) == (0, "farm-cpu: created")
    run_in_prefect(prefect_url, by_hand)


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
        looked = await sweep(client, api, NAMESPACE, POOLS, apply=False, now=now)
        assert len(apiserver.names(JOBS)) == 5
        acted = await sweep(client, api, NAMESPACE, POOLS, apply=True, now=now)
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
    acted = run_in_prefect(prefect_url, lambda client: sweep(client, api, NAMESPACE, POOLS, apply=True, now=1.8e9))
    assert any(verdict.jobs == ("left-over",) for verdict in acted)
    assert apiserver.names(JOBS) == []


def test_the_commands_work_end_to_end_with_a_kubeconfig(prefect_url, command, apiserver, tmp_path):
    kubeconfig = apiserver.kubeconfig(tmp_path / "kubeconfig")
    run_in_prefect(prefect_url, lambda client: ensure_pool(client, "farm-gpu", base_job_template(GPU_POOL)))
    for thing in (node("gpu-1"), node("gpu-2")):
        apiserver.put("/api/v1/nodes", thing)
    apiserver.put(PODS, pod("running", phase="Running", node="gpu-1"))

    def paused():
        return run_in_prefect(prefect_url, lambda client: client.read_work_pool("farm-gpu")).is_paused

    code, text = command("drain", "--evict", "--wait-seconds=60", kubeconfig=kubeconfig)
    assert code == 0, text
    assert "paused farm-gpu; cordoned gpu-1, gpu-2" in text
    assert "2 nodes are empty" in text
    assert paused()
    code, text = command("undrain", kubeconfig=kubeconfig)
    assert (code, text) == (0, "opened gpu-1, gpu-2")
    assert not paused()
    assert {token for _, _, token in apiserver.requests} == {"Bearer secret-token"}


def test_setting_the_farm_up_leaves_a_pool_with_the_template_that_its_worker_gave_it(prefect_url):
    ours = base_job_template(replace(GPU_POOL, image="registry.example.com/renderer:9"))

    async def scene(client):
        await ensure_pool(client, "farm-gpu", ours)
        assert await _pool(client, "farm-gpu", Wanted("kubernetes")) == "unchanged"
        assert (await client.read_work_pool("farm-gpu")).base_job_template == ours
        with pytest.raises(ConfigError, match="is of type kubernetes"):
            await _pool(client, "farm-gpu", Wanted("process"))

    run_in_prefect(prefect_url, scene)


def test_preflight_ends_with_one_when_something_is_missing(command, apiserver, tmp_path):
    kubeconfig = apiserver.kubeconfig(tmp_path / "kubeconfig")
    code, text = command("preflight", "--weights-digest", "ab" * 32, kubeconfig=kubeconfig)
    assert code == 1
    assert "weights-abababababababab: no such volume claim" in text


def test_without_a_cluster_there_is_one_sentence(command, tmp_path):
    code, text = command("preflight", kubeconfig=tmp_path / "none")
    assert code == 1
    assert "set KUBECONFIG or run inside a pod" in text


def test_a_run_stands_where_its_own_environment_says(prefect_url, tmp_path, monkeypatch):
    pull = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["pull"]
    monkeypatch.chdir(tmp_path)  # and back again afterwards
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("FARM_WORKDIR", str(tmp_path / "scratch"))
    with temporary_settings({PREFECT_API_URL: prefect_url}):
        asyncio.run(run_steps(pull))
    assert Path.cwd() == tmp_path / "scratch"
