"""What happens when a run goes red, in every order of events, on a real Prefect server with real workers.

python scripts/rerun_stories.py [--story NAME ...]
Each story renders a small episode of two shots on a farm of its own, breaks something, and does what a person would do:
press Retry on one red run, or nothing at all. Then it counts: one attempt that won per segment and shot, one stitched
film, and at most one attempt beyond those.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil  # type: ignore[import-untyped]

from tasks.fsck import audit
from tasks.overview import items_of
from tasks.plan.types import Plan
from tasks.pod import Pod, open_pod
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.services import local_farm
from tasks.store import content_key
from tasks.work import film_item

PORT = 4298
LIMIT_SECONDS = 900.0  # a busy machine is no failure


@dataclass(frozen=True)
class Told:
    """What a story came to."""

    name: str
    seconds: float
    extra_attempts: int
    winners: int
    items: int
    films: int
    findings: int

    @property
    def good(self) -> bool:
        return self.films == 1 and self.winners == self.items and self.extra_attempts <= 1 and not self.findings


@dataclass(frozen=True)
class Theatre:
    """A farm with one submitted episode."""

    pod: Pod
    plan: Plan
    order: str
    parent: UUID

    def runs(self, flow: str = "segment") -> list:  # type: ignore[type-arg]
        """Return this episode's runs of a flow."""
        from tasks.runs import children_of, read_run

        if flow == "episode":
            return [read_run(self.parent)]
        return [run for run in children_of(self.parent) if run.kind == flow]

    def until(self, what: str, true: Callable[[], bool]) -> None:
        """Wait for something. Raises: TimeoutError naming it."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not true():
            if time.monotonic() > deadline:
                states = [(run.name, run.state) for flow in ("segment", "shot", "episode") for run in self.runs(flow)]
                raise TimeoutError(f"{what} did not happen within {LIMIT_SECONDS:.0f} s: {states}")
            time.sleep(0.5)

    def is_in(self, flow: str, state: str) -> bool:
        """Say whether a run of a flow is in a state."""
        return any(run.state == state for run in self.runs(flow))

    def press_retry(self, flow: str, state: str) -> None:
        """Do to the red run what the dashboard's Retry does."""
        from prefect import get_client
        from prefect.states import AwaitingRetry

        from tasks.runs import PERSON

        red = next(run for run in self.runs(flow) if run.state == state)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(red.id, AwaitingRetry(message=PERSON))

    def kill_process_of(self, flow: str) -> None:
        """Kill the process of a running run of a flow, and only it."""
        self.until(f"a running {flow}", lambda: bool(self._processes(flow)))
        for process in self._processes(flow)[:1]:
            process.send_signal(signal.SIGKILL)

    def _processes(self, flow: str) -> list[psutil.Process]:
        ids = {str(run.id) for run in self.runs(flow) if run.state == "RUNNING"}
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                if process.environ().get("PREFECT__FLOW_RUN_ID") in ids:
                    found.append(process)
            except psutil.Error:
                continue
        return found


@contextmanager
def hidden(theatre: Theatre, shot: int) -> Iterator[None]:
    """Take a shot's sound out of the store for a while, so that its segments fail."""
    sha = theatre.plan.shots[shot].characters[0].stem_sha256
    data = theatre.pod.store.get(content_key(sha))
    theatre.pod.store.delete(content_key(sha))
    try:
        yield
    finally:
        theatre.pod.store.put_content(data)


def retry_after_the_episode_gave_up(theatre: Theatre) -> None:
    """One child fails, the episode gives up, a person presses Retry on the child."""
    with hidden(theatre, 1):
        theatre.until("the episode's failure", lambda: theatre.is_in("episode", "FAILED"))
    theatre.press_retry("segment", "FAILED")


def retry_before_the_episode_gives_up(theatre: Theatre) -> None:
    """One child fails, a person presses Retry while the episode still waits."""
    with hidden(theatre, 1):
        theatre.until("the child's failure", lambda: theatre.is_in("segment", "FAILED"))
    theatre.press_retry("segment", "FAILED")


def retry_the_episode_itself(theatre: Theatre) -> None:
    """One child fails, the episode gives up; a person retries the child and, too early, the episode as well."""
    with hidden(theatre, 1):
        theatre.until("the episode's failure", lambda: theatre.is_in("episode", "FAILED"))
    theatre.press_retry("segment", "FAILED")
    theatre.press_retry("episode", "FAILED")


def a_segment_is_killed(theatre: Theatre) -> None:
    """A segment's process is killed; nobody does anything."""
    theatre.kill_process_of("segment")


def the_episode_is_killed(theatre: Theatre) -> None:
    """The episode's own process is killed while its children render; nobody does anything."""
    theatre.until("children", lambda: bool(theatre.runs("segment")))
    theatre.kill_process_of("episode")


STORIES: list[Callable[[Theatre], None]] = [
    retry_after_the_episode_gave_up,
    retry_before_the_episode_gives_up,
    retry_the_episode_itself,
    a_segment_is_killed,
    the_episode_is_killed,
]


def tell(story: Callable[[Theatre], None], folder: Path, server: str) -> Told:
    """Submit an episode, let the story happen, wait for the film and count."""
    from tasks.services import start_episode

    begun = time.monotonic()
    store, database = (folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}"
    with open_pod(store, database) as pod:
        seed = 100 + STORIES.index(story)
        plan, order = ingest_rehearsal(folder / "manifest", Rehearsal((2, 1), steps=3, seed=seed), pod)
        url = start_episode(f"{server}/api", plan.episode, order, store, database, str(folder / "out"))
        theatre = Theatre(pod, plan, order, UUID(url.rsplit("/", 1)[1]))
        story(theatre)
        theatre.until("the film", lambda: theatre.is_in("episode", "COMPLETED"))
        items = [item for _, _, item in items_of(plan)]
        attempts = [attempt for item in [*items, film_item(plan)] for attempt in pod.ledger.attempts(item)]
        won = [attempt for attempt in attempts if attempt.state == "done"]
        films = sum(attempt.item == film_item(plan) for attempt in won)
        findings = audit(pod.store, pod.ledger, repair=False)
        seconds = time.monotonic() - begun
        return Told(
            story.__name__, seconds, len(attempts) - len(won), len(won) - films, len(items), films, len(findings)
        )


def main(arguments: list[str]) -> int:
    """Tell the stories and print the table; 1 when one of them ended badly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", action="append", choices=[story.__name__ for story in STORIES])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    chosen = [story for story in STORIES if not given.story or story.__name__ in given.story]
    folder = Path(tempfile.mkdtemp(prefix="farm-stories-"))
    os.environ |= {"FARM_HOME": str(folder / "home"), "FARM_GRACE_SECONDS": "20", "FARM_THREADS": "1"}
    good = True
    print("| story | s | won / items | stitched | attempts beyond | fsck |\n|---|---|---|---|---|---|", flush=True)
    with local_farm(PORT, given.workers) as server:
        os.environ["PREFECT_API_URL"] = f"{server}/api"
        for story in chosen:
            told = tell(story, folder / story.__name__, server)
            good = good and told.good
            print(
                f"| {told.name.replace('_', ' ')} | {told.seconds:.0f} | {told.winners} / {told.items} | {told.films} "
                f"| {told.extra_attempts} | {told.findings} |",
                flush=True,
            )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
