"""What a segment's run has logged, newest run first, oldest line first."""

from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

from tasks.runs import Run, find_runs

PAGE = 200


def run_of(episode: str, shot: str, segment: int) -> Run | None:
    """Return the newest run of a segment, None when there was none."""
    wanted = (episode, shot, segment)
    runs = [run for run in find_runs(["segment"]) if _what(run) == wanted]
    return max(runs, key=lambda run: run.since, default=None)


def logs_of(run: UUID) -> list[str]:
    """Return a run's log lines in the order of their time."""
    lines: list[str] = []
    with get_client(sync_client=True) as client:
        while True:
            page = client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=PAGE, offset=len(lines)
            )
            lines += [f"{entry.timestamp:%H:%M:%S} {entry.message}" for entry in page]
            if len(page) < PAGE:
                return lines


def _what(run: Run) -> tuple[object, object, object]:
    return tuple(run.parameters.get(name) for name in ("episode", "shot", "segment"))  # type: ignore[return-value]
