"""Open the database: SQLite in a file or PostgreSQL by URL, migrated to the newest revision on the way in."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from db.errors import LedgerAway

HEAD = "0002"  # newest revision; a test compares it with the migrations' own idea
KINDS = "use sqlite:////folder/farm.db or postgresql://user@host/name"
MIGRATIONS = Path(__file__).with_name("migrations")
BUSY_SECONDS = 60.0  # SQLite: how long a writer waits for the others; a transaction takes milliseconds
# A host that vanished without a word is noticed well within a lease, not after the kernel's two hours.
POSTGRES = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
}
MIGRATION_LOCK = 0x6661726D  # "farm": any number, the same in every process


def open_engine(url: str) -> Engine:
    """Return an engine on a database of the newest revision; creates a SQLite file and its folder.

    `postgresql://` means the psycopg driver. Safe to call from many processes at once: one migrates, the others wait.
    Raises: LedgerAway when the database does not answer, ValueError when it is of another kind, cannot be used, or is
    newer than this code.
    """
    engine = connect(url)
    try:
        upgrade(engine)
    except ValueError:
        engine.dispose()
        raise
    except DBAPIError as exc:
        engine.dispose()
        said = f"database {shown(engine.url)}: {' '.join(str(exc.orig).split())}"
        if exc.connection_invalidated or isinstance(exc, OperationalError | InterfaceError):
            raise LedgerAway(f"{said}; is it running, and is the address right?") from exc
        raise ValueError(f"{said}; it cannot be used") from exc  # no such option, no such right, no database at all
    return engine


def shown(url: URL) -> str:
    """Return an address as people may read it: without its passwords."""
    return url.difference_update_query([name for name in url.query if "password" in name]).render_as_string()


def connect(url: str) -> Engine:
    """Return an engine without looking at the database. Raises: ValueError when it is of another kind."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(f"the database's address cannot be read; {KINDS}") from None  # it may hold a password
    kind = address.get_backend_name()
    if kind == "postgresql":
        # pre-ping: a connection from before a database restart is replaced without anybody noticing
        address = address.set(drivername="postgresql+psycopg")
        return create_engine(address, pool_pre_ping=True, pool_size=4, connect_args=POSTGRES)
    if kind != "sqlite" or not address.database or address.database == ":memory:":
        raise ValueError(f"database {shown(address)}: {KINDS}")
    Path(address.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest revision. Raises: ValueError when the database is newer than this code."""
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        found = revision(connection)
        if found > HEAD:
            raise ValueError(f"database {shown(engine.url)}: revision {found} is newer than {HEAD}; update the farm")
        if found < HEAD:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def revision(connection: Connection) -> str:
    """Return the revision of the tables; empty when there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def writing(engine: Engine) -> Engine:
    """Return the same engine for transactions that write: SQLite then takes its write lock at the beginning.

    A SQLite transaction that reads first and writes later fails at once, without waiting, when another has written.
    """
    return engine.execution_options(farm_writes=True)


def database_clock(engine: Engine) -> Callable[[Connection], float]:
    """Return a function that reads the database's clock in seconds since 1970.

    PostgreSQL: the server's own, so workers whose clocks are wrong agree on when a lease ends. SQLite: this machine's,
    which every process that can open the file shares.
    """
    if engine.dialect.name == "postgresql":
        clock = text("SELECT extract(epoch FROM clock_timestamp())::float8")
        return lambda connection: float(connection.execute(clock).scalar_one())
    return lambda _connection: time.time()


def _prepare_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")  # a finished attempt survives a power cut
    _switch_to_wal(connection)


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Readers and one writer at the same time; SQLite does not wait for the lock that switching needs, so we do."""
    give_up = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("farm_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
