"""What workers in other processes do in the tests of publishing; every function can be sent to a process."""

import os
from pathlib import Path

from db.engine import connect
from db.ledger import Ledger
from db.records import Artifact, Behalf, WorkItem
from tasks.attempt import Work
from tasks.crash import CrashAt, NoCrash
from tasks.errors import Busy, LeaseLost
from tasks.publish import Input, Output, Published, Publisher, Rendered
from tasks.store import Retry, open_store

STEM = Artifact("5" * 64, 9, "stem", name="ada.wav")
BEHALF = Behalf("episode", "shot")


def render_bytes(data: bytes):
    """Return a renderer of these bytes with a thumbnail beside them."""

    def render(work: Work) -> Rendered:
        (work.scratch / "clip").write_bytes(data)
        (work.scratch / "thumb").write_bytes(b"thumb of " + data)
        return Rendered(
            Output(work.scratch / "clip", "segment_latents", ".bin", "clip"),
            (Output(work.scratch / "thumb", "thumbnail", ".jpg"),),
            (Input(STEM, "stem of ada"),),
            {"steps": 4.0},
            {"seed": 7, "code": "v1"},
        )

    return render


def open_publisher(url, endpoint, database_url, scratch, name, lease_seconds=60.0, crash=None) -> Publisher:
    retry = Retry(tries=8, first_seconds=0.0, max_seconds=0.0)
    store, ledger = open_store(url, endpoint=endpoint, retry=retry), Ledger(connect(database_url))
    return Publisher(store, ledger, name, Path(scratch), lease_seconds, crash=crash or NoCrash())


def die_at(point: str, where: tuple, item: WorkItem, lease_seconds: float) -> None:
    """Publish and be killed at the point."""
    publisher = open_publisher(*where, "doomed", lease_seconds, CrashAt(point))
    publisher.publish(item, render_bytes(b"from the doomed"), behalf=BEHALF)


def compete(number: int, where: tuple, item: WorkItem, lease_seconds: float, started, answers) -> None:
    """Publish bytes of one's own, coming back while others are at it; answer with the winner's digest."""
    publisher = open_publisher(*where, f"w{number}", lease_seconds)
    started.wait()
    while True:
        try:
            done: Published = publisher.publish(item, render_bytes(b"made by %d" % os.getpid()), behalf=BEHALF)
        except (Busy, LeaseLost):
            continue
        answers.put((done.pointer.object.sha256, done.rendered))
        return
