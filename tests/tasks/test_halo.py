"""Messages between pods: how soon one is noticed, and that asking for it is one request."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.exchange import Piece, Read
from tasks.exchange import MAX_PAUSE_SECONDS, MIN_PAUSE_SECONDS, StoreExchange, Yielded, pause_seconds
from tasks.store import open_store

READ = (Read(0, (Piece(0, (4, 5)),)),)


class Counting:
    """A store in a folder that counts how often it is asked."""

    def __init__(self, folder):
        self.store, self.asked = open_store(folder.as_uri()), []

    def get(self, key):
        self.asked.append("get")
        return self.store.get(key)

    def put_once(self, key, data):
        return self.store.put_once(key, data)


class Clock:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_a_message_that_is_there_costs_one_request(tmp_path):
    store = Counting(tmp_path)
    exchange = StoreExchange(store, "halo/shot")
    latents = {(0, 4): torch.ones(2, 3, 3), (0, 5): torch.zeros(2, 3, 3)}
    exchange.publish(3, 0, latents)
    found = exchange.read(3, READ)
    assert store.asked == ["get"]
    assert all(torch.equal(found[key], latents[key]) for key in latents)


def test_a_segment_of_the_same_process_is_woken_at_once(tmp_path):
    exchange = StoreExchange(open_store(tmp_path.as_uri()), "halo/shot", wait_seconds=60.0)
    late = threading.Timer(0.05, exchange.publish, (3, 0, {(0, 4): torch.ones(1), (0, 5): torch.ones(1)}))
    late.start()
    assert len(exchange.read(3, READ)) == 2


def test_who_waits_too_long_yields(tmp_path):
    store = Counting(tmp_path)
    exchange = StoreExchange(store, "halo/shot", wait_seconds=1.5, clock=Clock())
    with pytest.raises(Yielded, match="step-03/segment-0 did not come within 2 s"):
        exchange.read(3, READ)
    assert store.asked == ["get", "get"]


@given(st.floats(0, 600))
def test_a_message_is_noticed_within_a_fifth_of_the_wait(waited):
    pause = pause_seconds(waited)
    assert MIN_PAUSE_SECONDS <= pause <= MAX_PAUSE_SECONDS
    assert pause <= max(MIN_PAUSE_SECONDS, waited / 5)
