"""One shot's picture on one pod."""

from prefect import flow


@flow(name="shot", flow_run_name="{episode} {shot}", retries=0)
def finish_shot(episode: str, order: str, shot: str, store: str = "", database: str = "") -> str:
    """Decode, check and encode a shot whose segments are done; return its picture's key."""
    from tasks import dashboard, steps  # torch is in there; deploying the flow needs none of it
    from tasks.errors import Busy
    from tasks.stand_in_line import asked_for, stand_in_line_again

    if asked_for():
        steps.forgive_failures(order, shot, None, store, database, "Retry pressed on its run")
    try:
        key = steps.finish_shot(order, shot, store, database)
    except Busy as busy:  # a pod that died elsewhere holds its claim until the lease is over
        return stand_in_line_again(str(busy))
    dashboard.show_shot(order, shot, store, database)
    return key
