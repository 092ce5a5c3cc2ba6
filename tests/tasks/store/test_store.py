"""One suite for both kinds of store."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_servers import processes
from store_workers import create_key

from tasks.errors import ConfigError, ObjectMissing, StoreError
from tasks.store import Store, content_digest, content_key, open_store
from tasks.store.local import FileStore
from tasks.store.s3 import S3Store

DATA = bytes(range(256)) * 40


def keys(store: Store, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def test_an_object_comes_back_as_it_was_put(store: Store) -> None:
    assert store.put_once("shots/a/step-07", DATA) is True
    assert store.get("shots/a/step-07") == DATA
    assert store.stat("shots/a/step-07").size == len(DATA)
    assert store.exists("shots/a/step-07") and not store.exists("shots/a/step-08")


def test_a_key_is_created_once_and_keeps_its_first_bytes(store: Store) -> None:
    assert [store.put_once("k", b"first"), store.put_once("k", b"second"), store.put_once("k", b"first")] == [
        True,
        False,
        False,
    ]
    assert store.get("k") == b"first"


def test_of_sixteen_processes_one_creates_the_key(place) -> None:
    context = processes()
    started, answers = context.Barrier(16), context.Queue()
    workers = [
        context.Process(target=create_key, args=(place.url, place.endpoint, "race/k", i, started, answers))
        for i in range(16)
    ]
    for worker in workers:
        worker.start()
    got = dict(answers.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    winners = [number for number, created in got.items() if created]
    assert len(got) == 16 and len(winners) == 1
    assert place.open().get("race/k") == f"claimed by {winners[0]}".encode()


def test_content_is_named_by_its_digest_and_put_again_for_nothing(store: Store, make_file) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    ref = store.put_content(make_file("clip.bin", DATA), ".bin")
    assert (ref.key, ref.sha256, ref.size) == (f"objects/{sha256[:2]}/{sha256}.bin", sha256, len(DATA))
    before = store.stat(ref.key)
    assert store.put_content(DATA, ".bin") == ref
    assert store.stat(ref.key) == before
    assert keys(store) == [ref.key]


def test_the_empty_object_is_an_object(store: Store, tmp_path: Path) -> None:
    ref = store.put_content(b"")
    store.fetch(ref.key, tmp_path / "empty")
    assert store.get(ref.key) == b"" == (tmp_path / "empty").read_bytes()
    assert store.open_range(ref.key).read() == b""


def test_fetch_writes_the_whole_file_or_nothing(store: Store, tmp_path: Path) -> None:
    ref = store.put_content(DATA, ".bin")
    (tmp_path / "out").mkdir()
    store.fetch(ref.key, tmp_path / "out" / "clip")
    assert (tmp_path / "out" / "clip").read_bytes() == DATA
    with pytest.raises(ObjectMissing, match="objects/00"):
        store.fetch(content_key("0" * 64), tmp_path / "out" / "other")
    assert os.listdir(tmp_path / "out") == ["clip"]


def test_content_that_was_changed_behind_our_back_is_refused_and_can_be_put_again(store: Store, tmp_path: Path) -> None:
    ref = store.put_content(DATA, ".bin")
    store.write_pointer(ref.key, DATA[:-1] + b"?")
    with pytest.raises(StoreError, match="digest"):
        store.get(ref.key)
    with pytest.raises(StoreError, match="digest"):
        store.fetch(ref.key, tmp_path / "clip")
    assert not (tmp_path / "clip").exists()
    store.write_pointer(ref.key, DATA[:10])
    assert store.get(store.put_content(DATA, ".bin").key) == DATA


def test_what_is_not_there_is_missing_in_every_verb(store: Store, tmp_path: Path) -> None:
    for verb in (store.get, store.stat, store.open_range, lambda key: store.fetch(key, tmp_path / "x")):
        with pytest.raises(ObjectMissing, match=r"no/such"):
            verb("no/such")
    store.delete("no/such")
    assert store.swap_pointer("no/such", b"", b"x") is False
    assert not store.exists("no/such") and keys(store, "no/") == []


def test_a_range_reads_only_its_bytes_and_seeks(store: Store) -> None:
    store.put_once("r", DATA)
    with store.open_range("r", 100, 500) as part:
        assert part.read(10) == DATA[100:110]
        assert part.seek(-5, io.SEEK_END) == 495 and part.read() == DATA[595:600]
        assert part.seek(0) == 0 and part.read() == DATA[100:600]
        assert part.read() == b""
    assert store.open_range("r", len(DATA) - 3).read() == DATA[-3:]
    assert store.open_range("r", len(DATA) + 3).read() == b""
    with pytest.raises(ValueError, match="negative"):
        store.open_range("r", -1)


def test_list_yields_keys_in_order_below_a_prefix(store: Store) -> None:
    names = ["done/a", "done/b/x", "done/b-x", "done/bc", "other/z", "done/b/y"]
    for name in names:
        store.put_once(name, name.encode())
    assert keys(store) == sorted(names)
    assert keys(store, "done/") == sorted(name for name in names if name.startswith("done/"))
    assert keys(store, "done/b") == ["done/b-x", "done/b/x", "done/b/y", "done/bc"]
    assert [found.size for found in store.list("done/b/")] == [8, 8]


def test_list_follows_pages(s3_place) -> None:
    bucket, _, prefix = s3_place.url.removeprefix("s3://").partition("/")
    store = S3Store(bucket, prefix, endpoint=s3_place.endpoint, page_keys=7)
    names = [f"many/{number:04d}" for number in range(21)]
    for name in names:
        store.write_pointer(name, b"x")
    assert keys(store, "many/") == names


def test_deleted_objects_are_gone_and_can_be_made_anew(store: Store) -> None:
    store.put_once("k", b"1")
    store.delete("k")
    assert not store.exists("k")
    assert store.put_once("k", b"2") and store.get("k") == b"2"


def test_a_pointer_changes_at_once_and_only_from_what_was_expected(store: Store) -> None:
    store.write_pointer("p", b"one")
    store.write_pointer("p", b"two")
    assert store.swap_pointer("p", b"one", b"three") is False
    assert store.get("p") == b"two"
    assert store.swap_pointer("p", b"two", b"three") is True
    assert store.get("p") == b"three"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.b", "a\\b", "a/", "x" * 901, "ü"])
def test_keys_cannot_leave_the_store(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="store key"):
        store.put_once(key, b"")


def test_a_content_key_has_one_form() -> None:
    sha256 = hashlib.sha256(b"x").hexdigest()
    assert content_digest(content_key(sha256, ".safetensors")) == sha256
    assert content_digest(f"objects/00/{sha256}") == "" == content_digest("done/segment/a")
    with pytest.raises(ValueError, match="suffix"):
        content_key(sha256, "/../x")


def test_a_store_opens_again_by_its_address(place) -> None:
    store = place.open()
    store.put_once("k", b"v")
    assert open_store(store.url, endpoint=place.endpoint).get("k") == b"v"


@pytest.mark.parametrize("url", ["", "http://host/x", "file:relative", "s3://", "file://host/share", "s3://b/p?x=1"])
def test_other_addresses_are_refused_with_the_way_out(url: str) -> None:
    with pytest.raises(ConfigError, match="use file:///folder or s3://bucket/prefix"):
        open_store(url)


def test_unfinished_writes_are_swept_and_objects_are_not(store: Store, tmp_path: Path) -> None:
    store.put_once("k", b"v")
    if isinstance(store, FileStore):
        (store.root / ".unfinished" / "left.tmp").write_bytes(b"half")
        assert store.sweep(older_than_seconds=3600.0) == 0  # the S3 server of the tests dates every upload 2010
    elif isinstance(store, S3Store):
        store._client.create_multipart_upload(Bucket=store._bucket, Key="studio/show/half")
    assert store.sweep(older_than_seconds=-60.0) == 1
    assert keys(store) == ["k"]


def test_a_full_disk_says_so_and_leaves_no_half_object(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from tasks.errors import StoreError
from tasks.store import open_store
store = open_store(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.put_once("big", b"x" * 100_000)
except StoreError as exc:
    print(exc)
"""
    url = (tmp_path / "s").as_uri()
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert "put big: [Errno 27] File too large" in done.stdout
    assert [path.name for path in (tmp_path / "s").rglob("*") if path.is_file()] == []
