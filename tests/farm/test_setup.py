"""`farm setup`, again: what it leaves alone, what it says."""

import asyncio
from dataclasses import replace

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import prefect_api

from tasks.farm_setup import apply
from tasks.farm_setup.apply import Wanted, set_up


@pytest.fixture(scope="module")
def server():
    with temporary_settings({PREFECT_API_URL: prefect_api("setup")}):
        yield


def command_of(pool):
    with get_client(sync_client=True) as client:
        template = client.read_work_pool(pool).base_job_template
    return template["variables"]["properties"]["command"].get("default")


def test_setting_up_again_leaves_the_warm_command_alone(server):
    asyncio.run(set_up(Wanted(run_command="warm")))
    done = asyncio.run(set_up(Wanted(notify="http://127.0.0.1:9/hook")))
    assert command_of("farm-gpu") == command_of("farm-cpu") == "warm" and done["pool farm-gpu"] == "unchanged"
    done = asyncio.run(set_up(Wanted(run_command="")))
    assert command_of("farm-gpu") is None and done["pool farm-gpu"] == "updated"


def test_a_changed_limit_of_a_deployment_is_said(server, monkeypatch):
    asyncio.run(set_up(Wanted()))
    deployments, pull = apply.read_deployments()
    changed = [replace(one, concurrency=one.concurrency and {**one.concurrency, "limit": 2}) for one in deployments]
    monkeypatch.setattr(apply, "read_deployments", lambda: (changed, pull))
    done = asyncio.run(set_up(Wanted()))
    assert done["deployment reconcile"] == "updated" and done["deployment resume"] == "unchanged"
