"""Opening databases and keeping their tables up to date."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from real_servers import new_postgres, postgres_server
from sqlalchemy import inspect, text
from trail import add_row

from db.engine import HEAD, MIGRATIONS, connect, open_engine, revision, writing
from db.errors import LedgerAway
from db.ledger import Ledger, open_ledger
from db.records import EpisodeEntry, WorkItem
from db.tables import Table
from db.transactions import Transactions


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def test_the_newest_revision_is_the_one_that_opening_looks_for() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


def test_the_migrations_make_exactly_the_tables_of_the_code(database_url: str) -> None:
    engine = connect(database_url)
    with engine.connect() as connection:
        assert revision(connection) == HEAD
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_go_down_and_up_again(kind: str, tmp_path: Path) -> None:
    engine = open_engine(new_postgres() if kind == "postgresql" else f"sqlite:///{tmp_path}/farm.db")
    with writing(engine).begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
        command.upgrade(config, "head")
        assert {"audit", "work"} <= set(inspect(connection).get_table_names())
    engine.dispose()


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/farm.db"
    for expected in (1, 2):
        ledger = open_ledger(url)
        add_row(ledger, "looked", "farm", {})
        assert len(ledger.audit_trail()) == expected
        ledger.close()


def test_a_database_of_a_newer_farm_is_refused(database_url: str) -> None:
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ValueError, match="revision 9999 is newer"):
        open_engine(database_url)


@pytest.mark.parametrize("url", ["mysql://host/farm", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="use sqlite:"):
        connect(url)


def test_a_file_that_is_no_database_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "farm.db").write_bytes(b"notes about the film, not a database" * 100)
    with pytest.raises(ValueError, match=r"farm\.db: file is not a database; it cannot be used"):
        open_engine(f"sqlite:///{tmp_path}/farm.db")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://sam:secret@host/farm",
        "postgresql://sam@127.0.0.1:9/farm?password=secret",
        "postgresql://sam:secret@127.0.0.1:9/farm",
        "postgresql://sam:secret@127.0.0.1:9/farm?nosuch=1",
        "sam:secret@host",
        "postgresql://sam:secret@host:port/farm",
    ],
)
def test_no_fault_of_an_address_tells_its_password(url: str) -> None:
    with pytest.raises((ValueError, LedgerAway)) as told:
        open_engine(url)
    assert "secret" not in str(told.value) and "database" in str(told.value)


def test_a_database_that_does_not_answer_is_away() -> None:
    with pytest.raises(LedgerAway, match=r"postgres:\*\*\*@127.0.0.1:9/none: connection failed.*is it running"):
        open_engine("postgresql://postgres:secret@127.0.0.1:9/none")


def test_readers_see_a_snapshot_while_somebody_writes(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/farm.db")
    reader, writer = Ledger(engine), Ledger(engine)

    def read_around_a_write(session) -> tuple[int, int]:
        counts = []
        for _ in range(2):
            counts.append(session.execute(text("SELECT count(*) FROM audit")).scalar_one())
            add_row(writer, "wrote", "meanwhile", {})
        return tuple(counts)

    assert reader.transactions.read(read_around_a_write) == (0, 0)
    assert len(reader.audit_trail()) == 2
    with sqlite3.connect(tmp_path / "farm.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    engine.dispose()


def test_connections_that_a_restart_cut_are_replaced_without_anybody_noticing() -> None:
    url, waits = new_postgres(), list[float]()
    ledger, killer = Ledger(open_engine(url), sleep=waits.append), connect(url)
    claim = ledger.claim(WorkItem("segment", "k"), "w", 60.0)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = :name"
    with killer.connect() as connection:
        assert connection.execute(text(others), {"name": killer.url.database}).all() == [(True,)]
    assert ledger.renew(claim, 60.0) > 0 and waits == []
    ledger.close()
    killer.dispose()


def test_a_ledger_waits_out_a_restart_of_postgres() -> None:
    server, waits = postgres_server(), list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            server.ensure_postgres_running()

    ledger = Ledger(open_engine(new_postgres()), sleep=wait)
    claim = ledger.claim(WorkItem("segment", "k"), "w", 60.0)
    server._stop()
    ledger.renew(claim, 60.0)
    assert waits == [0.2, 0.4]
    assert ledger.status(claim.item).state == "running"
    ledger.close()


def test_a_transaction_cut_off_in_its_middle_runs_again_and_counts_once() -> None:
    url = new_postgres()
    waits: list[float] = []
    engine = open_engine(url)
    transactions, killer, runs = Transactions(engine, sleep=waits.append), connect(url), []

    def write(session) -> None:
        session.execute(text("INSERT INTO weights VALUES ('1', 'n', 'p', 1, 'l')"))
        runs.append(pid := session.execute(text("SELECT pg_backend_pid()")).scalar_one())
        if len(runs) == 1:
            with killer.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    transactions.write(write)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM weights")).scalar() == 1
    assert len(runs) == 2 and waits == [0.2]
    engine.dispose()
    killer.dispose()


def test_episodes_of_an_older_farm_were_last_asked_for_when_they_were_made(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/farm.db")
    ledger = Ledger(engine, clock=lambda: 1000.0)
    ledger.register_episode(EpisodeEntry("e" * 64, "pilot", "Pilot"))
    with writing(engine).begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert "submitted_at" not in {column["name"] for column in inspect(connection).get_columns("episodes")}
    engine.dispose()
    engine = open_engine(f"sqlite:///{tmp_path}/farm.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT submitted_at FROM episodes")).scalars().all() == [1000.0]
    engine.dispose()
