"""What a run says to Prefect about itself: who asked for it, and that it will come back."""

import logging
from typing import Any, Never
from uuid import UUID

from prefect import get_client
from prefect.exceptions import Pause
from prefect.runtime import deployment, flow_run
from prefect.states import AwaitingRetry

from tasks.rerun import wake_neighbours
from tasks.runs import OURS, asked_by_a_person, later

log = logging.getLogger(__name__)
BACK_SECONDS = 15.0  # others get the worker first


def asked_for() -> bool:
    """Say whether a person asked for this start of the run: then what failed before is forgiven."""
    count = flow_run.run_count or 0
    return bool(flow_run.id) and count > 1 and asked_by_a_person(UUID(str(flow_run.id)))


def wake_neighbours_if_retried() -> None:
    """Have the segments of this take that gave up on this one go on, when this is not its first start."""
    if flow_run.id and (flow_run.run_count or 0) > 1:
        woken = wake_neighbours(UUID(str(flow_run.id)))
        if woken:
            log.info("neighbours woken", extra={"runs": woken})


def stand_in_line_again(why: str) -> Never:
    """End this process without ending the run: it is scheduled again, behind the others.

    Raises: Pause, which is how Prefect's engine leaves without a final state; RuntimeError outside of a deployment.
    """
    if not deployment.id:
        raise RuntimeError(f"this run belongs to no deployment and cannot be scheduled again: {why}")
    state: Any = AwaitingRetry(scheduled_time=later(BACK_SECONDS), message=OURS + why)
    with get_client(sync_client=True) as client:
        answer = client.set_flow_run_state(UUID(str(flow_run.id)), state, force=True)
    raise Pause(why, state=answer.state)
