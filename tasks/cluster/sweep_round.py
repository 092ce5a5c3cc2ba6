"""One round of the sweeper: read Prefect and the cluster, judge, act on what is still so."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from tasks.cluster.api import ClusterError, KubeApi, Object
from tasks.cluster.diagnosis import finished
from tasks.cluster.job_template import POOL_LABEL
from tasks.cluster.sweep import PATIENCE, RUN_LABEL, Ground, Patience, RunFact, Verdict, jobs_by_run, judge

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

PAGE = 200  # Prefect's own limit for one answer
LOOK_AGAIN_SECONDS = 30.0  # between two pods of one Job nothing may be there; the round itself has 170 s


async def sweep(
    prefect: "PrefectClient",
    api: KubeApi,
    namespace: str,
    pools: tuple[str, ...],
    *,
    apply: bool,
    patience: Patience = PATIENCE,
    now: float | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> list[Verdict]:
    """Return the verdicts of one round; with `apply`, act on each whose run is still in the state that was judged.

    Nothing is concluded from silence: an error of either side ends the round, and Jobs of pools that this Prefect does
    not know are not ours. A Job is stuck when two looks say so: one between an evicted pod and its successor is not.

    Raises: ClusterError, httpx.HTTPError.
    """
    paused = await _kubernetes_pools(prefect, pools)
    runs = {run.id: run for run in await _active_runs(prefect, paused)}

    async def look(moment: float) -> list[Verdict]:
        ground = _ours(await asyncio.to_thread(read_ground, api, namespace), frozenset(paused), runs)
        runs.update(await _named_by(prefect, ground, runs))
        draining = frozenset(pool for pool, is_paused in paused.items() if is_paused)
        return judge(ground, runs, moment, patience=patience, paused=draining)

    moment = time.time() if now is None else now
    verdicts = await look(moment)
    done = [v for v in verdicts if v.kind != "stuck" and (not apply or await _act(prefect, api, namespace, v))]
    if stuck := {_identity(v) for v in verdicts if v.kind == "stuck"}:
        await sleep(LOOK_AGAIN_SECONDS)
        again = [v for v in await look(moment + LOOK_AGAIN_SECONDS) if _identity(v) in stuck]
        done += [v for v in again if not apply or await _act(prefect, api, namespace, v)]
    return sorted(done, key=lambda verdict: verdict.run_id)


async def _named_by(prefect: "PrefectClient", ground: Ground, runs: Mapping[str, RunFact]) -> dict[str, RunFact]:
    """Return the runs that living Jobs name, that Prefect knows, and that are not among `runs`."""
    living = [job for job in ground.jobs if not finished(job)]  # a finished one, kept for a day, is nobody's orphan
    asked = {run_id: await _read_run(prefect, run_id) for run_id in set(jobs_by_run(living)) - set(runs)}
    return {run_id: known for run_id, known in asked.items() if known is not None}


def _identity(verdict: Verdict) -> Verdict:
    """Return what two looks must agree on: everything but the sentence, which counts seconds."""
    return replace(verdict, sentence="")


def _ours(ground: Ground, pools: frozenset[str], runs: Mapping[str, RunFact]) -> Ground:
    """Return the ground without the Jobs of pools that this Prefect does not know: other farms' own, or all of them
    when whoever answers is no Prefect.
    """

    def is_ours(job: Object) -> bool:
        labels = job["metadata"]["labels"]
        return labels[POOL_LABEL] in pools or labels[RUN_LABEL] in runs

    return replace(ground, jobs=tuple(job for job in ground.jobs if is_ours(job)))


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
