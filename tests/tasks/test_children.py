"""Children that the server does not create at once."""

from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from db.records import WorkItem
from tasks import children
from tasks.children import Child, Group, start_children
from tasks.errors import TransientError


class Server:
    """Answers a bulk call as Prefect's server does; says `database is locked` of every run for so many calls."""

    def __init__(self, locked):
        self.locked, self.calls, self.made = locked, 0, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read_deployment_by_name(self, _):
        return SimpleNamespace(id=uuid4())

    def create_task_run(self, *_, **__):
        return SimpleNamespace(id=uuid4())

    def request(self, _method, _path, path_params, json):
        self.calls += 1
        results = []
        for number, one in enumerate(json):
            if self.calls <= self.locked and number:  # the first one is there when the others are refused
                results.append(
                    {"status": "ERROR", "error": "database is locked\n[SQL: INSERT ...]", "flow_run_id": None}
                )
            else:
                run = self.made.setdefault(one["idempotency_key"], str(uuid4()))
                results.append({"status": "CREATED", "error": None, "flow_run_id": run})
        return SimpleNamespace(json=lambda: {"results": results})


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr(children.time, "sleep", slept.append)
    return slept


def three_of(server, monkeypatch):
    monkeypatch.setattr(children, "get_client", lambda sync_client: server)
    some = tuple(
        Child(WorkItem("segment", f"key {n}"), "segment/segment", f"s1 {n}", {"episode": "e"}) for n in range(3)
    )
    return start_children(UUID(int=1), [Group("s1", some)])


def test_runs_that_a_locked_database_refused_are_asked_for_again(monkeypatch, pauses):
    server = Server(locked=2)
    runs = three_of(server, monkeypatch)
    assert server.calls == 3 and len(pauses) == 2
    assert {str(run) for run in runs} == set(server.made.values()) and len(runs) == 3


def test_runs_that_stay_refused_are_an_error_of_one_line(monkeypatch, pauses):
    with pytest.raises(TransientError, match=r"^segment/segment: 2 of 3 runs were refused: .*locked.*$") as error:
        three_of(Server(locked=99), monkeypatch)
    assert len(pauses) == len(children.PAUSES) and "\n" not in str(error.value)
