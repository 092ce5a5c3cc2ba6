"""Weights files: strict, whole lists of faults, every dtype rule, little memory, and the licence beside them."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from model.audio import build_encoder
from model.config import AVATAR, PUPPET, AudioConfig, NetworkConfig, VaeConfig
from model.licence import (
    LICENCES,
    LicenceRefused,
    card_path,
    check_digest,
    check_licence,
    read_card,
    write_card,
)
from model.linear import to_float8_
from model.mapped import WeightsFileError, map_weights, write_safetensors
from model.transformer import VideoTransformer
from model.vae import build_vae
from model.weights import (
    FLOAT8,
    Placement,
    WeightsMismatch,
    compare,
    convert,
    load_audio_encoder,
    load_network,
    load_vae,
    neutral_value,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TINY = NetworkConfig(
    name="tiny", hidden=32, heads=2, double_blocks=2, single_blocks=1, rope_widths=(4, 6, 6), text_width=8,
    pooled_width=8, adapter_width=8, audio=AudioConfig(width=8, layers=1, heads=1, projection=8),
)  # fmt: skip
BF16 = Placement(dtype=torch.bfloat16)


def random_state(config=TINY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        network = VideoTransformer(config)
    return {k: torch.randn(v.shape, generator=generator) for k, v in network.state_dict().items()}


@pytest.fixture
def released(tmp_path):
    """A .pt file as the release has it: weights under `module`, bf16."""
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": {k: v.bfloat16() for k, v in random_state().items()}}, path)
    return path


def test_the_released_names_and_shapes_are_ours():
    recorded = json.loads((GOLDEN / "param_shapes_full.json").read_text())
    shapes = {name: tuple(map(int, text.split("x"))) for name, text in recorded.items()}
    with torch.device("meta"):
        state = {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        assert compare(VideoTransformer(AVATAR), state, ()) == []
        paper = VideoTransformer(replace(AVATAR, emotion=True, audio=replace(AVATAR.audio, extended=True)))
    in_float32 = [n for n in shapes if BF16.dtype_of(n, torch.bfloat16) == torch.float32]
    assert sum(state[name].numel() for name in in_float32) == 168_901_696
    with pytest.raises(WeightsMismatch, match=r"gamma"):
        compare(paper, state, ())


def test_a_released_file_lands_in_the_asked_dtype(released):
    network = load_network(released, TINY, BF16)
    dtypes = {name: parameter.dtype for name, parameter in network.named_parameters()}
    assert dtypes["double_blocks.0.img_attn_qkv.weight"] == torch.bfloat16
    assert dtypes["final_layer.adaLN_modulation.1.weight"] == torch.bfloat16
    for name in (
        "audio_proj.proj1.weight",
        "audio_adapter_blocks.0.to_q.weight",
        "before_proj.bias",
        "final_layer.linear.bias",
    ):
        assert dtypes[name] == torch.float32
    for name, value in random_state().items():
        assert torch.equal(network.get_parameter(name).float(), value.bfloat16().float()), name


def test_a_safetensors_file_and_a_plain_pt_are_the_same_network(released, tmp_path):
    state = random_state()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    one, two = (load_network(tmp_path / name, TINY, Placement()).state_dict() for name in ("a.safetensors", "b.pt"))
    assert all(torch.equal(one[name], value) and torch.equal(two[name], value) for name, value in state.items())


def test_every_fault_is_named_at_once(tmp_path):
    state = random_state()
    for name in ("img_in.proj.bias", "double_blocks.1.txt_mod.linear.weight"):
        del state[name]
    state |= {"guidance_in.weight": torch.zeros(1), "time_in.mlp.0.bias": torch.zeros(7)}
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsMismatch) as caught:
        load_network(tmp_path / "bad.safetensors", TINY, Placement())
    fault = caught.value
    assert fault.missing == ["double_blocks.1.txt_mod.linear.weight", "img_in.proj.bias"]
    assert fault.unexpected == ["guidance_in.weight"]
    assert fault.misshapen == ["time_in.mlp.0.bias: (7,), the network has (32,)"]
    assert all(name in str(fault) for name in (*fault.missing, *fault.unexpected, *fault.misshapen))


def test_the_papers_modules_start_neutral(released):
    config = replace(TINY, emotion=True, audio=replace(TINY.audio, extended=True))
    network = load_network(released, config, Placement())
    state = network.state_dict()
    assert all(float(block.gamma) == 0 for block in network.emotion_blocks)
    assert torch.equal(state["emotion_blocks.0.to_kv.weight"], state["audio_adapter_blocks.0.to_kv.weight"])
    assert torch.equal(state["emo_in.proj.weight"], state["ref_in.proj.weight"])
    assert torch.equal(state["emo_fc.weight"], torch.eye(32))
    assert state["audio_adapter_blocks.0.to_out_ext.weight"].abs().max() == 0
    assert torch.equal(state["audio_proj_ext.norm.weight"], torch.ones(32))
    with pytest.raises(WeightsMismatch, match="emo_fc"):
        compare(network, random_state(), ())


def eight_bit(tmp_path, scales=True):
    """An 8-bit release of TINY: linear weights of the blocks in float8, a scale each in a second file."""
    network = load_into_tiny(random_state())
    for block in (*network.double_blocks, *network.single_blocks):
        to_float8_(block)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith(".scale")}
    path = tmp_path / "states_fp8.pt"
    torch.save({"module": state}, path)
    if scales:
        found = {k.removesuffix(".scale"): v for k, v in network.state_dict().items() if k.endswith(".scale")}
        torch.save({"module": found}, tmp_path / "states_fp8_map.pt")
    return path, network


def load_into_tiny(state):
    network = VideoTransformer(TINY)
    network.load_state_dict(state)
    return network


def test_an_eight_bit_file_is_its_weights_times_their_scales(tmp_path):
    path, network = eight_bit(tmp_path)
    linear = network.double_blocks[0].img_attn_qkv
    expected = linear.weight.to(torch.bfloat16) * linear.scale
    full = load_network(path, TINY, BF16)
    assert torch.equal(full.double_blocks[0].img_attn_qkv.weight, expected)
    kept = load_network(path, TINY, replace(BF16, float8=True))
    assert kept.double_blocks[0].img_attn_qkv.weight.dtype == FLOAT8
    assert torch.equal(kept.double_blocks[0].img_attn_qkv.full_weight(), expected)
    assert kept.img_in.proj.weight.dtype == torch.bfloat16
    difference = (
        full.double_blocks[0].img_attn_qkv.weight.float() - random_state()["double_blocks.0.img_attn_qkv.weight"]
    ).abs()
    assert 0 < difference.max() < 0.2


def test_an_eight_bit_file_without_its_scales_is_refused(tmp_path):
    path, _ = eight_bit(tmp_path, scales=False)
    with pytest.raises(WeightsMismatch, match=r"double_blocks.0.img_attn_qkv.scale \(8-bit\)"):
        load_network(path, TINY, BF16)


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_converted_weights_are_the_same_weights(released, tmp_path, dtype):
    target = tmp_path / "out.safetensors"
    facts = convert(released, target, dtype)
    found = load_file(target)
    assert set(found) == set(random_state()) == set(facts)
    source = torch.load(released, weights_only=True)["module"]
    for name, value in found.items():
        assert value.dtype == facts[name][1]
        assert torch.equal(value, source[name].to(value.dtype)), name
    assert found["single_blocks.0.linear1.weight"].dtype == (dtype or torch.bfloat16)


def test_an_eight_bit_file_converts_with_and_without_its_scales(tmp_path):
    path, _ = eight_bit(tmp_path)
    for dtype, placement in ((None, replace(BF16, float8=True)), (torch.bfloat16, BF16)):
        convert(path, tmp_path / "out.safetensors", dtype)
        one, two = (load_network(p, TINY, placement).state_dict() for p in (path, tmp_path / "out.safetensors"))
        assert set(one) == set(two)
        assert all(torch.equal(one[name].float(), two[name].float()) for name in one)


def test_the_autoencoder_loads_with_and_without_its_prefix(tmp_path):
    config = VaeConfig(channels=(4, 4, 4, 8), layers_per_block=1, norm_groups=2)
    vae = build_vae(config)
    state = {f"vae.{name}": value for name, value in vae.named_parameters()}
    torch.save({"state_dict": {k: v.detach().half() for k, v in state.items()}}, tmp_path / "pytorch_model.pt")
    loaded = load_vae(tmp_path / "pytorch_model.pt", config, Placement(dtype=torch.float16))
    assert loaded.decoder.conv_in.conv.weight.dtype == torch.float16
    assert float(loaded.latent_std[0]) == pytest.approx(1 / 0.476986, rel=1e-3)
    assert torch.equal(loaded.quant_conv.weight.float(), vae.quant_conv.weight.half().float())


def test_the_audio_encoder_loads_from_a_whole_whisper(tmp_path):
    encoder = build_encoder(TINY.audio, seed=8)
    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items()} | {"decoder.ln.weight": torch.zeros(3)}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": state}, tmp_path / "tiny.pt")
    loaded = load_audio_encoder(tmp_path / "tiny.pt", TINY.audio, Placement())
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in encoder.state_dict().items())


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_files_that_are_no_weights_are_named_and_execute_nothing(tmp_path, capsys):
    torch.save({"module": {"a": Hostile()}}, tmp_path / "hostile.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"module": [torch.zeros(1)]}, tmp_path / "list.pt")
    for name in ("hostile.pt", "cut.safetensors", "text.pt", "list.pt", "none.pt"):
        with pytest.raises(WeightsFileError, match=name):
            map_weights(tmp_path / name)
    assert capsys.readouterr().out == ""


BIG = """
import resource, sys, torch
from pathlib import Path
from model.config import AVATAR
from model.weights import Placement, load_network, convert
from dataclasses import replace
config = replace(AVATAR, hidden=1024, heads=8, double_blocks=2, single_blocks=1, text_width=1024)
path = Path(sys.argv[1])
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
Path("/proc/self/clear_refs").write_text("5")
def high():
    return 1024 * int(next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l).split()[1])
if sys.argv[2] == "load":
    network = load_network(path, config, Placement(dtype=torch.bfloat16))
else:
    convert(path, path.with_name("out.safetensors"), None)
print(high() - before, path.stat().st_size)
"""


@pytest.fixture(scope="module")
def big_file(tmp_path_factory):
    config = replace(AVATAR, hidden=1024, heads=8, double_blocks=2, single_blocks=1, text_width=1024)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in VideoTransformer(config).state_dict().items()}
    state = {k: torch.ones(s, dtype=BF16.dtype_of(k, torch.bfloat16)) for k, s in shapes.items()}
    folder = tmp_path_factory.mktemp("big")
    torch.save({"module": state}, folder / "big.pt")
    save_file(state, folder / "big.safetensors")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own memory counters")
@pytest.mark.parametrize(
    ("name", "action", "limit"), [("big.pt", "load", 1.3), ("big.safetensors", "load", 1.3), ("big.pt", "convert", 0.6)]
)
def test_loading_holds_little_more_than_the_file(big_file, name, action, limit):
    done = subprocess.run(
        [sys.executable, "-c", BIG, big_file / name, action], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, size = map(int, done.stdout.split())
    print(f"{action} {name}: peak {peak / 1e6:.0f} MB, file {size / 1e6:.0f} MB, ratio {peak / size:.2f}")
    assert size > 250e6
    assert peak < limit * size


def test_a_card_is_written_read_and_checked(tmp_path):
    path = tmp_path / "states.safetensors"
    write_safetensors(path, [("a", torch.ones(2))], {"a": ((2,), torch.float32)})
    with pytest.raises(LicenceRefused, match="no licence on record"):
        read_card(path)
    card = write_card(path, "tencent-hunyuan-community")
    assert read_card(path) == card and card.name == "states.safetensors"
    check_digest(path, card)
    path.write_bytes(b"other")
    with pytest.raises(LicenceRefused, match="the record is of another file"):
        check_digest(path, card)
    card_path(path).write_text("[]")
    with pytest.raises(LicenceRefused, match="not a licence card"):
        read_card(path)
    with pytest.raises(ValueError, match=r"known are apache-2\.0"):
        write_card(path, "mine")


@pytest.mark.parametrize("territory", ["DE", "fr", "GB", "UK", "KR", ""])
def test_the_released_weights_are_refused_where_their_licence_ends(territory):
    with pytest.raises(LicenceRefused, match="tencent-hunyuan-community excludes"):
        check_licence(LICENCES["tencent-hunyuan-community"], territory, "render")


@given(territory=st.sampled_from(["US", "JP", "CH", "cn", "BR"]))
def test_elsewhere_they_render_but_do_not_train(territory):
    card = LICENCES["tencent-hunyuan-community"]
    check_licence(card, territory, "render")
    with pytest.raises(LicenceRefused, match="not training"):
        check_licence(card, territory, "training")


def test_free_weights_ask_nothing():
    check_licence(LICENCES["apache-2.0"], "", "training")
    assert asdict(LICENCES["apache-2.0"])["territory_excluded"] == ()


def test_neutral_values_of_the_puppet_leave_its_output_alone():
    network = VideoTransformer(replace(PUPPET, emotion=True))
    assert float(neutral_value("emotion_blocks.0.gamma", network).abs().sum()) == 0
