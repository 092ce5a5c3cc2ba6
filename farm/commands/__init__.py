"""One file per group of commands; `mount` puts them all under `farm`."""

import typer


def mount(app: typer.Typer) -> None:
    """Add every command to the application."""
    from farm import puppet
    from farm.commands import chaos, operations, planning, rendering, service, speech, status, weights

    planning.mount(app)
    rendering.mount(app)
    service.mount(app)
    status.mount(app)
    operations.mount(app)
    speech.mount(app)
    app.add_typer(weights.app)
    chaos.mount(app)
    app.add_typer(puppet.puppet_app, name="puppet")
    app.command("ablate")(puppet.ablate)
