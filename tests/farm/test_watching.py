"""What people see and hear of a run, against a real Prefect server: automations that act, notes, logs, bars, boards."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Failed, Pending, Running
from prefect.types._datetime import now
from prefect_server import prefect_api
from typer import Typer
from typer.testing import CliRunner

from farm.commands.operations import mount
from tasks.board import Board
from tasks.children import Group, start_children
from tasks.dashboard import artifact_key, show_segment
from tasks.dispatch import segments_of
from tasks.farm_setup.apply import Wanted, set_up
from tasks.pod import open_pod
from tasks.publish import Output, Rendered
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.run_logs import segment_logs
from tasks.run_progress import RunProgress
from tasks.runs import children_of, count_moving, find_runs
from tasks.settings import settings
from tasks.work import segment_item

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's own
PATIENCE_SECONDS = 120.0


class Listener(BaseHTTPRequestHandler):
    """Keeps what it is sent."""

    heard: Queue[tuple[str, dict[str, str], bytes]] = Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.put((self.path, dict(self.headers), body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module", autouse=True)
def server():
    with temporary_settings({PREFECT_API_URL: prefect_api("watching")}):
        yield prefect_api("watching")


@pytest.fixture(scope="module")
def address():
    """The address of something that listens to webhooks."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=listener.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listener.server_port}/services/T0/B0/secret"
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture(scope="module")
def farm(server, address):
    return asyncio.run(set_up(Wanted(notify=address)))


@pytest.fixture(scope="module")
def episode(tmp_path_factory, farm):
    """A planned episode of one take of three segments, and the parameters of its runs."""
    folder = tmp_path_factory.mktemp("watching")
    store, database = (folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}"
    with open_pod(store, database) as pod:
        plan, order = ingest_rehearsal(folder / "manifest", Rehearsal((3,), steps=1), pod)
        yield pod, plan, {"episode": plan.episode, "order": order, "store": store, "database": database}


def eventually(what, look):
    """Wait until `look` returns something and return it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.2)
    return found


def set_states(run, *states):
    with get_client(sync_client=True) as client:
        for state in states:
            client.set_flow_run_state(run, state, force=True)


def artifact(key):
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    assert len(found) == 1, [one.key for one in found]
    return found[0]


def segment_run(given, index):
    return run_deployment("segment/segment", parameters={**given, "shot": "s1", "segment": index}, timeout=0)


def publish(pod, plan, index):
    """Publish a segment with a thumbnail; nobody renders."""
    segment = plan.shots[0].segments[index]

    def render(work):
        latents, picture = work.scratch / "latents", work.scratch / "thumbnail.jpg"
        latents.write_bytes(segment.key.encode())
        picture.write_bytes(b"jpeg of " + segment.key.encode())
        return Rendered(Output(latents, "segment_latents"), extras=(Output(picture, "thumbnail", ".jpg"),))

    pod.publisher.publish(segment_item(segment), render, stop=pod.stop)


def test_a_segment_that_came_through_at_a_second_try_starts_the_resume_flow_by_itself(episode):
    _, _, given = episode
    run = segment_run(given, 0)
    set_states(run.id, Pending(), Running(), Failed(), Running(), Completed())

    def resumed():
        return [one for one in find_runs(["resume"]) if one.parameters.get("run") == str(run.id)]

    assert len(eventually("the automation farm-resume", resumed)) == 1


def test_a_failed_episode_is_told_to_a_webhook_as_slack_takes_it(episode):
    _, _, given = episode
    run = run_deployment("episode/episode", parameters=given, timeout=0, flow_run_name="pilot")
    set_states(run.id, Pending(), Running(), Failed(message='shot "s1" <0>\nis not done'))
    path, headers, body = Listener.heard.get(timeout=PATIENCE_SECONDS)
    assert path == "/services/T0/B0/secret" and headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"text": 'pilot: Failed. shot "s1" <0>\nis not done'}


def test_a_finished_episode_is_told_too(episode):
    _, _, given = episode
    run = run_deployment("episode/episode", parameters=given, timeout=0, flow_run_name="second")
    set_states(run.id, Pending(), Running(), Completed())
    assert json.loads(Listener.heard.get(timeout=PATIENCE_SECONDS)[2])["text"].startswith("second: Completed")


def write_log(run, *lines):
    with get_client(sync_client=True) as client:
        client.create_logs(
            [LogCreate(name="t", level=20, message=line, timestamp=now("UTC"), flow_run_id=run) for line in lines]
        )


def test_logs_are_followed_to_the_last_line_of_a_run_that_ends(episode):
    _, plan, given = episode
    run = segment_run(given, 1)
    set_states(run.id, Pending(), Running())
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, name=f"{plan.episode} s1 1")
    write_log(run.id, "first")
    pauses = []

    def pause(_):
        pauses.append(len(pauses))
        if pauses == [0]:
            write_log(run.id, "second [step 3]")
        if pauses == [0, 1]:
            set_states(run.id, Completed())
        if pauses == [0, 1, 2]:
            write_log(run.id, "said after the end")

    said = [line.split(" ", 1)[1] for line in segment_logs(plan.episode, "s1", 1, True, pause)]
    assert said == ["first", "second [step 3]", "said after the end"]


def test_who_follows_a_segment_without_a_run_is_told_that_it_is_waited_for(episode):
    _, plan, given = episode
    said: list[str] = []

    def pause(_):
        if len(said) == 1:
            run = segment_run(given, 2)
            with get_client(sync_client=True) as client:
                client.update_flow_run(run.id, name=f"{plan.episode} s1 2 followed")
            write_log(run.id, "here it is")
            set_states(run.id, Completed())
            said.append("the run came")

    lines = segment_logs(plan.episode, "s1", "2 followed", True, pause, said.append)
    assert [line.split(" ", 1)[1] for line in lines] == ["here it is"]
    assert said == ["no run of it yet, waiting for one; Ctrl-C ends that", "the run came"]


def test_farm_logs_prints_attempts_and_lines_with_their_brackets(episode, monkeypatch, server):
    pod, plan, given = episode
    claim = pod.ledger.claim(segment_item(plan.shots[0].segments[1]), "worker [7]", 60.0)
    pod.ledger.fail(claim, "bug", "no [/such] thing", 1.0)
    monkeypatch.setenv("FARM_DATABASE", given["database"])
    settings.cache_clear()
    words = ["logs", f"{plan.episode}/s1/1", "--store", given["store"], "--server", server]
    mount(app := Typer())
    printed = CliRunner().invoke(app, words)
    settings.cache_clear()
    assert printed.exit_code == 0, printed.output
    assert "attempt 1 of worker [7]: failed no [/such] thing" in printed.output
    assert "second [step 3]" in printed.output


def test_a_run_s_bar_moves_in_place_and_shows_its_end():
    clock = iter([0.0, 1.0, 6.0, 7.0]).__next__

    @flow
    def render():
        bar = RunProgress("steps_Pilot s1", clock)
        for step in (1, 2, 3, 4):
            bar.advance("segment", "s1", step, 4)
        return str(flow_run.id)

    run = render()
    shown = artifact("steps-pilot-s1")
    assert str(shown.flow_run_id) == run and shown.type == "progress"
    assert shown.data == 100.0 and shown.description == "segment s1: 4 of 4"


def test_the_board_counts_the_children_and_shows_the_newest_frame(episode):
    pod, plan, given = episode
    publish(pod, plan, 1)
    seconds = iter([0.0, 0.0, 0.0, 60.0, 60.0]).__next__

    @flow
    def watch():
        group = segments_of(pod, plan, plan.shots[0], given)
        board = Board(pod, plan, "segment", seconds)
        board.show([], 1, 3)
        publish(pod, plan, 0)
        board.show([child for child in group.children if child.name == "s1 0"], 2, 3)

    watch()
    page = artifact(artifact_key("newest", "segment", plan.episode)).data
    assert "**2 of 3 segments** after 0:01:00, about 0:01:00 left" in page
    assert "newest: **s1 0**, attempt 1" in page and "](data:image/jpeg;base64,anBlZyBvZi" in page


def test_a_segment_s_page_has_its_frame_its_attempts_and_its_place(episode):
    pod, plan, given = episode
    publish(pod, plan, 1)

    @flow
    def look():
        show_segment(given["order"], "s1", 1, given["store"], given["database"])

    look()
    page = artifact(artifact_key("segment", plan.episode, "s1", 1)).data
    assert "data:image/jpeg;base64," in page and f"{given['store']}/objects/" in page
    assert page.count("| done |") == 1


def test_children_are_created_in_one_call_once_and_counted(episode):
    pod, plan, given = episode
    parents = []

    @flow(name="episode")
    def dispatch():
        parent = UUID(str(flow_run.id))
        group = segments_of(pod, plan, plan.shots[0], given)
        children = tuple(child for child in group.children)
        first = start_children(parent, [Group("s1", children)])
        again = start_children(parent, [Group("s1", children)])  # the answer to the first call was lost
        known = start_children(parent, [Group("s1", children)], children_of(parent))
        parents.append(parent)
        return [first, again, known]

    first, again, known = dispatch()
    assert first.keys() == again.keys() == known.keys() and len(first) == 1
    runs = children_of(parents[0])
    assert [run.name for run in runs] == [f"{plan.episode} s1 2"] and runs[0].parent_task is not None
    assert count_moving(parents[0]) == 1
    set_states(runs[0].id, Failed())
    assert count_moving(parents[0]) == 0 and count_moving(uuid4()) == 0
