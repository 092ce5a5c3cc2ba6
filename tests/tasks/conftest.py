"""Stores of both kinds, empty, over real file systems and real HTTP."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_servers import new_bucket, s3_endpoint

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
