"""One segment on one pod."""

from prefect import flow


@flow(name="segment", flow_run_name="{episode} {shot} {segment}", retries=0)
def render_segment(episode: str, order: str, shot: str, segment: int, store: str = "", database: str = "") -> str:
    """Render one segment of a shot, sharing its take with the other segments' pods; return its object's key."""
    from tasks.dashboard import show_segment
    from tasks.errors import Busy
    from tasks.exchange import Yielded  # torch is in there; deploying the flow needs none of it
    from tasks.stand_in_line import asked_for, stand_in_line_again, wake_neighbours_if_retried
    from tasks.steps import forgive_failures, render_segment_alone

    if asked_for():
        forgive_failures(order, shot, segment, store, database, "Retry pressed on its run")
    wake_neighbours_if_retried()
    try:
        key = render_segment_alone(order, shot, segment, store, database)
    except (Yielded, Busy) as later:  # a pod that died elsewhere holds its claim until the lease is over
        return stand_in_line_again(str(later))
    show_segment(order, shot, segment, store, database)
    return key
