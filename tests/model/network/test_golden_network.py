"""The network equals recorded passes of the released one; its tensors are the released file's."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from golden_network import GOLDEN, compare_dit, compare_rope, lean_network, load_case, load_detgen

from model.config import AVATAR, PUPPET
from model.rope import positions
from model.transformer import VideoTransformer


def shapes(config) -> dict[str, str]:
    with torch.device("meta"):
        network = VideoTransformer(config)
    return {name: "x".join(map(str, value.shape)) for name, value in network.state_dict().items()}


def test_every_tensor_has_the_name_and_shape_of_the_released_file():
    recorded = json.loads((GOLDEN / "param_shapes_full.json").read_text())
    assert shapes(AVATAR) == recorded
    assert len(recorded) == 946


def test_added_parts_bring_tensors_under_new_names_only():
    audio = dataclasses.replace(AVATAR.audio, extended=True)
    more = shapes(dataclasses.replace(AVATAR, emotion=True, audio=audio))
    assert shapes(AVATAR).items() <= more.items()
    added = {name.split(".")[0] for name in more.keys() - shapes(AVATAR).keys()}
    assert added == {"emo_in", "emo_fc", "emotion_blocks", "audio_proj_ext", "audio_adapter_blocks"}


def test_the_puppet_is_the_same_network_in_small():
    assert {name.split(".")[0] for name in shapes(AVATAR)} <= {name.split(".")[0] for name in shapes(PUPPET)}


def test_recorded_passes_and_their_stages_are_met():
    results = compare_dit(GOLDEN)
    assert {"dit_A out", "dit_A out_cached_half_t", "dit_B out", "dit_B out_cached_half_t"} <= {r.case for r in results}
    assert len(results) >= 19
    assert [r for r in results if not r.passed] == []


def test_a_large_matrix_is_drawn_for_its_use_and_gone_with_the_next():
    network = lean_network()
    one, other = network.single_blocks[0].linear1, network.single_blocks[0].linear2
    detgen, x = load_detgen(GOLDEN), torch.ones(1, one.in_features)
    expected = detgen.param("single_blocks.0.linear1.weight", one.weight.shape)
    assert one.weight.is_meta
    one(x)
    assert torch.equal(one.weight, expected)
    other(torch.ones(1, other.in_features))
    assert one.weight.is_meta and not other.weight.is_meta


def test_the_recorded_angles_are_met():
    results = compare_rope(GOLDEN)
    assert len(results) == 2
    assert [r for r in results if not r.passed] == []


def test_a_wrong_recording_is_noticed(tmp_path: Path):
    table = {name: value.numpy() for name, value in load_case(GOLDEN / "rope_5x8x12.npz").items()}
    np.savez(tmp_path / "rope_5x8x12.npz", **(table | {"cos": table["cos"] + np.float32(2e-4)}))
    np.savez(tmp_path / "rope_5x8x14.npz", **table)
    results = {result.case: result.passed for result in compare_rope(tmp_path)}
    assert results == {
        "rope_5x8x12 cos": False,
        "rope_5x8x12 sin": True,
        "rope_5x8x14 cos": False,
        "rope_5x8x14 sin": False,
    }


def test_the_papers_shift_moves_the_reference_by_the_grid():
    shifted = positions(2, 3, 5, dataclasses.replace(AVATAR, ref_shift="xy"))
    plain = positions(2, 3, 5, AVATAR)
    assert torch.equal(shifted[15:], plain[15:])
    assert torch.equal(shifted[:15] - plain[:15], torch.tensor([0.0, 3.0, 5.0]).expand(15, 3))
    assert (plain[:15, 0] == -1).all()
