"""`farm up`, `farm submit`, `farm lineage`, `farm doctor`: the farm on this machine, and what it remembers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from farm.commands.planning import AsJson, ManifestPath, StoreUrl
from farm.output import Exit, Output
from farm.server import SERVER, Server
from tasks.doctor import examine, examine_cluster
from tasks.lineage import to_json, to_lines, trace
from tasks.pod import open_pod
from tasks.prepare import prepare
from tasks.register import register
from tasks.settings import settings


def mount(app: typer.Typer) -> None:
    """Add the service commands."""
    app.command("up")(up)
    app.command("submit")(submit)
    app.command("lineage")(lineage)
    app.command("doctor")(doctor)


def up(
    port: Annotated[int, typer.Option(help="Port of server and dashboard, on 127.0.0.1 only.")] = 4200,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Segments that may render at the same time.")] = 6,
) -> None:
    """Start server, dashboard and workers on this machine; Ctrl-C ends all of them."""
    from tasks.services import run_local_farm

    run_local_farm(port, workers, typer.echo)


def submit(
    manifest: ManifestPath,
    store: StoreUrl = "",
    out: Annotated[
        str,
        typer.Option(
            help="Folder for the film, as the workers see it; default: ./out here, a cluster's stays in the store."
        ),
    ] = "",
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Check an episode, put it into the store and start it on the farm."""
    from tasks.ingest import ingest
    from tasks.services import start_episode

    console = Output(as_json)
    made = prepare(manifest, console.say)
    with open_pod(store) as pod:
        order = ingest(made.loaded, made.found, made.plan, pod.store)
        register(pod.ledger, made.plan, order)  # known from now on, whenever a worker opens it
        address = pod.store.url
    widest = max(len(shot.segments) for shot in made.plan.shots)
    url = start_episode(server or SERVER, made.plan.episode, order, address, settings().database_url, out, widest)
    console.show(f"{made.plan.title}: {url}")
    console.result({"episode": made.plan.episode, "order": order, "run": url})


def lineage(
    film: Annotated[
        Path, typer.Argument(help="A film, or any file that the farm has made.", exists=True, dir_okay=False)
    ],
    at: Annotated[float | None, typer.Option(min=0, help="Only what this second of the film came from.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a film was made from: shots, segments, stems, plates, weights, seeds, attempts."""
    console = Output(as_json)
    with open_pod() as pod:
        tree = trace(pod.ledger, film, at)
    for line in to_lines(tree):
        console.show(line)
    console.result(to_json(tree))


def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="Look at the Kubernetes cluster instead.")] = False,
    gpus: Annotated[int, typer.Option(min=1, help="With --cluster: GPUs of one pod.")] = 1,
    weights_digest: Annotated[str, typer.Option(help="With --cluster: weights that must be there.")] = "",
    kueue: Annotated[bool, typer.Option("--kueue", help="With --cluster: Kueue owns admission.")] = False,
    context: Annotated[str, typer.Option(help="With --cluster: a context of the kubeconfig.")] = "",
    kubeconfig: Annotated[str, typer.Option(help="With --cluster: default KUBECONFIG, or the cluster we are in.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what this machine, or the cluster, has and lacks, and how to get it."""
    console = Output(as_json)
    try:
        findings = examine_cluster(gpus, weights_digest, kueue, context, kubeconfig) if cluster else examine(settings())
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    table = Table(title="farm doctor --cluster" if cluster else "farm doctor")
    for column in ("level" if cluster else "for", "what", "state", "way out" if cluster else "how to get it"):
        table.add_column(column)
    for finding in findings:
        table.add_row(finding.purpose, finding.what, finding.state, finding.way_out)
    console.show(table)
    console.result({"findings": [asdict(finding) for finding in findings]})
    if any(finding.fatal for finding in findings):
        raise typer.Exit(Exit.NOT_SET_UP)
