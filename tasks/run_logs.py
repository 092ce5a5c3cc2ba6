"""What a segment's run has logged, newest run first, oldest line first."""

import time
from collections.abc import Callable, Iterator
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from tasks.runs import Run, find_runs

PAGE = 200
FOLLOW_SECONDS = 2.0


def segment_logs(
    episode: str,
    shot: str,
    segment: int,
    follow: bool,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[str]:
    """Yield what a segment's newest run has logged; `follow`: go on until a run has ended and has no more to say.

    `tell` hears, once, that there is no run.
    """
    run: Run | None = None
    seen, told_its_end, told_nobody = 0, False, False
    while True:
        newest = run_of(episode, shot, segment)
        if newest is None and not told_nobody:
            tell("no run of it yet, waiting for one; Ctrl-C ends that" if follow else "no run of it on this server")
            told_nobody = True
        if newest and run and newest.id != run.id:
            seen, told_its_end = 0, False
        run = newest
        lines = logs_of(run.id, seen) if run else []
        yield from lines
        seen += len(lines)
        ended = run is not None and not run.moving
        if not follow or (ended and told_its_end and not lines):  # the last lines arrive after the last state
            return
        told_its_end = ended
        sleep(FOLLOW_SECONDS)


def run_of(episode: str, shot: str, segment: int) -> Run | None:
    """Return the newest run of a segment, None when there was none."""
    runs = find_runs(["segment"], names=[f"{episode} {shot} {segment}"])
    return max(runs, key=lambda run: run.since, default=None)


def logs_of(run: UUID, seen: int = 0) -> list[str]:
    """Return a run's log lines in the order of their time, without the first `seen`."""
    lines: list[str] = []
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=PAGE, offset=seen + len(lines)
            )
            lines += [f"{entry.timestamp:%H:%M:%S} {entry.message}" for entry in page]
            if len(page) < PAGE:
                return lines
