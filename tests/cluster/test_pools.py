"""Setting a pool up: made once, brought up to date, and what people set by hand left alone."""

from dataclasses import replace

from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.states import Completed

from tasks.cluster.job_template import base_job_template
from tasks.cluster.pools import ensure_pool, pause_pool


def test_a_pool_is_created_then_unchanged_then_updated_and_stays_paused(ground, shape):
    name, template = f"{shape.pool}-other", base_job_template(shape)
    changed = base_job_template(replace(shape, cpu="200m"))

    async def scene(client):
        said = [await ensure_pool(client, name, template)]
        assert await pause_pool(client, name, True)
        await client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=7))
        said += [await ensure_pool(client, name, given) for given in (template, changed, changed)]
        return said, await client.read_work_pool(name)

    said, pool = ground.prefect(scene)
    assert said == ["created", "unchanged", "updated", "unchanged"]
    assert (pool.type, pool.is_paused, pool.concurrency_limit) == ("kubernetes", True, 7)
    assert pool.base_job_template == changed


def test_the_worker_makes_jobs_as_the_pools_template_says(ground, node, on_node, shape):
    run = ground.submit("as-the-pool-says", **on_node)
    pod = ground.running_pod(run)
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"] == shape.memory
    (job,) = ground.jobs(run)
    assert job["metadata"]["namespace"] == shape.namespace
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["template"]["spec"]["priorityClassName"] == shape.priority_class
    ground.set_state(run, Completed())
    node.finish(pod)
