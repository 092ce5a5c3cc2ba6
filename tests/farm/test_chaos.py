"""Chaos in small: some kills at named points and at random, a database restart, S3 faults, a stopped worker."""

import logging
import os
from dataclasses import replace

import psycopg
import pytest

from db.records import Attempt, Behalf, WorkItem
from tasks.chaos.board import verdict
from tasks.chaos.monkey import Menu, Tally
from tasks.chaos.outages import Household
from tasks.chaos.postgres import database
from tasks.chaos.run import run_chaos
from tasks.chaos.score import Score, why_wasted
from tasks.chaos.servers import Faults

CLEAN = Score(4, 1, 0, 0, 0, 0, 0, (), 0, 6, {})


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
    menu = Menu(
        random_kills=1, point_kills=1, database_restarts=1, stops_past_lease=1, full_disks=0, wrong_clocks=0,
        server_kills=2, run_kills=1,
    )  # fmt: skip
    tally = Tally(random_kills=1, database_restarts=1, stops_past_lease=1)
    assert not tally.has_first_course(menu)
    tally.point_kills["after_claim"] += 1
    assert tally.has_first_course(menu) and not tally.meets(menu)
    tally.server_kills, tally.run_kills = 2, 1
    assert tally.meets(menu)
    assert (menu.kills, tally.kills, tally.blows) == (3, 3, 6)


def test_more_attempts_wasted_than_blows_struck_is_said():
    score = replace(CLEAN, wasted_by_reason={"fell silent": 3})
    menu = Menu(random_kills=2, point_kills=0, database_restarts=0, stops_past_lease=0, full_disks=0, wrong_clocks=0)
    assert verdict(menu, Tally(random_kills=3), score) == "nothing lost, nothing doubled"
    assert "MORE WASTED THAN KILLED" in verdict(menu, Tally(random_kills=2), score)
    assert verdict(menu, Tally(random_kills=3), replace(score, lost=1)) == "NOT CLEAN"
    assert "after 1 of 2 kills" in verdict(menu, Tally(random_kills=1), CLEAN)


def test_a_wasted_attempt_says_why():
    ended = Attempt(
        WorkItem("segment", "a"), 1, "w", "failed", "infrastructure", "Yielded: it did not come", 0.0, 1.0, 0.0, 1.0, 0,
        Behalf(), {},
    )  # fmt: skip
    assert why_wasted(ended) == "Yielded"
    assert why_wasted(replace(ended, state="lost")) == "fell silent"


def test_what_was_committed_outlives_a_database_that_ends_without_order():
    with database() as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (7)")
            server.stop("immediate")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT n FROM kept")
        server.start()
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_process_that_ended_is_started_again(tmp_path):
    tally = Tally()
    house = Household({**os.environ}, tmp_path, tally)
    house.start("poem", ["this"])
    first = house.running["poem"]
    first.wait()
    house.keep_going()
    assert house.running["poem"] is not first and tally.ends_under_prefect == {"poem 0": 1}
    house.end()
