"""One run ended out of turn: put it, or the episode that waits for it, back in the queue; or cancel its children."""

from prefect import flow


@flow(name="resume", flow_run_name="resume {run}", retries=0)
def resume_episode(run: str) -> str:
    """Start a crashed run again, or the failed episode of a run that came through at a later try; say what was done.

    A cancelled episode's children are cancelled.
    """
    from tasks.steps_rerun import look_after_run  # torch is in there; deploying the flow needs none of it

    return look_after_run(run)
