"""Weights travel by digest: published once, fetched into a volume, marked only when every file is right."""

import json

import kubernetes_validate
import pytest

from tasks.cluster.__main__ import main
from tasks.cluster.pod_check import PodNeeds, look, pod_faults
from tasks.cluster.pool_shape import weights_claim
from tasks.cluster.weights_volume import claim_manifests, fill_volume, publish_weights
from tasks.errors import ObjectMissing, WeightsError
from tasks.store import content_key, open_store


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "checkpoint"
    (folder / "text").mkdir(parents=True)
    (folder / "network.safetensors").write_bytes(b"n" * 5000)
    (folder / "text" / "config.json").write_text("{}")
    return folder


@pytest.fixture
def store(tmp_path):
    return open_store((tmp_path / "store").as_uri())


@pytest.fixture
def volume(tmp_path):
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


def test_a_published_set_fills_a_volume_that_the_pod_check_accepts(checkpoint, store, volume):
    digest = publish_weights(store, checkpoint)
    assert fill_volume(store, digest, volume) == 2
    assert (volume / "text" / "config.json").read_text() == "{}"
    needs = PodNeeds(0, 0, volume, volume, digest)
    assert pod_faults(needs, look(needs)) == []
    assert fill_volume(store, digest, volume) == 0


def test_the_digest_names_the_files_not_the_moment(checkpoint, store, volume):
    digest = publish_weights(store, checkpoint)
    assert publish_weights(store, checkpoint) == digest
    fill_volume(store, digest, volume)
    assert publish_weights(store, volume) == digest
    (checkpoint / "network.safetensors").write_bytes(b"n" * 4999 + b"m")
    assert publish_weights(store, checkpoint) != digest


def test_a_damaged_file_is_fetched_again(checkpoint, store, volume):
    digest = publish_weights(store, checkpoint)
    fill_volume(store, digest, volume)
    (volume / "network.safetensors").write_bytes(b"n" * 4000)
    assert fill_volume(store, digest, volume) == 1


def test_a_filling_cut_short_leaves_no_mark(checkpoint, store, volume):
    digest = publish_weights(store, checkpoint)
    fill_volume(store, digest, volume)
    (volume / "network.safetensors").write_bytes(b"damaged")
    for stat in list(store.list("objects/")):
        if stat.size == 5000:
            store.delete(stat.key)
    with pytest.raises(ObjectMissing):
        fill_volume(store, digest, volume)
    needs = PodNeeds(0, 0, volume, volume, digest)
    assert "no finished weights" in pod_faults(needs, look(needs))[0]


def test_a_list_cannot_point_out_of_the_volume(store, volume):
    for path in ("../outside", "/etc/outside", "DIGEST"):
        entry = {"path": path, "sha256": store.put_content(b"x").sha256, "bytes": 1}
        digest = store.put_content(json.dumps([entry]).encode(), ".json").sha256
        with pytest.raises(WeightsError, match="not a file inside the volume"):
            fill_volume(store, digest, volume)


def test_what_cannot_be_weights_is_refused(store, volume):
    with pytest.raises(WeightsError, match="no file to publish"):
        publish_weights(store, volume)
    with pytest.raises(WeightsError, match="64 hexadecimal digits"):
        fill_volume(store, "latest", volume)
    entry = {"path": "a", "sha256": "0" * 64, "bytes": 2**62}
    digest = store.put_content(json.dumps([entry]).encode(), ".json").sha256
    with pytest.raises(WeightsError, match="do not fit"):
        fill_volume(store, digest, volume)
    assert store.exists(content_key(digest, ".json"))


@pytest.mark.parametrize("version", ["1.31", "1.33", "1.37"])
def test_claim_and_filling_job_are_strictly_valid_and_printed_for_kubectl(version, capsys):
    digest = "ab" * 32
    assert main(["weights-claim", digest, "--storage-class=shared", "--image=registry.example/r:1"]) == 0
    printed = [json.loads(part) for part in capsys.readouterr().out.split("---\n")[1:]]
    assert printed == claim_manifests(digest, "200Gi", "shared", "registry.example/r:1")
    for manifest in printed:
        kubernetes_validate.validate(manifest, version, strict=True)
        assert manifest["metadata"]["name"] == weights_claim(digest)
