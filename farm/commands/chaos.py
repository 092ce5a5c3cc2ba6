"""`farm chaos`: break a farm of its own on purpose, and show that nothing is lost."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from farm.commands.planning import AsJson
from farm.output import Exit, Output


def mount(app: typer.Typer) -> None:
    """Add the command."""
    app.command("chaos")(chaos)


def chaos(
    kills: Annotated[int, typer.Option(min=2, help="SIGKILLs of workers, at random and at every named point.")] = 200,
    restarts: Annotated[int, typer.Option(min=0, help="Database restarts.")] = 20,
    server_kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of Prefect's server; 0: without it.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed is another course of events.")] = 1,
    limit_seconds: Annotated[
        float, typer.Option(min=10, help="A course breaks nothing any more after so long.")
    ] = 3600.0,
    board: Annotated[Path | None, typer.Option(help="Write the scoreboard to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Kill workers and servers, stop and starve them, restart the database, break S3 calls; count what was lost.

    Fails unless all of it happened, nothing was lost or doubled, nothing unforeseen was met, and no more was wasted.
    """
    from tasks.chaos.menu import Menu
    from tasks.chaos.run import run_chaos

    console = Output(as_json)
    under_prefect = bool(server_kills)
    run_kills, late = (kills // 20, restarts // 5) if under_prefect else (0, 0)
    menu = Menu(
        random_kills=kills // 2 - run_kills,
        point_kills=kills - kills // 2,
        database_restarts=restarts - late,
        server_kills=server_kills,
        run_kills=run_kills,
        late_restarts=late,
        stops_past_lease=max(1, kills // 20),
        full_disks=max(1, kills // 20),
        wrong_clocks=max(1, kills // 20),
        seed=seed,
        limit_seconds=limit_seconds,
    )
    command = f"farm chaos --kills {kills} --restarts {restarts} --server-kills {server_kills} --seed {seed}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # everything that was started ends
    with quiet("tasks", "db"):  # every broken call is a warning, and there are thousands
        outcome = run_chaos(menu, command, tell=console.say)
    console.show(outcome.board)
    console.result({"holds": outcome.holds, "score": asdict(outcome.score), "tally": vars(outcome.tally)})
    if board:
        board.write_text(outcome.board)
    if not outcome.holds:
        raise typer.Exit(Exit.RENDER_FAILED)


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let these loggers speak of errors alone."""
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
