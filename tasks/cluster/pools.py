"""The Prefect side of a pool: its template, its pause."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient


async def ensure_pool(prefect: "PrefectClient", name: str, template: dict[str, Any]) -> str:
    """Make a Kubernetes work pool, or give it this template; its pause and limits stay as people set them.

    Return `created`, `updated` or `unchanged`.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    try:
        pool = await prefect.read_work_pool(name)
    except ObjectNotFound:
        await prefect.create_work_pool(WorkPoolCreate(name=name, type="kubernetes", base_job_template=template))
        return "created"
    if pool.base_job_template == template:
        return "unchanged"
    await prefect.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return "updated"


async def pause_pool(prefect: "PrefectClient", name: str, paused: bool) -> bool:
    """Pause or resume a work pool; return whether that changed anything."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    pool = await prefect.read_work_pool(name)
    if pool.is_paused == paused:
        return False
    await prefect.update_work_pool(name, WorkPoolUpdate(is_paused=paused))
    return True
