"""`farm`: the entry point; trouble becomes one sentence and a documented exit code, a bug stays a traceback."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from db.errors import LedgerError
from farm.output import Exit
from tasks.errors import ConfigError, FarmError, ManifestError, PermanentError, TransientError

if TYPE_CHECKING:
    import httpx

OFFLINE = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "HF_HUB_OFFLINE": "1"}
NAMED_WRONGLY = (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError)


def exit_code(error: BaseException) -> Exit:
    """Return the exit code that an error of the farm ends the command with."""
    from tasks.admission import Refused

    if isinstance(error, Refused):
        return Exit.STOPPED
    if isinstance(error, ConfigError):
        return Exit.NOT_SET_UP
    if isinstance(error, ManifestError):
        return Exit.BAD_INPUT
    if isinstance(error, TransientError):
        return Exit.TRY_AGAIN
    if isinstance(error, PermanentError):
        return Exit.BAD_INPUT if error.failure_class in {"bad_input", "licence"} else Exit.RENDER_FAILED
    return Exit.BUG


def explain(error: BaseException) -> tuple[Exit, str] | None:
    """Return exit code and sentence for what is no bug: a refusal, something away, a file that is not there.

    None for a bug, whose traceback says more.
    """
    if isinstance(error, FarmError):
        return exit_code(error), str(error)
    if isinstance(error, LedgerError):
        from tasks.pointer import as_farm_error

        return explain(as_farm_error(error))
    if isinstance(error, OSError):
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        away = isinstance(error, ConnectionError | TimeoutError)
        return Exit.TRY_AGAIN if away else Exit.BAD_INPUT if isinstance(error, NAMED_WRONGLY) else Exit.NOT_SET_UP, said
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API"):  # Prefect's own wrapping
        return explain(error.__cause__) if error.__cause__ else None
    return _explain_server(error)


def _explain_server(error: BaseException) -> tuple[Exit, str] | None:
    """Return the same for what a Prefect server, or the way to it, does."""
    import httpx

    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return Exit.BAD_INPUT, f"Prefect's address: {error} Write it as http://127.0.0.1:4200/api"
    if isinstance(error, httpx.HTTPStatusError):
        said = f"{_asked(error.request)} answers {error.response.status_code}"
        if error.response.is_server_error or error.response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            return Exit.TRY_AGAIN, f"{said}; try again"
        return Exit.NOT_SET_UP, f"{said}; is that a Prefect API (http://HOST:4200/api), and may you use it?"
    if isinstance(error, httpx.RequestError):
        return Exit.TRY_AGAIN, f"{_asked(error.request)} does not answer ({error}); is the farm up? (farm up)"
    return None


def _asked(request: "httpx.Request") -> str:
    return f"Prefect at {request.url.scheme}://{request.url.netloc.decode()}"  # a user's name and password left out


def build() -> typer.Typer:
    """Return the command line."""
    from farm import commands

    app = typer.Typer(
        name="farm",
        help="Render farm for talking-character episodes.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    commands.mount(app)
    return app


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; `words` are those after `farm`."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        build()(words)
    except KeyboardInterrupt:
        print("interrupted; everything finished so far is kept, run the same command again to go on", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        code, sentence = explained
        print(f"farm: {sentence}", file=sys.stderr)
        sys.exit(code)
