"""The simulation of many pods: alone nobody waits, and pods of several windows hardly do."""

import pytest
from bench_scaling import Pace, plan_take, utilisation

PACE = Pace(step_seconds=20.0, exchange_seconds=0.2, jitter=0.02)


def test_a_pod_alone_never_waits():
    assert utilisation(plan_take(1, 3, 5), 3, PACE) == pytest.approx(1.0)


def test_pods_of_three_windows_wait_for_nobody():
    take = plan_take(12, 3, 20)
    assert utilisation(take, 3, PACE) > 0.97
    slow = Pace(step_seconds=20.0, exchange_seconds=5.0, jitter=0.02)
    assert utilisation(take, 3, slow) > 0.97  # a message has a third of a step to arrive in


def test_pods_of_one_window_wait_for_the_message():
    take = plan_take(12, 1, 20, "aligned")
    even = utilisation(take, 1, Pace(20.0, 2.0, jitter=0.0))
    assert even == pytest.approx(1 / (1 + 2.0 / 20.0 * 19 / 20), abs=1e-3)  # every step but the first


def test_a_turn_asks_at_its_last_window_and_tells_after_its_first():
    turn = plan_take(4, 3, 5, "aligned")[2][1]
    assert (turn.asks, turn.asks_before, turn.tells_after) == ((0,), 2, 0)
    assert turn.latents == (33, 33, 33)
