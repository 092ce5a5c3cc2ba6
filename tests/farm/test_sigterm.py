"""A spot notice to a real pod's process: Prefect's own entry point, started, asked to go, started again elsewhere."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import prefect_api

from tasks.cluster.pool_shape import GPU_POOL
from tasks.exchange import Checkpoints
from tasks.farm_setup.apply import Wanted, set_up
from tasks.fsck import audit
from tasks.pod import open_pod
from tasks.pointer import find_done
from tasks.progress import Silence
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.take import render_take
from tasks.work import segment_item

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Prefect's own
WHAT = Rehearsal((2,), 2, steps=60)


@pytest.fixture(scope="module")
def server():
    with temporary_settings({PREFECT_API_URL: prefect_api()}):
        asyncio.run(set_up(Wanted(slots={"farm-gpu": 2})))
        yield prefect_api()


class Stage:
    """One segment in a farm of its own, its flow run, and pods that execute it."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder, self.api = folder, api
        self.store, self.database = (folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}"
        self.opened = open_pod(self.store, self.database)
        self.pod = self.opened.__enter__()
        self.plan, self.order = ingest_rehearsal(folder / "manifest", WHAT, self.pod)
        self.segment = self.plan.shots[0].segments[0]
        self.item = segment_item(self.segment)

    def new_run(self) -> UUID:
        given = {"episode": self.plan.episode, "order": self.order, "shot": "s1", "segment": 0}
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name("segment/segment")
            parameters = given | {"store": self.store, "database": self.database}
            return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id

    def start(self, run: UUID) -> subprocess.Popen:
        """Start what a pod's container runs, with the variables of the job template."""
        variables = {
            "PREFECT_API_URL": self.api, "PREFECT__FLOW_RUN_ID": str(run), "PREFECT_HOME": str(self.folder / "prefect"),
            "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "relinquish", "FARM_WORKDIR": str(self.folder),
            "FARM_HOME": str(self.folder / "home"), "FARM_THREADS": "1", "FARM_DEVICE": "cpu",
            "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        log = (self.folder / "pod.log").open("ab")
        command = [sys.executable, "-m", "prefect", "flow-run", "execute"]
        return subprocess.Popen(command, env=os.environ | variables, cwd=self.folder, stdout=log, stderr=log)

    def log(self) -> str:
        return (self.folder / "pod.log").read_text()[-4000:]

    def attempts(self) -> list[tuple[str, str]]:
        return [(attempt.state, attempt.failure_class) for attempt in self.pod.ledger.attempts(self.item)]

    def state(self, run: UUID) -> str:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run).state.name


@pytest.fixture
def stage(tmp_path, server):
    made = Stage(tmp_path, server)
    yield made
    made.opened.__exit__(None, None, None)


def wait_for_a_step(stage: Stage, pod: subprocess.Popen) -> int:
    checkpoints = Checkpoints(stage.pod.store, stage.segment)
    while not checkpoints.num_done():
        with pytest.raises(subprocess.TimeoutExpired):  # it has not ended
            pod.wait(0.1)
    return checkpoints.num_done()


def test_a_pod_that_is_asked_to_go_keeps_its_step_and_the_next_one_makes_the_same_bits(stage, tmp_path):
    run = stage.new_run()
    first = stage.start(run)
    wait_for_a_step(stage, first)
    asked_at = time.monotonic()
    first.send_signal(signal.SIGTERM)  # what a kubelet sends to the container's first process
    code = first.wait(120)
    took = time.monotonic() - asked_at
    assert code == 1, stage.log()  # the infrastructure starts the run again; Prefect leaves it as it is
    assert took < GPU_POOL.grace_seconds
    assert stage.attempts() == [("failed", "preempted")], stage.log()
    assert stage.pod.ledger.status(stage.item).state == "pending"  # released, not left to its lease
    assert stage.pod.ledger.may_retry(stage.item).allowed
    assert stage.state(run) == "Running"
    kept = Checkpoints(stage.pod.store, stage.segment).num_done()
    assert 1 <= kept < WHAT.steps

    second = stage.start(run)  # the same Job's next pod
    assert second.wait(300) == 0, stage.log()
    assert stage.attempts() == [("failed", "preempted"), ("done", "")]
    assert stage.state(run) == "Completed"
    assert audit(stage.pod.store, stage.pod.ledger, repair=False) == []
    with open_pod((tmp_path / "alone").as_uri(), f"sqlite:///{tmp_path / 'alone.db'}") as pod:
        plan, _ = ingest_rehearsal(tmp_path / "manifest", WHAT, pod)
        render_take(pod, plan, plan.shots[0], plan.shots[0].segments, Silence())
        assert find_done(pod.store, stage.item).object.sha256 == find_done(stage.pod.store, stage.item).object.sha256


def test_a_pod_that_finds_another_s_claim_stands_in_line_instead_of_failing(stage):
    stage.pod.ledger.claim(stage.item, "another-host:1:1", 600.0)
    run = stage.new_run()
    pod = stage.start(run)
    pod.wait(300)
    assert stage.state(run) == "AwaitingRetry", stage.log()
    assert stage.attempts() == [("running", "")]
