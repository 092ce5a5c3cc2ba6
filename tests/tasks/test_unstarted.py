"""Runs that a worker took and never started."""

from uuid import UUID

import pytest

from tasks.rounds import UNSTARTED_SECONDS, unstarted
from tasks.runs import Run


def pending(infrastructure, state="PENDING"):
    return Run(UUID(int=1), "s1 0", state, "", 1000.0, 0, {}, None, None, infrastructure=infrastructure)


@pytest.mark.parametrize("infrastructure", ["", "4711", "node-1:4711"])
def test_a_run_whose_process_never_spoke_counts_as_crashed_after_a_while(infrastructure):
    assert not unstarted(pending(infrastructure), 1000.0 + UNSTARTED_SECONDS)
    assert unstarted(pending(infrastructure), 1001.0 + UNSTARTED_SECONDS)


def test_a_job_of_a_cluster_may_wait_for_its_gpu():
    assert not unstarted(pending("cluster-7:farm:segment-s1-0"), 1e6)


def test_a_run_that_is_not_pending_is_none_of_this():
    assert not unstarted(pending("4711", "RUNNING"), 1e6)
