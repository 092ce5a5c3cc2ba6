"""What the runs of a farm are told, and what stays where it is."""

import pytest

from tasks.errors import ConfigError
from tasks.services import told_places


def test_a_password_is_no_parameter_of_a_run():
    url = "postgresql+psycopg://farm:secret@db:5432/farm"
    assert told_places("process", "s3://b/p", url) == {"store": "s3://b/p", "database": ""}


@pytest.mark.parametrize("url", ["sqlite:////home/ada/farm.db", "postgresql://farm@127.0.0.1:5432/farm"])
def test_workers_of_this_machine_are_told_where_its_database_is(url):
    assert told_places("process", "file:///home/ada/store", url) == {"store": "file:///home/ada/store", "database": url}


def test_pods_of_a_cluster_have_addresses_of_their_own():
    told = told_places("kubernetes", "s3://b/p", "postgresql://farm@127.0.0.1:5432/farm")  # as forwarded to a desk
    assert told == {"store": "s3://b/p", "database": ""}


def test_a_cluster_is_not_sent_to_places_on_a_desk():
    with pytest.raises(ConfigError) as told:
        told_places("kubernetes", "file:///home/ada/store", "sqlite:////home/ada/farm.db")
    assert "FARM_STORE file:///home/ada/store" in str(told.value)
    assert "FARM_DATABASE sqlite:////home/ada/farm.db" in str(told.value)
