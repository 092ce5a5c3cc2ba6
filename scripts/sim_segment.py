"""The segment's flow with a renderer that renders nothing, for bench_dispatch.py, which registers it on its own server.

What the farm and Prefect do around a render is done as flows/segment.py and tasks/steps.py do it.
"""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE


@flow(name="segment", flow_run_name="{episode} {shot} {segment}", retries=0)
def render_segment(episode: str, order: str, shot: str, segment: int, store: str = "", database: str = "") -> str:
    """Publish a kilobyte as one segment of a shot; return its object's key."""
    from tasks.dashboard import show_segment
    from tasks.stand_in_line import wake_neighbours_if_retried

    wake_neighbours_if_retried()
    key = publish_segment(order, shot, segment, store, database)
    show_segment(order, shot, segment, store, database)
    return key


@task(name="segment", task_run_name="segment {shot} {segment}", cache_policy=NO_CACHE, persist_result=False)
def publish_segment(order: str, shot: str, segment: int, store: str, database: str) -> str:
    """Do what a segment's task does, but for the network: one step of one."""
    from db.records import Behalf
    from scripts.sim_worker import renderer
    from tasks.admission import require
    from tasks.give_way import StopNotice, give_way
    from tasks.pod import PATIENCE_SECONDS, open_pod
    from tasks.progress import watcher
    from tasks.run_progress import run_watcher
    from tasks.settings import settings
    from tasks.steps import find_shot
    from tasks.work import segment_item

    with open_pod(store, database, PATIENCE_SECONDS) as pod:
        plan, part = find_shot(pod, order, shot)
        one = part.segments[segment]
        item = segment_item(one)
        require(pod.ledger, item, plan.key)
        watch = run_watcher(f"steps-{plan.episode}-{shot}-{segment}", watcher.get())

        def render(stop: StopNotice) -> str:
            watch.advance("segment", shot, 0, 1)
            made = pod.publisher.publish(item, renderer(part, one), behalf=Behalf(plan.key, part.key), stop=stop)
            watch.advance("segment", shot, 1, 1)
            return made.pointer.object.key

        return give_way(render, settings().stop_seconds)
