"""One file per group of commands; `mount` puts them all under `farm`."""

import typer


def mount(app: typer.Typer) -> None:
    """Add every command to the application."""
    from farm.commands import operations, planning, rendering, service

    planning.mount(app)
    rendering.mount(app)
    service.mount(app)
    operations.mount(app)
