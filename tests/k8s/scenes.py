"""Scenes against a real Prefect server: runs in a pool, in whichever state a test wants them."""

import asyncio
from uuid import uuid4

from prefect import flow
from prefect.client.orchestration import PrefectClient

from tasks.cluster.job_template import base_job_template
from tasks.cluster.pool_shape import GPU_POOL
from tasks.cluster.pools import ensure_pool


@flow(name="stand-in")
async def stand_in():
    """Serves only to own flow runs."""


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
