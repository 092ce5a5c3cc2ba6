"""Who gets SIGTERM, and what a pod still does before it goes."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from model.schedule import ScheduleConfig, plan_steps
from model.windows import FusionConfig, plan_windows, shot_latents
from tasks.denoise import OneAtATime
from tasks.errors import Preempted
from tasks.give_way import StopNotice, give_way


class Raised(BaseException):
    """What the handler of this test raises, as Prefect's does."""


@pytest.fixture
def handler():
    def raise_it(_number, _frame):
        raise Raised

    before = signal.signal(signal.SIGTERM, raise_it)
    yield raise_it
    signal.signal(signal.SIGTERM, before)


def test_what_the_work_returns_or_raises_comes_back(handler):
    assert give_way(lambda stop: 7, 1.0) == 7
    with pytest.raises(KeyError):
        give_way(lambda stop: {}["x"], 1.0)


def test_the_handler_that_was_there_is_there_all_along_and_its_exception_ends_the_wait(handler):
    seen = []

    def work(stop):
        seen.append(signal.getsignal(signal.SIGTERM) is handler)
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append(stop.wait(60))
        raise Preempted("saved")

    with pytest.raises(Raised):
        give_way(work, 60.0, lambda: seen.append("let go"))
    assert seen == [True, True]


def test_asked_twice_it_still_saves_and_passes_the_first_request_on(handler):
    saved = []

    def work(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(60)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        saved.append("step")
        raise Preempted("saved")

    with pytest.raises(Raised):
        give_way(work, 60.0, lambda: saved.append("let go"))
    assert saved == ["step"]


def test_a_claim_that_cannot_be_released_does_not_hide_the_signal(handler):
    hang = threading.Event()

    def work(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        hang.wait(60)

    def let_go():
        raise ConnectionError("the database is away")

    with pytest.raises(Raised):
        give_way(work, 0.05, let_go)
    hang.set()


def test_work_that_does_not_end_in_time_is_let_go(handler):
    hang, seen = threading.Event(), []

    def work(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        hang.wait(60)

    with pytest.raises(Raised):
        give_way(work, 0.05, lambda: seen.append("let go"))
    hang.set()
    assert seen == ["let go"]


LONELY = """
import os, signal
from tasks.give_way import give_way
def work(stop):
    os.kill(os.getpid(), signal.SIGTERM)
    print("asked", stop.wait(60), flush=True)
give_way(work, 60.0)
"""


def test_a_process_without_a_handler_still_ends_by_the_signal():
    done = subprocess.run([sys.executable, "-c", LONELY], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("asked True\n", -signal.SIGTERM)


def test_a_file_asks_too(tmp_path):
    stop = StopNotice(10.0, tmp_path / "stop")
    assert not stop.is_set() and stop.leaves(1e9)
    (tmp_path / "stop").touch()
    assert stop.is_set() and stop.leaves(1.0) and not stop.leaves(11.0)


def test_a_window_that_would_not_be_done_in_time_is_not_begun():
    class Slow:
        def velocity(self, x, window, step):
            time.sleep(0.02)
            return x

    fusion = FusionConfig("guarded", 4, 1, max_window_latents=6)
    step = plan_steps(ScheduleConfig(2))[0]
    window = plan_windows(shot_latents(29, fusion), 0, fusion)[0]
    stop = StopNotice(patience_seconds=60.0)
    denoiser = OneAtATime(Slow(), stop)
    x = torch.zeros(1)
    denoiser.velocity(x, window, step)
    stop.set()
    denoiser.velocity(x, window, step)  # there is time for one as long as the last
    denoiser.longest_seconds = 61.0
    with pytest.raises(Preempted, match="step 1: abandoned"):
        denoiser.velocity(x, window, step)
