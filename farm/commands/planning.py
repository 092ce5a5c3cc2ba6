"""`farm schema`, `farm plan`: what a manifest may say, and what it would render; nothing is written."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from farm.output import Output
from tasks.manifest.schema import json_schema_text
from tasks.plan.cost import RATES, estimate
from tasks.plan.diff import compare
from tasks.plan.types import Plan, ShotPlan
from tasks.plan.wire import plan_from_json, plan_to_json
from tasks.pointer import find_done
from tasks.settings import settings
from tasks.store import open_store
from tasks.store.types import Store
from tasks.work import segment_item

ManifestPath = Annotated[Path, typer.Argument(help="Episode manifest, YAML or JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for machines.")]
StoreUrl = Annotated[str, typer.Option("--store", help="Object store: file:///folder or s3://bucket/prefix.")]


def mount(app: typer.Typer) -> None:
    """Add the planning commands."""
    app.command("schema")(schema)
    app.command("plan")(plan)


def schema() -> None:
    """Print the JSON Schema of the manifest."""
    typer.echo(json_schema_text())


def plan(
    manifest: ManifestPath,
    as_json: AsJson = False,
    diff: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="An older plan (`farm plan --json`): list what changed since."),
    ] = None,
    store: StoreUrl = "",
) -> None:
    """Show shots, segments, who speaks when, why each cut is there, what is rendered already, hours and money."""
    from tasks.prepare import prepare

    made = prepare(manifest).plan
    out = Output(as_json)
    if diff is not None:
        _show_diff(_read_plan(diff), made, out)
        return
    if as_json:
        typer.echo(plan_to_json(made))
        return
    done = _done(open_store(store or settings().store_url, endpoint=settings().s3_endpoint), made)
    out.show(_shots_table(made, done))
    for shot in made.shots:
        out.show(_voices_table(made, shot))
    out.show(_cost_table(made))


def _read_plan(path: Path) -> Plan:
    try:
        return plan_from_json(path.read_text())
    except ValueError as exc:
        raise typer.BadParameter(
            f"{path} is no plan ({exc}); write one with farm plan --json", param_hint="--diff"
        ) from exc


def _done(store: Store, plan: Plan) -> dict[str, int]:
    return {
        shot.id: sum(find_done(store, segment_item(segment)) is not None for segment in shot.segments)
        for shot in plan.shots
    }


def _shots_table(plan: Plan, done: dict[str, int]) -> Table:
    size = f"{plan.width}x{plan.height} at {plan.fps:g} fps"
    table = Table(title=f"{plan.title}: {plan.num_frames / plan.fps:.2f} s, {size}, {plan.profile}, {plan.steps} steps")
    for column in (
        "shot",
        "starts",
        "seconds",
        "frames",
        "latents",
        "characters",
        "segments",
        "rendered",
        "cut because",
    ):
        table.add_column(column, justify="left" if column in {"shot", "characters", "cut because"} else "right")
    for shot in plan.shots:
        table.add_row(
            shot.id,
            f"{shot.start_frame / plan.fps:.2f}",
            f"{shot.num_frames / plan.fps:.2f}",
            str(shot.num_frames),
            str(shot.num_latents),
            ", ".join(who.character for who in shot.characters),
            " + ".join(str(segment.num_windows) for segment in shot.segments) + " windows",
            f"{done[shot.id]}/{len(shot.segments)}",
            ", ".join(cut.reason for cut in shot.cuts),
        )
    return table


def _voices_table(plan: Plan, shot: ShotPlan) -> Table:
    table = Table(title=f"shot {shot.id}: who speaks when", title_justify="left", show_header=False, box=None)
    for turn in shot.turns:
        table.add_row(f"{turn.start_seconds:8.2f} s", f"{turn.end_seconds:8.2f} s", turn.character)
    return table


def _cost_table(plan: Plan) -> Table:
    table = Table(title="computing, if everything is rendered anew")
    for column in ("machine", "petaflop", "network calls", "hours", "USD"):
        table.add_column(column, justify="right")
    for rate in RATES.values():
        cost = estimate(plan, rate)
        table.add_row(cost.machine, f"{cost.petaflop:.3g}", str(cost.calls), f"{cost.hours:.3g}", f"{cost.usd:.2f}")
    return table


def _show_diff(old: Plan, new: Plan, out: Output) -> None:
    changes = compare(old, new)
    out.result({"changes": [asdict(change) for change in changes]})
    table = Table(title="what changed")
    for column in ("shot", "change", "segments to render"):
        table.add_column(column)
    for change in changes:
        table.add_row(change.shot, change.change, str(change.segments))
    out.show(table)
