"""`farm setup`, `status`, `retry`, `waive`, `logs`, `fsck`: running the farm."""

import asyncio
import getpass
import os
import time
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Literal

import typer
from rich.table import Table

from farm.commands.planning import AsJson, StoreUrl
from farm.output import Exit, Output
from tasks.overview import Overview, overview, segment_named
from tasks.pod import open_pod
from tasks.settings import settings
from tasks.work import segment_item

Episode = Annotated[str, typer.Argument(help="Episode id, as in the manifest.")]
Segment = Annotated[str, typer.Argument(help="EPISODE/SHOT/INDEX as `farm status EPISODE` lists them.")]
Server = Annotated[str, typer.Option(help="Prefect API address; empty: no server is asked.", envvar="PREFECT_API_URL")]
Why = Annotated[str, typer.Option(help="Reason, for the audit trail.")]


class Ended(StrEnum):
    """How a segment came to need a person."""

    FAILED = "failed"
    CRASHED = "crashed"
    REJECTED = "rejected"
    WAIVED = "waived"


def mount(app: typer.Typer) -> None:
    """Add the commands that run the farm."""
    for name, command in (
        ("setup", setup),
        ("status", status),
        ("retry", retry),
        ("waive", waive),
        ("logs", logs),
        ("fsck", fsck),
        ("reconcile", reconcile),
    ):
        app.command(name)(command)


def setup(
    server: Server = "http://127.0.0.1:4200/api",
    pool: Annotated[Literal["process", "kubernetes"], typer.Option(help="What the work pools start.")] = "process",
    gpu_slots: Annotated[int, typer.Option(min=0, help="Segments at the same time; 0: no limit.")] = 0,
    cpu_slots: Annotated[int, typer.Option(min=0, help="Episodes at the same time; 0: no limit.")] = 0,
    notify: Annotated[str, typer.Option(help="Webhook (Slack-style) that hears of finished episodes.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make pools, queues, limits, deployments and automations in Prefect; again: changes nothing."""
    os.environ["PREFECT_API_URL"] = server
    from tasks.farm_setup.apply import Wanted, set_up

    console = Output(as_json)
    done = asyncio.run(set_up(Wanted(pool, {"farm-gpu": gpu_slots, "farm-cpu": cpu_slots}, notify)))
    for name, state in done.items():
        console.show(f"{name}: {state}")
    console.result(done)


def status(
    episode: Annotated[str, typer.Argument(help="Episode id; none: a line for each.")] = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show where an episode stands: segments, steps, attempts, time left, hours useful and wasted, cost."""
    console = Output(as_json)
    with open_pod(store) as pod:
        names = [episode] if episode else sorted({entry.name for entry in pod.ledger.episodes()})
        found = [overview(pod, name, settings().usd_per_gpu_hour) for name in names]
    console.result({"episodes": [asdict(one) for one in found]})
    for one in found:
        if episode:
            console.show(_segments_table(one))
            console.show(_costs_table(one))
        console.show(_summary(one))


def retry(
    episode: Episode,
    shot: Annotated[str, typer.Option(help="Only this shot.")] = "",
    segment: Annotated[int | None, typer.Option(help="Only this segment of the shot.")] = None,
    state: Annotated[
        list[Ended] | None,
        typer.Option(help="Only these; default: the first three."),
    ] = None,
    server: Server = "",
    why: Why = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Forgive what failed and queue it again; a closed-off episode's breaker closes too."""
    if segment is not None and not shot:
        raise typer.BadParameter("--segment needs --shot")
    if server:
        os.environ["PREFECT_API_URL"] = server
    from tasks.retry_runs import retry as carry_out

    console = Output(as_json)
    states = [str(one) for one in state or (Ended.FAILED, Ended.CRASHED, Ended.REJECTED)]
    with open_pod(store) as pod:
        done = carry_out(pod, episode, shot, segment, states, getpass.getuser(), why, bool(server))
    console.show(f"forgiven: {', '.join(done.forgiven) or 'nothing had failed'}")
    console.show(f"queued: {', '.join(done.queued) or 'no run; start the episode again'}")
    console.result(asdict(done))


def waive(
    segment: Segment,
    how: Annotated[Literal["hold-last", "slate"], typer.Option("--with", help="What the film shows instead.")],
    why: Why = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Finish the film without a segment; `farm retry --state waived` takes that back. In the audit trail."""
    console = Output(as_json)
    with open_pod(store) as pod:
        _, shot, part = segment_named(pod, segment, as_planned=True)  # what beside another still has another name
        changed = pod.ledger.waive(segment_item(part), how, getpass.getuser(), why)
    others = len(shot.segments) - 1
    beside = f"; the shot's other {others} segments render beside a still" if others else ""
    console.show(f"{segment}: {how}{beside}")
    console.result({"segment": segment, "with": how, "changed": changed})


def logs(
    segment: Segment,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    server: Server = "http://127.0.0.1:4200/api",
    store: StoreUrl = "",
) -> None:
    """Show a segment's attempts and what its run has logged."""
    os.environ["PREFECT_API_URL"] = server
    from tasks.run_logs import segment_logs

    console = Output()
    with open_pod(store) as pod:
        _, shot, part = segment_named(pod, segment)
        for attempt in pod.ledger.attempts(segment_item(part)):
            console.show(f"attempt {attempt.number} of {attempt.worker}: {attempt.state} {attempt.message}")
    for line in segment_logs(segment.partition("/")[0], shot.id, part.index, follow):
        console.show(line)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes; do not read every object.")] = False,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Check that store and database tell one story: one winner each, every object there, the audit trail whole."""
    from tasks.fsck import audit

    console = Output(as_json)
    with open_pod(store) as pod:
        findings = audit(pod.store, pod.ledger, repair, read_objects=not quick)
    for finding in findings:
        console.show(f"{finding.rule}: {finding.subject}: {finding.message}{' (repaired)' if finding.repaired else ''}")
    left = sum(not finding.repaired for finding in findings)
    console.show(f"{len(findings)} findings, {left} left" if findings else "clean")
    console.result({"findings": [asdict(finding) for finding in findings], "left": left})
    if left:
        raise typer.Exit(Exit.RENDER_FAILED)


def reconcile(
    every: Annotated[float, typer.Option(min=0, help="Again after so many seconds; 0: once.")] = 0.0,
    server: Server = "",
    store: StoreUrl = "",
) -> None:
    """Put right what crashes and lost events left behind: in store and ledger, and in Prefect if there is a server.

    Prefect's own schedule of the reconcile deployment needs SQLAlchemy below 2.1 on its server; this needs nothing.
    """
    if server:
        os.environ["PREFECT_API_URL"] = server
    from tasks.rounds import reconcile_round

    console = Output()
    while True:
        for line in reconcile_round(store, settings().database_url, bool(server)):
            console.show(line)
        if not every:
            return
        time.sleep(every)


def _segments_table(one: Overview) -> Table:
    table = Table(title=f"episode {one.episode}")
    for column in ("shot", "segment", "state", "steps", "attempts", "useful s", "wasted s", "worker", "reason"):
        table.add_column(column)
    for line in one.lines:
        table.add_row(
            line.shot, str(line.segment), line.state, f"{line.steps}/{line.num_steps}", str(line.attempts),
            f"{line.useful_seconds:.1f}", f"{line.wasted_seconds:.1f}", line.worker, line.reason[:80],
        )  # fmt: skip
    return table


def _costs_table(one: Overview) -> Table:
    table = Table(title="hours on GPUs; on workers where there are none")
    for column in ("for", "useful", "wasted", "USD"):
        table.add_column(column, justify="left" if column == "for" else "right")
    for cost in one.costs:
        table.add_row(cost.what, f"{cost.useful_hours:.4f}", f"{cost.wasted_hours:.4f}", f"{cost.usd:.2f}")
    return table


def _summary(one: Overview) -> str:
    left = "" if one.film_done or one.seconds_left is None else f", about {one.seconds_left:.0f} s left"
    said = f"{one.episode}: {one.num_done}/{len(one.lines)} segments, {one.shots_done}/{one.num_shots} shots"
    said += f", film {'finished' if one.film_done else 'not finished'}{left}"
    return said + (f"; STOPPED: {one.breaker}" if one.breaker else "")
