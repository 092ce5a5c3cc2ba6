"""The episode, read top to bottom: segments, shot pictures, film."""

from typing import Literal

from prefect import flow


@flow(name="episode", flow_run_name="{episode}", retries=0)
def render_episode(
    episode: str,
    order: str,
    store: str = "",
    database: str = "",
    out: str = "",
    dispatch: Literal["inline", "deployments"] = "inline",
    pods: int = 1,
) -> str:
    """Render an ingested episode and return its film's key in the store.

    `order` is the key of its plan. `inline` renders here, long takes shared by `pods` processes; `deployments` gives
    every segment to a worker of the pool. What is done already is found, not rendered again.
    """
    from tasks import dashboard, steps  # torch is in there; deploying the flow needs none of it
    from tasks.dispatch import run_segments, run_shots

    plan = steps.open_order(order, store, database)
    dashboard.show_plan(plan)
    if dispatch == "deployments":
        run_segments(episode, order, store, database)
        run_shots(episode, order, store, database)
    else:
        for shot in plan.shots:
            steps.render_shot(order, shot.id, store, database, pods)
            steps.forgive_failures(order, shot.id, None, store, database, "rendered by a person")
            steps.finish_shot(order, shot.id, store, database)
    dashboard.show_segments(plan, store, database)
    film = steps.finish_film(order, store, database, out)
    dashboard.show_film(plan, film, store, out)
    return film
