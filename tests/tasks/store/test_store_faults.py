"""The S3 store against a network that breaks: every verb, every kind of fault, over real HTTP."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.errors import ConfigError, StoreError
from tasks.store import Retry, open_store
from tasks.store.faults import Fault, faulty_proxy
from tasks.store.retry import TryAgain
from tasks.store.s3 import S3Store

DATA = bytes(range(256)) * 40
NO_WAIT = Retry(tries=8, first_seconds=0.0, max_seconds=0.0)
PART = 5 << 20  # the smallest part S3 takes


class Script:
    """Breaks the next requests of one verb as told; remembers what came by."""

    def __init__(self) -> None:
        self.verb, self.faults, self.seen = "", list[Fault](), list[str]()

    def choose(self, verb: str, path: str) -> Fault | None:
        self.seen.append(f"{verb} {path}")
        if self.faults and (self.verb in ("", verb) or self.verb in path):
            return self.faults.pop(0)
        return None

    @contextmanager
    def breaking(self, verb: str, *faults: Fault) -> Iterator[None]:
        self.verb, self.faults = verb, list(faults)
        yield
        assert self.faults == [], "not every fault was met"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def broken(s3_place, script: Script) -> Iterator[S3Store]:
    bucket, _, prefix = s3_place.url.removeprefix("s3://").partition("/")
    with faulty_proxy(s3_place.endpoint, script.choose, hang_seconds=5.0) as endpoint:
        store = S3Store(bucket, prefix, endpoint=endpoint, retry=NO_WAIT, timeout_seconds=0.5, part_bytes=PART)
        yield store
        store._client.close()


@pytest.mark.parametrize("fault", list(Fault))
def test_every_verb_survives_every_fault(broken: S3Store, script: Script, fault: Fault, tmp_path: Path) -> None:
    with script.breaking("PUT", fault, fault):
        assert broken.put_once("k", DATA) is True
    with script.breaking("PUT", fault):
        assert broken.put_once("k", DATA) is False
    with script.breaking("GET", fault, fault):
        assert broken.get("k") == DATA
    with script.breaking("GET", fault):
        broken.fetch("k", tmp_path / "k")
    with script.breaking("GET", fault):
        assert broken.open_range("k", 5, 10).read() == DATA[5:15]
    with script.breaking("HEAD", fault, fault):
        assert broken.exists("k") and broken.put_content(DATA).size == len(DATA)
    with script.breaking("GET", fault):
        assert len(list(broken.list())) == 2
    with script.breaking("PUT", fault):
        broken.write_pointer("p", b"one")
    with script.breaking("PUT", fault):
        assert broken.swap_pointer("p", b"one", b"two") is True
    with script.breaking("DELETE", fault):
        broken.delete("k")
    assert (tmp_path / "k").read_bytes() == DATA and broken.get("p") == b"two" and not broken.exists("k")


def test_a_put_whose_answer_was_lost_knows_its_own_object(broken: S3Store, script: Script) -> None:
    with script.breaking("PUT", Fault.LOST_ANSWER):
        assert broken.put_once("mine", b"same") is True
    with script.breaking("PUT", Fault.LOST_ANSWER):
        assert broken.put_once("mine", b"same") is False, "the same bytes put by somebody else are not mine"


def big_file(make_file: Callable[[str, bytes], Path]) -> Path:
    return make_file("big", random.Random(1).randbytes(2 * PART + 4321))


def test_a_big_file_goes_up_in_parts_and_comes_back(broken: S3Store, script: Script, make_file, tmp_path) -> None:
    path = big_file(make_file)
    ref = broken.put_content(path, ".bin")
    assert sum("partNumber" in seen for seen in script.seen) == 3
    broken.fetch(ref.key, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes() == broken.open_range(ref.key).read()


@pytest.mark.parametrize("fault", [Fault.ERROR_503, Fault.LOST_ANSWER])
@pytest.mark.parametrize("moment", ["uploads", "partNumber=2", "uploadId"])
def test_an_upload_in_parts_survives_faults(broken: S3Store, script: Script, make_file, fault, moment) -> None:
    path = big_file(make_file)
    with script.breaking(moment, fault):
        assert broken.put_once("big", path) is True
    assert broken.put_once("big", path) is False
    assert broken.stat("big").size == path.stat().st_size


def test_an_upload_that_loses_the_race_is_given_back(broken: S3Store, s3_place, script: Script, make_file) -> None:
    rival = s3_place.open()

    def overtake(verb: str, path: str) -> None:
        if "partNumber=3" in path:
            rival.put_once("big", b"rival")

    choose = script.choose
    script.choose = lambda verb, path: (overtake(verb, path), choose(verb, path))[1]  # type: ignore[method-assign]
    with faulty_proxy(s3_place.endpoint, script.choose) as endpoint:
        bucket, _, prefix = s3_place.url.removeprefix("s3://").partition("/")
        store = S3Store(bucket, prefix, endpoint=endpoint, retry=NO_WAIT, part_bytes=PART)
        assert store.put_once("big", big_file(make_file)) is False
        store._client.close()
    assert rival.get("big") == b"rival"
    assert rival.sweep(-60.0) == 0, "no parts are left behind"


def test_a_store_that_does_not_answer_at_all_is_given_up_after_a_minute_not_after_eight():
    now = [0.0]

    def hang(_maybe_done):
        now[0] += 15.0  # the client's own time-out
        raise TryAgain("read timed out")

    retry = Retry(sleep=lambda seconds: None, clock=lambda: now[0])
    with pytest.raises(StoreError, match=r"read timed out \(4 tries\)"):
        retry.run("get x", hang)
    assert now[0] == 60.0


def test_patience_ends_with_an_error_that_names_call_and_cause(s3_place, script: Script) -> None:
    waits: list[float] = []
    retry = Retry(tries=4, first_seconds=1.0, max_seconds=3.0, sleep=waits.append, jitter=lambda: 0.0)
    with (
        faulty_proxy(s3_place.endpoint, lambda verb, path: Fault.ERROR_503) as endpoint,
        pytest.raises(StoreError, match=r"put k: 503 .*\(4 tries\)"),
    ):
        open_store(s3_place.url, endpoint=endpoint, retry=retry).put_once("k", b"v")
    assert waits == [1.0, 2.0, 3.0]


def test_many_puts_through_a_bad_network_are_told_the_truth(broken: S3Store, script: Script) -> None:
    dice = random.Random(7)
    faults = [fault for fault in Fault if fault is not Fault.TIMEOUT]
    script.choose = lambda verb, path: dice.choice(faults) if dice.random() < 0.2 else None  # type: ignore[method-assign]
    for number in range(30):
        assert broken.put_once(f"n/{number}", b"%d" % number) is True
        assert broken.put_once(f"n/{number}", b"%d" % number) is False
    assert [broken.get(f"n/{number}") for number in range(30)] == [b"%d" % number for number in range(30)]


def test_a_bucket_that_is_not_there_is_a_setting_to_change(s3_place) -> None:
    store = open_store("s3://no-such-bucket-here/x", endpoint=s3_place.endpoint, retry=NO_WAIT)
    with pytest.raises(ConfigError, match="create the bucket"):
        store.put_once("k", b"v")
