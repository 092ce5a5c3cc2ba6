"""Stores and ledgers of both kinds, empty, over real file systems, HTTP and PostgreSQL."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_servers import drop_postgres, new_bucket, new_database, s3_endpoint

from db.engine import connect
from db.ledger import Ledger
from tasks.store import Retry, Store, open_store

os.environ.setdefault("AWS_ACCESS_KEY_ID", "tests")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "tests")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")

PATIENT = Retry(tries=8, first_seconds=0.0, max_seconds=0.0)  # retries without waiting


@dataclass(frozen=True)
class Place:
    """Where an empty store is; the address can go to another process."""

    url: str
    endpoint: str

    def open(self, retry: Retry = PATIENT) -> Store:
        return open_store(self.url, endpoint=self.endpoint, retry=retry)


@pytest.fixture
def s3_place() -> Place:
    return Place(f"s3://{new_bucket()}/studio/show", s3_endpoint())


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        return request.getfixturevalue("s3_place")
    return Place((tmp_path / "a store").as_uri(), "")


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def make(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


@dataclass
class Farm:
    """A store and a database, as every worker of one farm sees them; `skew_seconds` moves the ledgers' clock."""

    place: Place
    database_url: str
    folder: Path
    skew_seconds: float = 0.0

    def open_ledger(self) -> Ledger:
        ledger = Ledger(connect(self.database_url), sleep=lambda _seconds: None)
        true_time = ledger.transactions._database_clock
        ledger.transactions._database_clock = lambda connection: true_time(connection) + self.skew_seconds
        return ledger


@pytest.fixture(params=["file and sqlite", "s3 and postgresql"])
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    kind, _, database = request.param.partition(" and ")
    place = request.getfixturevalue("s3_place") if kind == "s3" else Place((tmp_path / "store").as_uri(), "")
    url = new_database(database, tmp_path)
    yield Farm(place, url, tmp_path)
    drop_postgres(url)


@pytest.fixture
def farm_store(farm: Farm) -> Store:
    return farm.place.open()


@pytest.fixture
def ledger(farm: Farm) -> Iterator[Ledger]:
    ledger = farm.open_ledger()
    yield ledger
    ledger.close()
