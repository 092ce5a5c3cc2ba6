"""A segment on two processes of a pod: what one process makes, also when a rank is killed or the pod is asked to go."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from db.records import WorkItem
from tasks.errors import ConfigError, OutOfMemory, Preempted, TransientError
from tasks.exchange import Checkpoints, unpack_predictions
from tasks.fsck import audit
from tasks.give_way import StopNotice
from tasks.on_gpus import render_on_gpus, require
from tasks.pod import open_pod
from tasks.pointer import find_done
from tasks.progress import Silence
from tasks.rank_notes import RankNotes
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.settings import settings
from tasks.take import render_take
from tasks.work import segment_item

HERE = Path(__file__).parent
STEPS = 16
ULYSSES, GUIDED = Rehearsal((2,), 2, steps=STEPS), Rehearsal((2,), 2, steps=STEPS, guidance=3.0)


@pytest.fixture(scope="module", autouse=True)
def _two_processes_on_a_cpu():
    paths = (HERE.parents[1], HERE / "cpu_ranks", HERE.parent / "model" / "parallel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
        for name, value in (("GPUS", "2"), ("DEVICE", "cpu"), ("THREADS", "1")):
            patch.setenv(f"FARM_{name}", value)
        settings.cache_clear()
        yield
    settings.cache_clear()


class Scene:
    """One take of one segment, in a farm of its own."""

    def __init__(self, folder: Path, what: Rehearsal) -> None:
        self.opened = open_pod((folder / "store").as_uri(), f"sqlite:///{folder / 'farm.db'}")
        self.pod = self.opened.__enter__()
        self.plan, self.order = ingest_rehearsal(folder / "manifest", what, self.pod)
        self.shot = self.plan.shots[0]
        self.segment = self.shot.segments[0]
        self.item = segment_item(self.segment)

    def on_two(self, watch=None, stop=None) -> str:
        pod = replace(self.pod, stop=stop or StopNotice())
        return render_on_gpus(pod, self.plan, self.shot, self.order, watch or Silence(), 0)

    def on_one(self) -> None:
        assert render_take(self.pod, self.plan, self.shot, self.shot.segments, Silence()) == 1

    def winner(self):
        return find_done(self.pod.store, self.item).object

    def latents(self):
        return unpack_predictions(self.pod.store.get(self.winner().key))

    def attempts(self) -> list[tuple[str, str]]:
        return [(attempt.state, attempt.failure_class) for attempt in self.pod.ledger.attempts(self.item)]

    def steps_kept(self) -> int:
        return Checkpoints(self.pod.store, self.segment).num_done()


@pytest.fixture
def scene(tmp_path):
    made = []

    def make(what: Rehearsal, name: str) -> Scene:
        made.append(Scene(tmp_path / name, what))
        return made[-1]

    yield make
    for one in made:
        one.opened.__exit__(None, None, None)


class AtFirstStep:
    """A watcher that does something once, when it hears of a step."""

    def __init__(self, action) -> None:
        self.action, self.heard = action, []

    def advance(self, stage, name, done, total) -> None:
        self.heard.append(done)
        if len(self.heard) == 1:
            self.action()

    def note(self, text) -> None:
        pass


def pid_of_rank(rank: int) -> int:
    """Return the process of a rank that was started here, by what the kernel says of it."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"PYTHONPATH={os.environ['PYTHONPATH']}".encode() in variables
        if ours and b"tasks.ranks" in words and f"RANK={rank}".encode() in variables:
            return int(process.name)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.slow
def test_a_killed_rank_costs_one_infrastructure_failure_and_two_ranks_finish_what_one_would_have_made(scene):
    alone, shared = scene(ULYSSES, "alone"), scene(ULYSSES, "shared")
    alone.on_one()
    with pytest.raises(TransientError, match="rank"):
        shared.on_two(AtFirstStep(lambda: os.kill(pid_of_rank(1), signal.SIGKILL)))
    assert shared.attempts() == [("lost", "infrastructure")] or shared.attempts() == [("failed", "infrastructure")]
    kept = shared.steps_kept()
    assert 1 <= kept < STEPS
    watch = AtFirstStep(lambda: None)
    shared.on_two(watch)
    assert watch.heard[0] > kept - 1 and watch.heard[-1] == STEPS  # it went on where the lost one had stopped
    assert shared.attempts()[1:] == [("done", "")]
    assert shared.pod.ledger.attempts(shared.item)[-1].num_gpus == 2
    one, two = alone.latents(), shared.latents()
    assert one.keys() == two.keys()
    assert max(float((one[key] - two[key]).abs().max()) for key in one) <= 1e-5
    assert audit(shared.pod.store, shared.pod.ledger, repair=False) == []


@pytest.mark.slow
def test_ranks_asked_to_stop_keep_their_step_and_one_process_makes_the_same_bits_of_it(scene):
    alone, shared = scene(GUIDED, "alone"), scene(GUIDED, "shared")
    alone.on_one()
    stop = StopNotice(20.0)
    with pytest.raises(Preempted):
        shared.on_two(AtFirstStep(stop.set), stop)
    assert shared.attempts() == [("failed", "preempted")]
    assert shared.pod.ledger.status(shared.item).state == "pending"
    assert 1 <= shared.steps_kept() < STEPS
    shared.on_one()
    assert (
        find_done(shared.pod.store, shared.item).object.sha256 == find_done(alone.pod.store, alone.item).object.sha256
    )


def test_a_rank_s_own_error_is_what_the_pod_ends_with(tmp_path):
    notes = RankNotes(tmp_path)
    assert notes.result(0) is None
    notes.succeed(0, "content/ab")
    assert notes.result(0) == "content/ab"
    notes.fail(1, OutOfMemory("80 GB are not enough"))
    with pytest.raises(OutOfMemory, match="80 GB"):
        notes.result(1)
    notes.fail(2, KeyError("x"))
    with pytest.raises(RuntimeError, match="rank 2: KeyError: 'x'"):
        notes.result(2)


def test_progress_is_passed_on_once(tmp_path):
    notes, watch = RankNotes(tmp_path), AtFirstStep(lambda: None)
    notes.pass_on(watch)
    notes.advance("segment", "s1 1/1", 3, 6)
    notes.pass_on(watch)
    notes.pass_on(watch)
    assert watch.heard == [3]


def test_what_several_gpus_cannot_do_is_refused_before_anything_starts(scene):
    plan = scene(ULYSSES, "here").plan
    require(plan)
    with pytest.raises(ConfigError, match="residual"):
        require(replace(plan, cache="residual"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_DEVICE", "cuda:1")
        settings.cache_clear()
        with pytest.raises(ConfigError, match="FARM_DEVICE=cuda:1 one of them"):
            require(plan)
    settings.cache_clear()


def test_a_claim_that_a_lost_rank_held_is_ended_with_the_class_it_deserves(scene):
    here = scene(ULYSSES, "here")
    item = WorkItem("segment", here.segment.key)
    here.pod.ledger.claim(item, "pod", 60.0)
    assert not here.pod.ledger.pass_over(item, "another", "gone", "out_of_memory")
    assert here.pod.ledger.pass_over(item, "pod", "gone", "out_of_memory")
    assert here.attempts() == [("lost", "out_of_memory")]
