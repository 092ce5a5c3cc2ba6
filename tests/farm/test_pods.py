"""One take on any number of pods, by folder or S3, disturbed or not: the same bits."""

import os

import pytest
from bench_pods import S3_KEYS, prepare_stage, race
from real_servers import new_bucket, s3_endpoint

from tasks.rehearsal import Rehearsal
from tasks.settings import settings

STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Where the pods of this process and of others find S3."""
    before = dict(os.environ)
    os.environ |= {"FARM_S3_ENDPOINT": s3_endpoint(), "FARM_THREADS": "1", **S3_KEYS}
    settings.cache_clear()
    yield
    os.environ.clear()
    os.environ.update(before)
    settings.cache_clear()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return prepare_stage(tmp_path_factory.mktemp("stage"), Rehearsal((12,), steps=STEPS))


@pytest.fixture(scope="module")
def alone(stage, tmp_path_factory):
    """What one pod makes of the take, by folder."""
    place = tmp_path_factory.mktemp("alone") / "race"
    return race(stage, 1, (place / "store").as_uri(), place, kill=False)


def test_one_pod_does_every_step_of_every_segment_once(alone):
    assert (alone.steps, alone.steps_twice, alone.kills) == (12 * STEPS, 0, 0)


@pytest.mark.parametrize(("kind", "pods"), [("file", 4), ("s3", 3)])
def test_pods_killed_once_each_make_the_bits_of_one(stage, alone, tmp_path, kind, pods):
    place = tmp_path / "race"
    store = f"s3://{new_bucket()}/race" if kind == "s3" else (place / "store").as_uri()
    disturbed = race(stage, pods, store, place, kill=True, seed=pods)
    assert disturbed.latents == alone.latents
    assert disturbed.kills == pods
    assert disturbed.steps_twice == 0  # what a kill costs is the step that it cut off
