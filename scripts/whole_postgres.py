"""A PostgreSQL of our own, with its extensions: Prefect's server wants pg_trgm, which the wheel for tests has not."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import psycopg


@dataclass(frozen=True)
class Databases:
    """A running server's addresses: the farm's ledger, and Prefect's own database as Prefect wants it written."""

    pid: int
    folder: Path
    ledger: str

    @property
    def prefect(self) -> str:
        head, _, _ = self.ledger.rpartition("/")
        return f"{head.replace('postgresql', 'postgresql+asyncpg', 1)}/prefect"

    def bytes_of(self, name: str) -> int:
        """Return how large a database is: `farm` or `prefect`."""
        with psycopg.connect(self.ledger) as connection:
            found = connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()
        return int(found[0]) if found else 0


@contextmanager
def whole_postgres() -> Iterator[Databases]:
    """Yield a PostgreSQL on a free port of 127.0.0.1; server and data go with the context.

    Raises: FileNotFoundError when PostgreSQL is not installed, subprocess.CalledProcessError when it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="farm-postgres-"))
    user = _user(folder)
    port = free_port()
    data, binaries = folder / "data", _binaries()
    _run([binaries / "initdb", "-D", data, "-U", "farm", "-A", "trust", "-E", "UTF8", "--no-sync"], user)
    # Nobody cuts the power of a measurement, so nothing is waited for; everything else is as it comes.
    options = f"-p {port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1 -c max_connections=200"
    _run([binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-t", "120", "-o", options, "start"], user)
    try:
        root = f"postgresql://farm@127.0.0.1:{port}"
        with psycopg.connect(f"{root}/postgres", autocommit=True) as connection:
            for name in ("farm", "prefect"):
                connection.execute(f"CREATE DATABASE {name}".encode())
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        yield Databases(pid, folder, f"{root}/farm")
    finally:
        _run([binaries / "pg_ctl", "-D", data, "-m", "fast", "-w", "-t", "60", "stop"], user, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens at."""
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def server_port() -> int:
    """Return the port of the Prefect server to be; the script starts over once, with its address in the environment.

    Prefect reads the address when it is imported, and a thread of its own reads nothing else.
    """
    if "PREFECT_API_URL" not in os.environ:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    return int(os.environ["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2])


def _binaries() -> Path:
    """Return the folder with initdb and pg_ctl; Debian keeps them off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1]


def _user(folder: Path) -> str | None:
    """Return whom to run as: PostgreSQL refuses root, so then its own user, who gets the folder."""
    if os.geteuid() != 0:
        return None
    who = pwd.getpwnam("postgres")
    os.chown(folder, who.pw_uid, who.pw_gid)
    return who.pw_name


def _run(words: list[object], user: str | None, check: bool = True) -> None:
    command = [str(word) for word in words]
    subprocess.run(command, user=user, check=check, cwd="/", stdout=subprocess.DEVNULL)
