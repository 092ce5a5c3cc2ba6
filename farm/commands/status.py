"""`farm status`: where an episode stands, or all of them."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from farm.commands.planning import AsJson, StoreUrl
from farm.output import Output
from tasks.episodes import Counts, list_episodes
from tasks.overview import Overview, overview
from tasks.pod import open_pod
from tasks.settings import settings


def mount(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    episode: Annotated[str, typer.Argument(help="Episode id; none: a line for each.")] = "",
    store: StoreUrl = "",
    as_json: AsJson = False,
) -> None:
    """Show where an episode stands: segments, steps, attempts, time left, hours useful and wasted, cost, budget."""
    console, usd = Output(as_json), settings().usd_per_gpu_hour
    with open_pod(store) as pod:
        if not episode:
            _show_all(list_episodes(pod, usd), console)
            return
        one = overview(pod, episode, usd)
    console.result({"episodes": [asdict(one)]})
    console.show(_segments_table(one))
    console.show(_costs_table(one))
    console.show(_summary(one))


def _show_all(found: list[Counts], console: Output) -> None:
    console.result({"episodes": [asdict(one) for one in found]})
    if not found:
        console.show("no episode yet; farm submit or farm render begins one")
    for one in found:
        console.show(_line(one))


def _line(one: Counts) -> str:
    if one.fault:
        return one.fault
    if one.film_done:
        said = f"{one.episode}: film finished"
    else:
        states = ", ".join(f"{count} {state}" for state, count in sorted(one.states.items()))
        said = f"{one.episode}: {states} of {one.num_segments} segments, film not finished"
    return said + _spent(one.spent_gpu_hours, one.budget_gpu_hours)


def _spent(hours: float, budget: float) -> str:
    if budget:
        return f"; {hours:.2f} of {budget:g} GPU-hours spent"
    return f"; {hours:.2f} GPU-hours" if hours else ""


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
    said += _spent(one.spent_gpu_hours, one.budget_gpu_hours)
    return said + (f"; STOPPED: {one.stopped}" if one.stopped else "")
