"""A farm with one submitted episode, and what people, crashes and lost events can do to it. For rerun_stories.py."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

from prefect import get_client
from prefect.states import Cancelling

from db.records import WorkItem
from tasks.exchange import Checkpoints
from tasks.plan.types import Plan
from tasks.pod import Pod
from tasks.rounds import reconcile_round
from tasks.runs import MOVING, PERSON, Run, children_of, find_runs, read_run
from tasks.work import segment_item

LIMIT_SECONDS = 1500.0  # a busy machine is no failure
LOOK_SECONDS = 3.0  # each look costs the server and us a tenth of a second
ROUND_SECONDS = 15.0  # between two rounds of reconciling, where a story has them
AUTOMATIONS = ("farm-resume", "farm-restart", "farm-cancel")


@dataclass(frozen=True)
class Theatre:
    """One episode on a real server with real workers; shot s2 is the one that things happen to."""

    pod: Pod
    plan: Plan
    parent: UUID
    store: str
    database: str
    pictures: Path

    @property
    def episode(self) -> Run:
        """Return the episode's run."""
        run = read_run(self.parent)
        if run is None:
            raise LookupError(f"the server has no run {self.parent}")
        return run

    @property
    def child(self) -> Run | None:
        """Return the run of s2's segment, None when it was not dispatched yet."""
        wanted = {"shot": "s2", "segment": 0}
        runs = [run for run in children_of(self.parent) if wanted.items() <= run.parameters.items()]
        return runs[0] if runs else None

    @property
    def item(self) -> WorkItem:
        """Return the work item of s2's segment."""
        return segment_item(self.plan.shots[1].segments[0])

    def until(self, what: str, true: Callable[[], bool], look_seconds: float = LOOK_SECONDS) -> None:
        """Wait for something. Raises: TimeoutError naming it and where the runs stand."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not true():
            if time.monotonic() > deadline:
                states = [(run.name, run.state) for run in [self.episode, *children_of(self.parent)]]
                raise TimeoutError(f"{what} did not happen within {LIMIT_SECONDS:.0f} s: {states}")
            time.sleep(look_seconds)

    def until_child_is(self, state: str) -> None:
        """Wait for a state of s2's segment."""
        self.until(f"a segment that is {state}", lambda: (child := self.child) is not None and child.state == state)

    def until_episode_is(self, state: str) -> None:
        """Wait for a state of the episode."""
        self.until(f"an episode that is {state}", lambda: self.episode.state == state)

    def until_quiet(self) -> None:
        """Wait until nothing moves any more: no run of this episode, and none that looks after others."""

        def quiet() -> bool:
            mine = [run for run in children_of(self.parent) if run.moving]
            return not mine and not find_runs(["resume"], MOVING)

        self.until("quiet", quiet)

    def press_retry(self, run: Run) -> None:
        """Send what the dashboard sends when somebody presses Retry on a run."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": PERSON}
        with get_client(sync_client=True) as client:
            client.request(
                "POST", "/flow_runs/{id}/set_state", path_params={"id": run.id}, json={"state": state, "force": False}
            ).raise_for_status()

    def press_retry_on_child(self) -> None:
        """Press Retry on s2's segment."""
        child = self.child
        if child is None:
            raise LookupError("s2's segment has no run to press Retry on")
        self.press_retry(child)

    def farm_retry(self) -> None:
        """Type `farm retry EPISODE --shot s2 --segment 0` on a terminal."""
        words = ["retry", self.plan.episode, "--shot", "s2", "--segment", "0", "--store", self.store, "--why", "story"]
        env = {**os.environ, "FARM_DATABASE": self.database}
        subprocess.run([sys.executable, "-m", "farm", *words], env=env, check=True, stdout=subprocess.DEVNULL)

    def start_resume_run(self, run: Run) -> None:
        """Start the resume flow for a run, as an automation would."""
        from prefect.deployments import run_deployment

        run_deployment("resume/resume", parameters={"run": str(run.id)}, timeout=0)

    def kill(self, run: Run) -> None:
        """Kill the processes of a run, without a word of warning."""
        self.until(f"a process of {run.name}", lambda: bool(processes_of(run.id)))
        for pid in processes_of(run.id):
            os.kill(pid, signal.SIGKILL)

    def cancel(self, run: Run) -> None:
        """Send what the dashboard sends when somebody cancels a run."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())

    def damage(self) -> None:
        """Leave a kept step of s2's segment that cannot be read: it fails after its claim, as a bug does."""
        self.pod.store.put_once(f"state/{self.plan.shots[1].segments[0].key}/step-00", b"damaged")

    def mend(self) -> None:
        """Take the damaged step away."""
        Checkpoints(self.pod.store, self.plan.shots[1].segments[0]).clear()

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Have rounds of reconciling, as `farm reconcile --every` does them."""
        end = Event()

        def rounds() -> None:
            while not end.wait(ROUND_SECONDS):
                reconcile_round(self.store, self.database, True)

        thread = Thread(target=rounds)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def processes_of(run: UUID) -> list[int]:
    """Return the processes on this machine that execute a run, the oldest first."""
    mark, found = f"PREFECT__FLOW_RUN_ID={run}".encode(), []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile
    return sorted(found)


def switch_automations(on: bool) -> None:
    """Let the farm's automations act, or not."""
    import asyncio

    async def switch() -> None:
        async with get_client() as client:
            for name in AUTOMATIONS:
                for automation in await client.read_automations_by_name(name):
                    act = client.resume_automation if on else client.pause_automation
                    await act(automation.id)

    asyncio.run(switch())
