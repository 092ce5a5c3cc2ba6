"""`farm`: the entry point; errors become one message and a documented exit code."""

import logging
import os
import sys

import typer

from farm.output import Exit
from tasks.errors import ConfigError, FarmError, ManifestError, PermanentError, TransientError

app = typer.Typer(
    name="farm",
    help="Render farm for talking-character episodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

OFFLINE = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "HF_HUB_OFFLINE": "1"}


def exit_code(error: BaseException) -> Exit:
    """Return the exit code that an error ends the command with."""
    if isinstance(error, ConfigError):
        return Exit.NOT_SET_UP
    if isinstance(error, ManifestError):
        return Exit.BAD_INPUT
    if isinstance(error, TransientError):
        return Exit.TRY_AGAIN
    if isinstance(error, PermanentError):
        return Exit.BAD_INPUT if error.failure_class in {"bad_input", "licence"} else Exit.RENDER_FAILED
    return Exit.BUG


def _mount() -> None:
    from farm import commands

    commands.mount(app)


def main() -> None:
    """Run the command line."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    _mount()
    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; everything finished so far is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)
    except FarmError as error:
        print(f"farm: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
