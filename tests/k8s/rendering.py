"""Turn a pool's template into the Job that the server receives, through prefect_kubernetes itself."""

import asyncio
import copy
from functools import lru_cache
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Flow, FlowRun
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

FLOW_RUN_ID = UUID("11111111-2222-4333-8444-555555555555")
FLOW_ID = UUID("66666666-7777-4888-8999-000000000000")


def render(template: dict[str, Any], *, run_name: str = "e01-shot-03-segment-1", **values: Any) -> dict[str, Any]:
    """Return the manifest that the worker would send for one flow run."""
    return asyncio.run(_render(template, run_name, values))


@lru_cache(maxsize=1)
def _client() -> PrefectClient:
    return PrefectClient("http://127.0.0.1:9/api")  # asked only for block references, of which there are none


async def _render(template: dict[str, Any], run_name: str, values: dict[str, Any]) -> dict[str, Any]:
    configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(template, values, client=_client())
    run = FlowRun(id=FLOW_RUN_ID, flow_id=FLOW_ID, name=run_name)
    configuration.prepare_for_flow_run(run, flow=Flow(id=FLOW_ID, name="render-segment"), worker_name="worker-gpu")
    return configuration.job_manifest


def as_server_keeps_it(job: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest without the two fields that Prefect insists on and the API server drops."""
    kept = copy.deepcopy(job)
    for field in ("parallelism", "completions"):
        del kept["spec"]["template"]["spec"][field]
    return kept
