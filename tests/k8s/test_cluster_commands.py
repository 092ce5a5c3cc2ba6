"""`python -m tasks.cluster`, run with a real Prefect server and an API server over HTTP."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.deployments.steps.core import run_steps
from prefect.settings import PREFECT_API_URL, temporary_settings
from scenes import run_in_prefect
from things import NAMESPACE, node, pod

from tasks.cluster.__main__ import main
from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.pools import ensure_pool, pause_pool
from tasks.errors import ConfigError
from tasks.farm_setup.apply import Wanted, _pool

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


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
    code, text = command("drain", "farm-cpu", kubeconfig=kubeconfig)
    assert code == 1 and "name those to drain with --nodes" in text
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
