"""Make pools, queues, limits, deployments and automations in Prefect. Doing it again changes nothing."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from tasks.errors import ConfigError
from tasks.farm_setup.files import Deployment, read_automations, read_deployments

PoolKind = Literal["process", "kubernetes"]
WEBHOOK = "farm-notify"
RUSH = "rush"  # queue for what cannot wait; served before `default`


@dataclass(frozen=True)
class Wanted:
    """What the farm should look like. Slots: runs at the same time; 0 leaves the limit to the cluster."""

    kind: PoolKind = "process"
    slots: Mapping[str, int] | None = None  # pool -> runs at the same time
    notify: str = ""  # address that hears of finished and failed episodes
    # What a worker of a process pool starts for a run; "": what Prefect does by itself; None: what it starts already.
    run_command: str | None = None


async def set_up(wanted: Wanted) -> dict[str, str]:
    """Return for everything there should be whether it was created, updated or unchanged.

    Raises: ConfigError when the repository's files are wrong; httpx errors when there is no Prefect server.
    """
    deployments, pull = read_deployments()
    done: dict[str, str] = {}
    async with get_client() as client:
        for pool in sorted({one.pool for one in deployments}):
            done[f"pool {pool}"] = await _pool(client, pool, wanted)
            done[f"queue {pool}/{RUSH}"] = await _queue(client, pool)
        ids = {}
        for one in deployments:
            done[f"deployment {one.name}"], ids[one.name] = await _deployment(client, one, pull)
        for automation in read_automations():
            done[f"automation {automation['name']}"] = await _automation(client, automation, ids, wanted.notify)
    return done


async def _pool(client: PrefectClient, name: str, wanted: Wanted) -> str:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate

    if wanted.kind == "kubernetes":
        from tasks.cluster.job_template import base_job_template
        from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL
        from tasks.cluster.pools import ensure_pool

        try:  # a pool that is there has the template that its worker gave it: with this cluster's image and weights
            said = _same_kind(await client.read_work_pool(name), wanted.kind)
        except ObjectNotFound:
            shape = {pool.pool: pool for pool in (CPU_POOL, GPU_POOL)}[name]
            said = await ensure_pool(client, name, base_job_template(shape))
    else:
        try:
            said = _same_kind(await client.read_work_pool(name), wanted.kind)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # a busy server may have made it and lost its answer
                await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
            said = "created"
        command = wanted.run_command
        if command is not None and await _give_command(client, name, command) and said == "unchanged":
            said = "updated"
    limit = (wanted.slots or {}).get(name, 0) or None
    if limit and (await client.read_work_pool(name)).concurrency_limit != limit:
        await client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
        return "updated" if said == "unchanged" else said
    return said


async def _give_command(client: PrefectClient, name: str, command: str) -> bool:
    """Have the workers of a process pool start this for a run; False when they do already."""
    from prefect.client.schemas.actions import WorkPoolUpdate
    from prefect.workers.process import ProcessWorker

    pool = await client.read_work_pool(name)
    template = pool.base_job_template or ProcessWorker.get_default_base_job_template()
    given = template["variables"]["properties"]["command"]
    if given.get("default") == (command or None):
        return False
    given["default"] = command or None
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return True


def _same_kind(pool: WorkPool, kind: PoolKind) -> str:
    """Return `unchanged`. Raises: ConfigError when the pool is of another kind."""
    if pool.type != kind:
        raise ConfigError(f"pool {pool.name} is of type {pool.type}; delete it or run farm setup --pool {pool.type}")
    return "unchanged"


async def _queue(client: PrefectClient, pool: str) -> str:
    try:
        await client.read_work_queue_by_name(RUSH, work_pool_name=pool)
    except ObjectNotFound:
        with suppress(ObjectAlreadyExists):
            await client.create_work_queue(RUSH, work_pool_name=pool, priority=1)
        return "created"
    return "unchanged"


async def _deployment(client: PrefectClient, one: Deployment, pull: list[dict[str, Any]]) -> tuple[str, UUID]:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.callables import parameter_schema

    flow: Any = load_flow_from_entrypoint(one.entrypoint)
    before = await _find_deployment(client, f"{flow.name}/{one.name}")
    limit = one.concurrency or {}
    made = await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=one.name,
        entrypoint=one.entrypoint,
        description=one.description,
        parameters=one.parameters,
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        work_pool_name=one.pool,
        tags=list(one.tags),
        pull_steps=pull,
        concurrency_limit=limit.get("limit"),
        concurrency_options=ConcurrencyOptions(collision_strategy=limit["collision_strategy"]) if limit else None,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each["cron"], timezone=each.get("timezone", "UTC")), slug=f"{one.name}-{n}"
            )
            for n, each in enumerate(one.schedules)
        ],
    )
    after = await _find_deployment(client, f"{flow.name}/{one.name}")
    if before is None:
        return "created", made
    return ("unchanged" if before == after else "updated"), made


async def _find_deployment(client: PrefectClient, name: str) -> dict[str, Any] | None:
    """Return what of a deployment comes from the files; None when there is none."""
    try:
        found = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
    fields = {
        "entrypoint", "description", "parameters", "work_pool_name", "tags", "pull_steps", "parameter_openapi_schema",
        "concurrency_options",
    }  # fmt: skip
    facts = found.model_dump(mode="json", include=fields)
    facts["limit"] = found.global_concurrency_limit and found.global_concurrency_limit.limit
    return facts | {"schedules": [schedule.schedule.model_dump(mode="json") for schedule in found.schedules]}


async def _automation(client: PrefectClient, file: Mapping[str, Any], ids: Mapping[str, UUID], notify: str) -> str:
    from prefect.events.schemas.automations import AutomationCore

    if file.get("needs") == "notify" and not notify:
        return "left out: no address to notify"
    actions = [await _action(client, action, ids, notify) for action in file["actions"]]
    content = {key: value for key, value in file.items() if key not in ("needs", "actions")}
    wanted = AutomationCore.model_validate({**content, "actions": actions})
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return "created"
    if AutomationCore.model_validate(found[0].model_dump(exclude={"id"})) == wanted:
        return "unchanged"
    await client.update_automation(found[0].id, wanted)
    return "updated"


async def _action(
    client: PrefectClient, action: Mapping[str, Any], ids: Mapping[str, UUID], notify: str
) -> dict[str, Any]:
    """Return an action with the names that the file uses replaced by ids."""
    made = dict(action)
    if "deployment" in made:
        made |= {"source": "selected", "deployment_id": ids[str(made.pop("deployment")).partition("/")[2]]}
    if made["type"] == "call-webhook":
        made["block_document_id"] = await _webhook(client, notify)
    return made


async def _webhook(client: PrefectClient, address: str) -> UUID:
    from prefect.blocks.webhook import Webhook

    block = Webhook(method="POST", url=address, headers={"Content-Type": "application/json"})
    made: UUID = await block.save(WEBHOOK, overwrite=True, client=client)
    return made
