"""One round of the sweeper: read Prefect and the cluster, judge, act on what is still so."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from tasks.cluster.api import ClusterError, KubeApi
from tasks.cluster.diagnosis import finished
from tasks.cluster.job_template import POOL_LABEL
from tasks.cluster.sweep import PATIENCE, RUN_LABEL, Ground, Patience, RunFact, Verdict, jobs_by_run, judge

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

PAGE = 200  # Prefect's own limit for one answer


async def sweep(
    prefect: "PrefectClient",
    api: KubeApi,
    namespace: str,
    pools: tuple[str, ...],
    *,
    apply: bool,
    patience: Patience = PATIENCE,
    now: float | None = None,
) -> list[Verdict]:
    """Return the verdicts of one round; with `apply`, act on each whose run is still in the state that was judged.

    Nothing is concluded from silence: an error of either side ends the round before anything is touched.

    Raises: ClusterError, httpx.HTTPError.
    """
    paused = await _kubernetes_pools(prefect, pools)
    runs = {run.id: run for run in await _active_runs(prefect, paused)}
    ground = await asyncio.to_thread(read_ground, api, namespace)
    living = [job for job in ground.jobs if not finished(job)]  # a finished one, kept for a day, is nobody's orphan
    for run_id in set(jobs_by_run(living)) - set(runs):
        known = await _read_run(prefect, run_id)
        if known is not None:
            runs[run_id] = known
    moment = time.time() if now is None else now
    draining = frozenset(pool for pool, is_paused in paused.items() if is_paused)
    verdicts = judge(ground, runs, moment, patience=patience, paused=draining)
    return [v for v in verdicts if not apply or await _act(prefect, api, namespace, v)]


def read_ground(api: KubeApi, namespace: str) -> Ground:
    """Return the Jobs, pods and events of a namespace, and the cluster's nodes where we may read them."""
    try:
        nodes = tuple(api.list("/api/v1/nodes"))
    except ClusterError as exc:
        if exc.status != 403:
            raise
        nodes = ()
    return Ground(
        jobs=tuple(api.list(f"/apis/batch/v1/namespaces/{namespace}/jobs", labels=f"{RUN_LABEL},{POOL_LABEL}")),
        pods=tuple(api.list(f"/api/v1/namespaces/{namespace}/pods", labels=f"{RUN_LABEL},{POOL_LABEL}")),
        events=tuple(api.list(f"/api/v1/namespaces/{namespace}/events", fields="type=Warning")),
        nodes=nodes,
    )


async def _act(prefect: "PrefectClient", api: KubeApi, namespace: str, verdict: Verdict) -> bool:
    """Put one thing right: first the run's state, then its Jobs, so that a deletion cannot become the run's story."""
    from prefect.states import Crashed, Failed

    run = await _read_run(prefect, verdict.run_id)
    if (run.state_id if run else "") != verdict.state_id:
        return False
    if verdict.new_state:
        made = {"Failed": Failed, "Crashed": Crashed}[verdict.new_state]
        await prefect.set_flow_run_state(UUID(verdict.run_id), made(message=verdict.sentence))
    for job in verdict.jobs:
        await asyncio.to_thread(api.delete, f"/apis/batch/v1/namespaces/{namespace}/jobs/{job}")
    return True


async def _active_runs(prefect: "PrefectClient", pools: Iterable[str]) -> list[RunFact]:
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        WorkPoolFilter,
        WorkPoolFilterName,
    )
    from prefect.client.schemas.objects import StateType

    names = list(pools)
    states = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])
    found: list[RunFact] = []
    while names:
        page = await prefect.read_flow_runs(
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=states)),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=names)),
            limit=PAGE,
            offset=len(found),
        )
        found += [_fact(run) for run in page]
        if len(page) < PAGE:
            break
    return found


async def _read_run(prefect: "PrefectClient", run_id: str) -> RunFact | None:
    """Return one run, None when Prefect does not know it (or the label is no run's id at all)."""
    from prefect.exceptions import ObjectNotFound

    try:
        return _fact(await prefect.read_flow_run(UUID(run_id)))
    except (ObjectNotFound, ValueError):
        return None


async def _kubernetes_pools(prefect: "PrefectClient", pools: Iterable[str]) -> dict[str, bool]:
    """Return which pools put their runs on a cluster, and whether each is paused.

    The runs of a process pool of the same name have no Jobs, and are none of ours.
    """
    from prefect.exceptions import ObjectNotFound

    found = {}
    for name in pools:
        try:
            pool = await prefect.read_work_pool(name)
        except ObjectNotFound:
            continue  # no pool, so no run of it either
        if pool.type == "kubernetes":
            found[name] = pool.is_paused
    return found


def _fact(run: "FlowRun") -> RunFact:
    state = run.state
    if state is None:
        return RunFact(str(run.id), run.name, "SCHEDULED", "", 0.0, run.work_pool_name or "")
    since = state.timestamp.timestamp()
    return RunFact(str(run.id), run.name, state.type.value, str(state.id), since, run.work_pool_name or "")
