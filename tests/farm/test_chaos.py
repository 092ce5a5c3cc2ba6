"""Chaos in small: some kills at named points and at random, a database restart, S3 faults, a stopped worker."""

import logging
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import psycopg
import pytest

from db.records import Attempt, Behalf, WorkItem
from tasks.chaos.board import fault_table, holds, verdict
from tasks.chaos.menu import ALL_POINTS, SKEWS, Menu, Tally
from tasks.chaos.monkey import Monkey
from tasks.chaos.outages import Household
from tasks.chaos.place import Place
from tasks.chaos.postgres import database
from tasks.chaos.run import run_chaos
from tasks.chaos.score import Score, why_wasted
from tasks.chaos.servers import Faults, verb_of
from tasks.services import ROOT
from tasks.store.faults import Fault

CLEAN = Score(4, 1, 0, 0, 0, 0, 0, 0, {}, (), 0, 6, {})
NOTHING = Menu(
    random_kills=0, point_kills=0, database_restarts=0, stops_past_lease=0, full_disks=0, wrong_clocks=0,
    peace_seconds=0.0,
)  # fmt: skip
SMALL = Menu(
    random_kills=3, point_kills=5, database_restarts=1, stops_past_lease=1, full_disks=1, wrong_clocks=1,
    workers=4, lease_seconds=1.0, limit_seconds=300.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome():
    logging.getLogger("tasks").setLevel(logging.ERROR)
    return run_chaos(SMALL, "farm chaos", shots=(2, 2))


@pytest.mark.filterwarnings("ignore")  # what dies in mid-sentence warns
def test_nothing_is_lost_and_nothing_doubled(outcome):
    score, tally = outcome.score, outcome.tally
    assert score.segments >= 4 and score.films >= 1
    assert score.clean, outcome.board
    assert tally.meets(SMALL) and not tally.other_ends and not tally.given_up
    assert score.wasted_attempts <= tally.blows
    assert outcome.holds


def test_the_board_says_what_happened(outcome):
    assert outcome.tally.kills > 0
    assert f"| SIGKILL at random | {outcome.tally.random_kills} |" in outcome.board
    assert "nothing lost, nothing doubled" in outcome.board


def test_every_verb_meets_every_fault_in_turn():
    faults = Faults(0.05, seed=3)
    paths = {"GET": "/chaos/farm/a", "PUT": "/chaos/farm/a", "HEAD": "/chaos/farm/a"}
    broken = [faults.choose(verb, path) for verb, path in paths.items() for _ in range(2000)]
    assert sum(faults.broken.values()) == sum(one is not None for one in broken)
    for verb in paths:
        of_kinds = [faults.broken[verb, kind] for kind in Fault]
        assert 60 <= sum(of_kinds) <= 140 and max(of_kinds) - min(of_kinds) <= 1
    line = next(line for line in fault_table(Menu(), faults).splitlines() if line.startswith("| HEAD"))
    assert line.split(" | ")[1:3] == ["2000", str(faults.broken["HEAD", Fault.ERROR_500])]


def test_a_listing_and_a_part_are_verbs_of_their_own():
    assert verb_of("GET", "/chaos?list-type=2&prefix=farm") == "LIST"
    assert verb_of("GET", "/chaos/farm/a") == "GET"
    assert verb_of("PUT", "/chaos/farm/a?partNumber=2&uploadId=x") == "PUT part"
    assert verb_of("POST", "/chaos/farm/a?uploads") == "POST"


def test_a_menu_is_met_only_when_everything_was_served():
    menu = replace(
        NOTHING, random_kills=1, point_kills=1, database_restarts=1, stops_past_lease=1, server_kills=2, run_kills=1
    )
    tally = Tally(random_kills=1, database_restarts=Counter(fast=1), stops_past_lease=1)
    assert not tally.has_first_course(menu)
    tally.point_kills["after_claim"] += 1
    assert tally.has_first_course(menu) and not tally.meets(menu)
    tally.server_kills, tally.run_kills = 2, 1
    assert tally.meets(menu)
    assert (menu.kills, tally.kills, tally.sigkills, tally.blows) == (3, 3, 5, 6)


def test_where_there_are_enough_kills_each_point_needs_one():
    menu = replace(NOTHING, point_kills=len(ALL_POINTS))
    tally = Tally(point_kills=Counter(dict.fromkeys(ALL_POINTS[1:], 2)))
    assert not tally.meets(menu)
    tally.point_kills[ALL_POINTS[0]] += 1
    assert tally.meets(menu)


def test_clocks_must_have_been_wrong_both_ways():
    menu = replace(NOTHING, wrong_clocks=2)
    tally = Tally(wrong_workers=Counter({SKEWS[0]: 2}), wrong_reconcilers=Counter(SKEWS))
    assert not tally.meets(menu)
    tally.wrong_workers[SKEWS[1]] += 1
    assert tally.meets(menu)


def test_a_reconcilers_death_excuses_no_waste():
    assert Tally(point_kills=Counter(before_adopt=2, after_claim=1)).blows == 1


@pytest.mark.parametrize(
    ("tally", "score", "said"),
    [
        (Tally(random_kills=2), replace(CLEAN, wasted_by_reason={"fell silent": 3}), "MORE WASTED THAN KILLED"),
        (Tally(random_kills=2), replace(CLEAN, lost=1), "NOT CLEAN"),
        (Tally(random_kills=2), replace(CLEAN, leftovers=1), "NOT CLEAN"),
        (Tally(random_kills=2), replace(CLEAN, unexpected={"CheckFailed": 1}), "NOT CLEAN"),
        (Tally(random_kills=2, other_ends=Counter({"1": 1})), CLEAN, "WORKERS ENDED OTHERWISE"),
        (Tally(random_kills=2, given_up=1), CLEAN, "GIVEN UP"),
        (Tally(random_kills=1), CLEAN, "after 1 of 2 kills"),
    ],
)
def test_a_run_that_proves_nothing_says_so_and_fails(tally, score, said):
    menu = replace(NOTHING, random_kills=2)
    assert said in verdict(menu, tally, score) and not holds(menu, tally, score)
    assert holds(menu, Tally(random_kills=2), CLEAN)


def test_a_film_that_never_comes_ends_the_run(tmp_path):
    class Deaf:
        """A scene whose film is never there."""

        toy = staticmethod(lambda: "order")
        has_ended = staticmethod(lambda order: False)

    place = Place("s3://chaos/farm", "http://127.0.0.1:9", "", 1.0, str(tmp_path))
    with database() as server:
        monkey = Monkey(replace(NOTHING, workers=0), place, server, Deaf())
        monkey._keep_going = lambda *_, **__: None
        monkey.run()
    assert monkey.tally.given_up == 1


def test_a_wrong_clock_is_wrong_for_a_ledger_that_believes_it(tmp_path):
    script = f"""
from tasks.manifest import read
from db.ledger import open_ledger
from db.records import WorkItem
from tasks.chaos.clock import skew_clock
import time
ledger = open_ledger("sqlite:///{tmp_path}/farm.db")  # a file's clock is the machine's: PostgreSQL has its own
ledger.claim(WorkItem("segment", "a"), "w1", 60.0)
before, day = time.time_ns(), read.datetime.now()
assert ledger.expire() == []
for _ in range(2):
    skew_clock(600.0)
    ended = ledger.expire()
assert ended == [WorkItem("segment", "a")]
assert time.time_ns() - before > 1_199 * 10**9 and (read.datetime.now() - day).total_seconds() > 599
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_a_wasted_attempt_says_why():
    ended = Attempt(
        WorkItem("segment", "a"), 1, "w", "failed", "infrastructure", "Yielded: it did not come", 0.0, 1.0, 0.0, 1.0, 0,
        Behalf(), {},
    )  # fmt: skip
    assert why_wasted(ended) == "Yielded"
    assert why_wasted(replace(ended, state="lost", message="silent past its lease")) == "fell silent"
    assert (
        why_wasted(replace(ended, state="lost", message="its output is not in the store")) == "its record was deleted"
    )


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
