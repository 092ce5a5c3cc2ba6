"""Chaos in small: some kills at named points and at random, a database restart, S3 faults, a stopped worker."""

import logging

import pytest

from tasks.chaos.monkey import Menu, Tally
from tasks.chaos.run import run_chaos
from tasks.chaos.servers import Faults


@pytest.fixture(scope="module")
def outcome():
    logging.getLogger("tasks").setLevel(logging.ERROR)
    menu = Menu(
        random_kills=3, point_kills=5, database_restarts=1, stops_past_lease=1, full_disks=1, wrong_clocks=1,
        workers=4, lease_seconds=1.0, limit_seconds=40.0,
    )  # fmt: skip
    return run_chaos(menu, "farm chaos", shots=(2, 2))


@pytest.mark.filterwarnings("ignore")  # what dies in mid-sentence warns
def test_nothing_is_lost_and_nothing_doubled(outcome):
    score = outcome.score
    assert score.segments >= 4 and score.films >= 1
    assert (score.lost, score.wrong, score.wrong_films, score.two_winners, score.duplicate_lineage) == (0, 0, 0, 0, 0)
    assert score.findings == ()


def test_the_board_says_what_happened(outcome):
    assert outcome.tally.kills > 0
    assert f"| SIGKILL at random | {outcome.tally.random_kills} |" in outcome.board
    assert "nothing lost, nothing doubled" in outcome.board


def test_faults_break_their_share_of_every_verb():
    faults = Faults(0.05, seed=3)
    broken = [faults.choose(verb, "/x") for verb in ("GET", "PUT", "HEAD") for _ in range(2000)]
    assert sum(faults.broken.values()) == sum(one is not None for one in broken)
    assert all(60 <= faults.broken[verb] <= 140 for verb in ("GET", "PUT", "HEAD"))
    assert len(faults.by_kind) == 5


def test_a_menu_is_met_only_when_everything_was_served():
    tally = Tally(random_kills=1, database_restarts=1, stops_past_lease=1)
    menu = Menu(random_kills=1, point_kills=1, database_restarts=1, stops_past_lease=1)
    assert not tally.meets(menu)
    tally.point_kills["after_claim"] += 1
    assert tally.meets(menu) and tally.kills == 2
