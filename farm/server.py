"""Which Prefect server a command talks to: one option and one default for all of them."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

SERVER = "http://127.0.0.1:4200/api"  # where `farm up` puts it
ANSWER_SECONDS = 5.0
Server = Annotated[
    str | None,
    typer.Option(help="Prefect API address; '': no server is asked.", envvar="PREFECT_API_URL", show_default=SERVER),
]


def to_ask(server: str | None) -> str:
    """Return the address of the server to ask; empty for none.

    One that was named is asked, whether it answers or not. One that was not is the local one, if there is any: what
    `farm render` leaves behind has no server, and can be looked after all the same.
    """
    if server is not None:
        return server
    return SERVER if answers(SERVER) else ""


def answers(server: str) -> bool:
    """Say whether anything answers there."""
    try:
        with urllib.request.urlopen(f"{server}/health", timeout=ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError:  # it does not like the question, but it answers
        return True
    except (OSError, ValueError):
        return False


@contextmanager
def asking(server: str) -> Iterator[None]:
    """Have Prefect's clients ask that server, whether Prefect has read its settings already or not."""
    before = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = server
    from prefect.settings import PREFECT_API_URL, temporary_settings

    try:
        with temporary_settings({PREFECT_API_URL: server}):
            yield
    finally:
        del os.environ["PREFECT_API_URL"]
        if before is not None:
            os.environ["PREFECT_API_URL"] = before
