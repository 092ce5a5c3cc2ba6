"""`farm weights`: what it says about files, and what it refuses."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.audio import build_encoder
from model.config import PUPPET
from model.licence import file_sha256
from model.transformer import VideoTransformer
from model.vae import build_vae
from tasks.errors import LicenceError, WeightsError
from tasks.weights import KnownDigests, check_use, check_weights, convert_weights, license_weights


@pytest.fixture
def network_file(tmp_path):
    path = tmp_path / "network.pt"
    state = VideoTransformer(PUPPET).state_dict()
    torch.save({"module": {k: torch.zeros_like(v) for k, v in state.items() if "emotion" not in k}}, path)
    return path


def test_a_fitting_file_is_reported(network_file):
    report = check_weights(network_file, "puppet")
    assert report.dtypes == (("float32", report.num_tensors),)
    assert report.neutral and all("emotion" in name for name in report.neutral)
    assert report.licence == ""


def test_every_part_of_a_profile_can_be_checked(tmp_path):
    parts = {"vae": build_vae(PUPPET.vae), "audio": build_encoder(PUPPET.audio)}
    for part, module in parts.items():
        save_file(module.state_dict(), tmp_path / f"{part}.safetensors")
        assert check_weights(tmp_path / f"{part}.safetensors", "puppet", part).num_tensors == len(module.state_dict())


def test_another_networks_file_is_refused_with_every_name(network_file):
    with pytest.raises(WeightsError, match=r"(?s)missing.*double_blocks\.19.*misshapen.*img_in\.proj\.weight: \(\d+"):
        check_weights(network_file, "avatar")


def test_a_converted_file_keeps_its_licence(network_file, tmp_path):
    license_weights(network_file, "apache-2.0")
    target = tmp_path / "half.safetensors"
    convert_weights(network_file, target, "bfloat16")
    assert load_file(target)["img_in.proj.weight"].dtype == torch.bfloat16
    assert check_weights(target, "puppet").licence == "apache-2.0"
    assert check_use(tmp_path, "DE") == ("apache-2.0",)
    with pytest.raises(WeightsError, match="float31"):
        convert_weights(network_file, target, "float31")
    with pytest.raises(WeightsError, match=r"name the target \*\.safetensors"):
        convert_weights(network_file, tmp_path / "half.bin")


def test_use_is_refused_for_every_file_that_does_not_allow_it(network_file, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"")
    license_weights(network_file, "tencent-hunyuan-community")
    with pytest.raises(LicenceError) as caught:
        check_use(tmp_path, "FR")
    assert "excludes EU" in str(caught.value) and "other.safetensors: no licence on record" in str(caught.value)
    (tmp_path / "other.safetensors").unlink()
    assert check_use(tmp_path, "US") == ("tencent-hunyuan-community",)


def test_a_swapped_file_does_not_keep_the_card_of_the_one_before(network_file, tmp_path):
    license_weights(network_file, "apache-2.0")
    swapped = torch.load(network_file)
    swapped["module"]["img_in.proj.weight"] += 1
    torch.save(swapped, network_file)
    for call in (
        lambda: check_weights(network_file, "puppet"),
        lambda: convert_weights(network_file, tmp_path / "half.safetensors", "bfloat16"),
        lambda: check_use(tmp_path, "US"),
    ):
        with pytest.raises(LicenceError, match=r"network\.pt: sha256 .* the record is of another file"):
            call()
    assert not (tmp_path / "half.safetensors").exists()


def test_a_file_is_read_for_its_digest_once_until_it_changes(network_file, tmp_path):
    read = []

    def sha256(path):
        read.append(path)
        return file_sha256(path)

    license_weights(network_file, "apache-2.0")
    for _ in range(2):
        assert check_use(tmp_path, "US", digest_of=KnownDigests(tmp_path / "home" / "digests.json", sha256))
    assert read == [network_file]
    other = network_file.with_name("other")
    other.write_bytes(network_file.read_bytes()[:-1] + b"!")
    os.utime(other, ns=(0, network_file.stat().st_mtime_ns))
    other.replace(network_file)  # as large and as old as the one before
    with pytest.raises(LicenceError, match="the record is of another file"):
        check_use(tmp_path, "US", digest_of=KnownDigests(tmp_path / "home" / "digests.json", sha256))
    (tmp_path / "home" / "digests.json").write_text("[")
    license_weights(network_file, "apache-2.0")
    assert check_use(tmp_path, "US", digest_of=KnownDigests(tmp_path / "home" / "digests.json", sha256))


def test_mistakes_are_named(tmp_path):
    for call in (lambda: license_weights(tmp_path / "x.pt", "mit"), lambda: check_weights(tmp_path / "x.pt")):
        with pytest.raises(WeightsError, match=r"x\.pt: no such weights file"):
            call()
    (tmp_path / "y.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="known are"):
        license_weights(tmp_path / "y.pt", "mine")
    with pytest.raises(WeightsError, match="no weights files"):
        check_use(tmp_path / "empty", "US")
