"""`farm up`, `farm submit`, `farm lineage`, `farm doctor`: the farm on this machine, and what it remembers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from farm.commands.planning import AsJson, ManifestPath, StoreUrl
from farm.output import Exit, Output
from tasks.doctor import examine
from tasks.lineage import to_json, to_lines, trace
from tasks.pod import open_pod
from tasks.prepare import prepare
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
    out: Annotated[str, typer.Option(help="Folder for the film, as the workers see it.")] = "",
    server: Annotated[
        str, typer.Option(help="Prefect API address.", envvar="PREFECT_API_URL")
    ] = "http://127.0.0.1:4200/api",
    as_json: AsJson = False,
) -> None:
    """Check an episode, put it into the store and start it on the farm."""
    from tasks.ingest import ingest
    from tasks.services import start_episode

    console = Output(as_json)
    made = prepare(manifest, console.say)
    with open_pod(store) as pod:
        order = ingest(made.loaded, made.found, made.plan, pod.store)
        address = pod.store.url
    folder = out or str((Path("out") / made.plan.episode).resolve())
    widest = max(len(shot.segments) for shot in made.plan.shots)
    url = start_episode(server, made.plan.episode, order, address, settings().database_url, folder, widest)
    console.show(f"{made.plan.title}: {url}")
    console.result({"episode": made.plan.episode, "order": order, "run": url})


def lineage(
    film: Annotated[Path, typer.Argument(help="A film, or any file that the farm has made.", exists=True)],
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


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has and lacks for each profile, and how to get it."""
    console = Output(as_json)
    findings = examine(settings())
    table = Table(title="farm doctor")
    for column in ("for", "what", "state", "how to get it"):
        table.add_column(column)
    for finding in findings:
        table.add_row(finding.purpose, finding.what, finding.state, finding.way_out)
    console.show(table)
    console.result({"findings": [asdict(finding) for finding in findings]})
    if any(finding.fatal for finding in findings):
        raise typer.Exit(Exit.NOT_SET_UP)
