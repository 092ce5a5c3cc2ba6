"""One shot's picture on one pod."""

from prefect import flow


@flow(name="shot", flow_run_name="{episode} {shot}", retries=0)
def finish_shot(episode: str, order: str, shot: str, store: str = "", database: str = "") -> str:
    """Decode, check and encode a shot whose segments are done; return its picture's key."""
    from tasks import steps  # torch is in there; deploying the flow needs none of it
    from tasks.stand_in_line import asked_for

    return steps.finish_shot(order, shot, store, database, person=asked_for())
