"""`farm setup`, `retry`, `waive`, `logs`, `fsck`, `reconcile`: running the farm."""

import asyncio
import getpass
import time
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Literal

import typer

from db.errors import AlreadyDone
from farm.commands.planning import AsJson, StoreUrl
from farm.output import Exit, Output
from farm.server import SERVER, Server, asking, to_ask
from tasks.errors import ConfigError, PermanentError
from tasks.overview import find_order, segment_named
from tasks.pod import Pod, open_pod
from tasks.pointer import FOLDER
from tasks.register import register
from tasks.settings import settings
from tasks.waivers import load_order
from tasks.work import segment_item

Episode = Annotated[str, typer.Argument(help="Episode id, as in the manifest.")]
Segment = Annotated[str, typer.Argument(help="EPISODE/SHOT/INDEX as `farm status EPISODE` lists them.")]
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
        ("retry", retry),
        ("waive", waive),
        ("logs", logs),
        ("fsck", fsck),
        ("reconcile", reconcile),
    ):
        app.command(name)(command)


def setup(
    server: Server = None,
    pool: Annotated[Literal["process", "kubernetes"], typer.Option(help="What the work pools start.")] = "process",
    gpu_slots: Annotated[int, typer.Option(min=0, help="Segments at the same time; 0: no limit.")] = 0,
    cpu_slots: Annotated[int, typer.Option(min=0, help="Episodes at the same time; 0: no limit.")] = 0,
    notify: Annotated[str, typer.Option(help="Webhook (Slack-style) that hears of finished episodes.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make pools, queues, limits, deployments and automations in Prefect; again: changes nothing."""
    console = Output(as_json)
    with asking(server or SERVER):
        from tasks.farm_setup.apply import Wanted, set_up

        done = asyncio.run(set_up(Wanted(pool, {"farm-gpu": gpu_slots, "farm-cpu": cpu_slots}, notify)))
    for name, state in done.items():
        console.show(f"{name}: {state}")
    console.result(done)


def retry(
    episode: Episode,
    shot: Annotated[str, typer.Option(help="Only this shot.")] = "",
    segment: Annotated[int | None, typer.Option(help="Only this segment of the shot.")] = None,
    state: Annotated[
        list[Ended] | None,
        typer.Option(help="Only these; default: the first three."),
    ] = None,
    server: Server = None,
    why: Why = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Forgive what failed and queue it again; a closed-off episode's breaker closes too.

    A server that is named must answer, or nothing is forgiven. Without one: forgive, and start the episode again.
    """
    if segment is not None and not shot:
        raise typer.BadParameter("--segment needs --shot")
    console, address = Output(as_json), to_ask(server)
    states = [str(one) for one in state or (Ended.FAILED, Ended.CRASHED, Ended.REJECTED)]
    with open_pod(store) as pod, asking(address) if address else nullcontext():
        from tasks.retry_runs import retry as carry_out

        done = carry_out(pod, episode, shot, segment, states, getpass.getuser(), why, bool(address))
    console.show(f"forgiven: {', '.join(done.forgiven) or 'nothing had failed'}")
    if address:
        console.show(f"queued: {', '.join(done.queued) or 'no run; start the episode again'}")
    else:
        why_not = "no Prefect server was to be asked" if server == "" else f"no Prefect server answers at {SERVER}"
        console.show(f"queued: nothing, {why_not}; start the episode again")
    if done.stopped:
        console.show(f"nothing of it will start: {done.stopped}")
    console.result(asdict(done))
    if done.stopped:
        raise typer.Exit(Exit.STOPPED)


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
        try:
            changed = pod.ledger.waive(segment_item(part), how, getpass.getuser(), why)
        except AlreadyDone as exc:
            raise PermanentError(f"segment {segment} is rendered; there is nothing to do without") from exc
        _, order = find_order(pod, segment.partition("/")[0])
        register(pod.ledger, load_order(pod, order), order)  # another film: what it costs is the same episode's
    others = len(shot.segments) - 1
    beside = f"; the shot's other {others} segments render beside a still" if others else ""
    console.show(f"{segment}: {how}{beside}")
    console.result({"segment": segment, "with": how, "changed": changed})


def logs(
    segment: Segment,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    server: Server = None,
    store: StoreUrl = "",
) -> None:
    """Show a segment's attempts and what its run has logged."""
    console, address = Output(), server or SERVER
    with open_pod(store) as pod:
        _, shot, part = segment_named(pod, segment)
        for attempt in pod.ledger.attempts(segment_item(part)):
            console.show(f"attempt {attempt.number} of {attempt.worker}: {attempt.state} {attempt.message}")
    with asking(address):
        from tasks.run_logs import segment_logs

        for line in segment_logs(segment.partition("/")[0], shot.id, part.index, follow, tell=console.say):
            console.show(line)


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what can be.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes; do not read every object.")] = False,
    store_lost: Annotated[
        bool, typer.Option("--store-lost", help="With --repair: the store is empty for good, render everything anew.")
    ] = False,
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Check that store and database tell one story: one winner each, every object there, the audit trail whole."""
    from tasks.fsck import audit

    console = Output(as_json)
    with open_pod(store) as pod:
        if repair and not store_lost:
            _refuse_another_store(pod)
        findings = audit(pod.store, pod.ledger, repair, read_objects=not quick)
    for finding in findings:
        console.show(f"{finding.rule}: {finding.subject}: {finding.message}{' (repaired)' if finding.repaired else ''}")
    left = sum(not finding.repaired for finding in findings)
    console.show(f"{len(findings)} findings, {left} left" if findings else "clean")
    console.result({"findings": [asdict(finding) for finding in findings], "left": left})
    if left:
        raise typer.Exit(Exit.RENDER_FAILED)


def _refuse_another_store(pod: Pod) -> None:
    """Raise ConfigError when the store has nothing of what the ledger knows: repairing would open all of it again."""
    winners = len(pod.ledger.winners())
    if winners and next(iter(pod.store.list(FOLDER)), None) is None:
        raise ConfigError(
            f"{pod.store.url} has none of the {winners} results that the database knows; look at --store and "
            "FARM_DATABASE, or give --store-lost to have all of them rendered anew"
        )


def reconcile(
    every: Annotated[float, typer.Option(min=0, help="Again after so many seconds; 0: once.")] = 0.0,
    server: Server = None,
    store: StoreUrl = "",
) -> None:
    """Put right what crashes and lost events left behind: in store and ledger, and in Prefect if there is a server.

    Prefect's own schedule of the reconcile deployment needs SQLAlchemy below 2.1 on its server; this needs nothing.
    """
    console = Output()
    while True:
        address = to_ask(server)
        if not address and server is None:
            console.say(f"runs are not looked after: no Prefect server answers at {SERVER}")
        with asking(address) if address else nullcontext():
            from tasks.rounds import reconcile_round

            done = reconcile_round(store, settings().database_url, bool(address))
        for line in (*done.said, *done.failures):
            console.show(line)
        if not every:
            break
        time.sleep(every)
    if done.failures:
        raise typer.Exit(Exit.TRY_AGAIN)
