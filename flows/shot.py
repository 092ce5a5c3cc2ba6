"""One shot's picture on one pod."""

from prefect import flow

from tasks.stand_in_line import asked_for
from tasks.steps import finish_shot as decode


@flow(name="shot", flow_run_name="{episode} {shot}", retries=0)
def finish_shot(episode: str, order: str, shot: str, store: str = "", database: str = "") -> str:
    """Decode, check and encode a shot whose segments are done; return its picture's key."""
    return decode(order, shot, store, database, person=asked_for())
