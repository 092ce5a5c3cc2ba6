"""What a run says to Prefect about itself: who asked for it, and that it will come back."""

from typing import Any, Never
from uuid import UUID

from prefect import get_client
from prefect.exceptions import Pause
from prefect.runtime import deployment, flow_run
from prefect.states import AwaitingRetry

from tasks.runs import OURS, asked_by_a_person, later

BACK_SECONDS = 15.0  # others get the worker first


def asked_for() -> bool:
    """Say whether a person asked for this start of the run: then what failed before is forgiven."""
    count = flow_run.run_count or 0
    return bool(flow_run.id) and count > 1 and asked_by_a_person(UUID(str(flow_run.id)))


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
