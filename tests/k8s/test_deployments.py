"""prefect.yaml: every deployment is a flow that exists, on a pool that has a template, in module form."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect import Flow

from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL

TEXT = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())
DEPLOYMENTS = {deployment["name"]: deployment for deployment in TEXT["deployments"]}


def test_the_deployments_are_the_farms():
    pools = {name: deployment["work_pool"]["name"] for name, deployment in DEPLOYMENTS.items()}
    cpu, gpu = CPU_POOL.pool, GPU_POOL.pool
    assert pools == {"episode": cpu, "segment": gpu, "shot": gpu, "reconcile": cpu, "resume": cpu}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_entry_point_is_a_flow_and_takes_the_parameters(name):
    module, _, function = DEPLOYMENTS[name]["entrypoint"].rpartition(".")
    assert "/" not in module and ":" not in module
    flow = getattr(import_module(module), function)
    assert isinstance(flow, Flow)
    assert flow.retries == 0  # they share a counter with people's retries and with evictions
    parameters = DEPLOYMENTS[name].get("parameters", {})
    assert set(parameters) <= set(flow.parameters.properties)


def test_the_reconciler_runs_every_three_minutes_and_never_beside_itself():
    assert DEPLOYMENTS["reconcile"]["schedules"] == [{"cron": "*/3 * * * *", "timezone": "UTC"}]
    assert DEPLOYMENTS["reconcile"]["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
