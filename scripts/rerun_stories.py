"""What happens when a run goes red, in every order of events, on a real Prefect server with real workers.

python scripts/rerun_stories.py [--story NAME ...] [--workers 2]
python scripts/rerun_stories.py --story retry_pressed_in_the_dashboard      needs chromium; says where its pictures are
Prefect's server and the ledger are on PostgreSQL. Each story renders a small episode of two shots, breaks one segment,
and does what a person would do: press Retry on the one red run, type `farm retry`, or nothing. Then it counts. Good is:
every segment and shot has one winner, the broken segment was tried exactly once more and nothing else was, the film was
stitched once, and `farm fsck` finds nothing.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from prefect import get_client
from rerun_browser import press_retry_in_browser
from rerun_theatre import Theatre, processes_of, switch_automations
from server_port import server_port

from tasks.chaos.postgres import installed
from tasks.fsck import audit
from tasks.overview import items_of
from tasks.pod import open_pod
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.runs import children_of
from tasks.services import local_farm, start_episode
from tasks.work import film_item

GRACE_SECONDS = 20
Act = Callable[[Theatre], None]


@dataclass(frozen=True)
class Story:
    """What is broken beforehand, who is there to help, and what happens."""

    act: Act
    damaged: bool = True  # s2's segment fails after its claim until somebody mends it
    automations: bool = True
    reconciler: bool = False
    steps: int = 2
    browser: bool = False  # told only when it is asked for by name
    stops: int = 0  # segments at most, besides s2's, that are stopped in mid-work
    segments: int = 1  # of s2's take; the first is the one that things happen to
    waits: int = 0  # tries at most of its neighbours that ended because it had failed

    @property
    def name(self) -> str:
        return self.act.__name__


@dataclass(frozen=True)
class Told:
    """What a story came to."""

    name: str
    seconds: float
    renders: int  # attempts at segments that got as far as a claim
    segments: int
    extra_broken: int  # attempts at the broken segment beyond the one that won
    extra_others: int  # attempts at any other segment or shot beyond the one that won, or starts of its run
    stitches: int  # attempts at the film
    runs: str  # how often the red run and the episode's run were started
    resumed_by: str
    findings: int
    allowed: int  # tries of others, beyond the one that won, that the story asks for

    @property
    def good(self) -> bool:
        once_each = self.extra_others <= self.allowed and 1 <= self.renders - self.segments <= 1 + self.allowed
        return once_each and (self.extra_broken, self.stitches, self.findings) == (1, 1, 0)

    @property
    def row(self) -> str:
        cells = (
            self.name.replace("_", " "), f"{self.seconds:.0f}", f"{self.renders} for {self.segments}",
            self.extra_broken, self.extra_others, self.stitches, self.runs, self.resumed_by, self.findings,
            "yes" if self.good else "NO",
        )  # fmt: skip
        return f"| {' | '.join(str(cell) for cell in cells)} |"


HEAD = "| story | s | renders | again, broken | others | stitched | starts: red, episode | woken by | fsck | good |"


def retry_after_the_episode_gave_up_automation_only(theatre: Theatre) -> None:
    """The episode has given up; Retry is pressed on the child; the automation wakes the episode."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    theatre.press_retry_on_child()


def retry_after_the_episode_gave_up_reconciler_only(theatre: Theatre) -> None:
    """The same with every event lost: the automations are switched off."""
    retry_after_the_episode_gave_up_automation_only(theatre)


def retry_after_the_episode_gave_up_both(theatre: Theatre) -> None:
    """The same with automation and reconciler."""
    retry_after_the_episode_gave_up_automation_only(theatre)


def everything_twice(theatre: Theatre) -> None:
    """Retry is pressed twice, the resume flow started twice by hand, and automation and reconciler do it as well."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    theatre.press_retry_on_child()
    theatre.press_retry_on_child()
    theatre.until_child_is("COMPLETED")
    child = theatre.child
    assert child is not None
    theatre.start_resume_run(child)
    theatre.start_resume_run(child)


def one_of_a_take_fails_and_is_retried(theatre: Theatre) -> None:
    """One of a take's three segments is red for good, the others end without waiting for it; Retry on it alone."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    theatre.press_retry_on_child()


def one_of_a_take_fails_and_farm_retry(theatre: Theatre) -> None:
    """The same with `farm retry EPISODE --shot s2 --segment 0`."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    theatre.farm_retry()


def retry_while_the_episode_waits(theatre: Theatre) -> None:
    """Retry is pressed as soon as the child is red; the episode still waits for it."""
    theatre.until_child_is("FAILED")
    theatre.mend()
    theatre.press_retry_on_child()


def retry_the_episode_as_well(theatre: Theatre) -> None:
    """The episode has given up; Retry is pressed on the child and, too early, on the episode."""
    retry_after_the_episode_gave_up_automation_only(theatre)
    theatre.press_retry(theatre.episode)


def retry_after_the_episode_crashed(theatre: Theatre) -> None:
    """The child is red, the episode's process is killed, then Retry is pressed on the child."""
    theatre.until_child_is("FAILED")
    theatre.kill(theatre.episode)
    theatre.until_episode_is("CRASHED")
    theatre.mend()
    theatre.press_retry_on_child()


def farm_retry_after_the_episode_gave_up(theatre: Theatre) -> None:
    """`farm retry EPISODE --shot s2 --segment 0`, the episode has given up."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    theatre.farm_retry()


def farm_retry_while_the_episode_waits(theatre: Theatre) -> None:
    """The same command, the episode still waits."""
    theatre.until_child_is("FAILED")
    theatre.mend()
    theatre.farm_retry()


def a_segment_is_killed_automation_only(theatre: Theatre) -> None:
    """A segment's process is killed while it renders; nobody does anything."""
    theatre.until("a segment that renders", lambda: is_rendered(theatre), look_seconds=0.1)
    child = theatre.child
    assert child is not None
    theatre.kill(child)


def a_segment_is_killed_reconciler_only(theatre: Theatre) -> None:
    """The same with every event lost."""
    a_segment_is_killed_automation_only(theatre)


def the_episode_is_killed_too(theatre: Theatre) -> None:
    """A segment's and the episode's process are killed at the same moment; nobody does anything."""
    a_segment_is_killed_automation_only(theatre)
    theatre.kill(theatre.episode)


def the_episode_is_cancelled_and_retried(theatre: Theatre) -> None:
    """Somebody cancels the episode while its segments render, and presses Retry on it when everything stands still."""
    theatre.until("a segment that renders", lambda: is_rendered(theatre), look_seconds=0.1)
    theatre.cancel(theatre.episode)
    theatre.until_episode_is("CANCELLED")
    theatre.until_child_is("CANCELLED")
    theatre.until_quiet()
    theatre.press_retry(theatre.episode)


def is_rendered(theatre: Theatre) -> bool:
    """Say whether a process is at work on s2's segment."""
    child, status = theatre.child, theatre.pod.ledger.status(theatre.item)
    return bool(child and status and status.state == "running" and processes_of(child.id))


def retry_pressed_in_the_dashboard(theatre: Theatre) -> None:
    """The episode has given up; a browser opens the red child's page and presses Retry."""
    theatre.until_episode_is("FAILED")
    theatre.mend()
    press_retry_in_browser(theatre, theatre.pictures)


STORIES = [
    Story(retry_pressed_in_the_dashboard, browser=True),
    Story(retry_after_the_episode_gave_up_automation_only),
    Story(retry_after_the_episode_gave_up_reconciler_only, automations=False, reconciler=True),
    Story(retry_after_the_episode_gave_up_both, reconciler=True),
    Story(everything_twice, reconciler=True),
    Story(retry_while_the_episode_waits, reconciler=True),
    Story(retry_the_episode_as_well, reconciler=True),
    Story(retry_after_the_episode_crashed, reconciler=True),
    Story(farm_retry_after_the_episode_gave_up, reconciler=True),
    Story(farm_retry_while_the_episode_waits, reconciler=True),
    Story(one_of_a_take_fails_and_is_retried, segments=3, waits=2, steps=4),
    Story(one_of_a_take_fails_and_farm_retry, segments=3, waits=2, steps=4, reconciler=True),
    Story(a_segment_is_killed_automation_only, damaged=False, steps=10),
    Story(a_segment_is_killed_reconciler_only, damaged=False, steps=10, automations=False, reconciler=True),
    Story(the_episode_is_killed_too, damaged=False, steps=10, reconciler=True),
    Story(the_episode_is_cancelled_and_retried, damaged=False, steps=100, stops=1),  # cancelling takes seconds
]


def tell(story: Story, folder: Path, server: str, ledger: str) -> Told:
    """Submit an episode, let the story happen, wait for the film and for quiet, and count."""
    begun, store = time.monotonic(), (folder / "store").as_uri()
    switch_automations(story.automations)
    with open_pod(store, ledger) as pod:
        what = Rehearsal((1, story.segments), steps=story.steps, seed=100 + STORIES.index(story))
        plan, order = ingest_rehearsal(folder / story.name, what, pod)
        theatre = Theatre(pod, plan, UUID(int=0), store, ledger, folder / "pictures")
        if story.damaged:
            theatre.damage()
        url = start_episode(f"{server}/api", plan.episode, order, store, ledger, str(folder / "out"), 1)
        theatre = replace(theatre, parent=UUID(url.rsplit("/", 1)[1]))
        if story.reconciler:
            with theatre.reconciling():
                to_the_end(story, theatre)
        else:
            to_the_end(story, theatre)
        return count(story, theatre, time.monotonic() - begun)


def to_the_end(story: Story, theatre: Theatre) -> None:
    """Let the story happen and wait for the film."""
    story.act(theatre)
    theatre.until_episode_is("COMPLETED")
    theatre.until_quiet()


def count(story: Story, theatre: Theatre, seconds: float) -> Told:
    """Count attempts in the ledger and starts in Prefect."""
    ledger, plan = theatre.pod.ledger, theatre.plan
    items = [(item, ledger.attempts(item)) for _, _, item in items_of(plan)]
    extra = Counter({item: len(tried) - sum(one.state == "done" for one in tried) for item, tried in items})
    missing = [item for item, tried in items if sum(one.state == "done" for one in tried) != 1]
    segments = [tried for item, tried in items if item.kind == "segment"]
    child, findings = theatre.child, audit(theatre.pod.store, ledger, repair=False)
    others = [run.run_count for run in children_of(theatre.parent) if child and run.id != child.id]
    return Told(
        story.name,
        seconds,
        renders=sum(len(tried) for tried in segments),
        segments=len(segments),
        extra_broken=extra[theatre.item],
        extra_others=max(sum(extra.values()) - extra[theatre.item], sum(run - 1 for run in others)),
        stitches=len(ledger.attempts(film_item(plan))),
        runs=f"{child.run_count if child else 0}, {theatre.episode.run_count}",
        resumed_by=woken_by(theatre.parent) or woken_by(child.id if child else theatre.parent),
        findings=len(findings) + len(missing),
        allowed=story.stops + story.waits,
    )


def woken_by(run: UUID) -> str:
    """Return what the farm said when it put a run back in the queue by itself, empty when it did not."""
    with get_client(sync_client=True) as client:
        said = [state.message or "" for state in client.read_flow_run_states(run) if state.name == "AwaitingRetry"]
    return "; ".join(message.removeprefix("farm: ") for message in said if message.startswith("farm: "))


def main(arguments: list[str]) -> int:
    """Tell the stories and print the table; 1 when one of them ended badly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--story", action="append", choices=[story.name for story in STORIES])
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    port = server_port()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started ends
    folder, good = Path(tempfile.mkdtemp(prefix="farm-stories-")), True
    with installed() as postgres:
        os.environ |= {
            "FARM_HOME": str(folder / "home"),
            "FARM_GRACE_SECONDS": str(GRACE_SECONDS),
            "FARM_THREADS": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "5",
            "PREFECT_API_DATABASE_CONNECTION_URL": postgres.prefect,
        }
        named = {story.name: story for story in STORIES}
        chosen = [named[name] for name in given.story or ()] or [story for story in STORIES if not story.browser]
        with local_farm(port, given.workers, reconcile_seconds=0) as server:
            print(f"{HEAD}\n|{'---|' * HEAD.count(' | ')}---|", flush=True)
            for story in chosen:
                told = tell(story, folder, server, postgres.url)
                good = good and told.good
                print(told.row, flush=True)
            if (folder / "pictures").is_dir():
                print(f"pictures: {folder / 'pictures'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
