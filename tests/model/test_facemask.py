"""Masks of faces: the released rule, several faces, faces that move."""

from pathlib import Path

import pytest
import torch
from golden_inputs import compare_facemask
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from model.facemask import (
    Face,
    expand,
    latent_masks,
    moving_masks,
    pixel_mask,
    token_mask,
    track_face,
    whole_picture,
)

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
WIDTH, HEIGHT = 192, 128

faces = st.builds(
    lambda x, y, w, h, margin: Face((x, y, w, h), margin),
    st.floats(0, WIDTH - 1),
    st.floats(0, HEIGHT - 1),
    st.floats(4, WIDTH),
    st.floats(4, HEIGHT),
    st.sampled_from([1.0, 2.0, 3.0]),
)


def test_masks_are_the_recorded_ones():
    results = compare_facemask(GOLDEN)
    assert len(results) == 6
    assert all(result.error == 0 for result in results)


def test_a_box_in_the_corner_is_cut_at_the_border():
    assert expand(Face((5.0, 3.0, 60.5, 80.0)), 1216, 704) == (0, 0, 125, 163)


def test_no_face_found_means_the_whole_picture():
    assert latent_masks([whole_picture(WIDTH, HEIGHT)], WIDTH, HEIGHT).min() == 1


@given(face=faces)
def test_one_face_is_the_bilinear_eighth_of_its_pixels(face):
    pixels = pixel_mask(face, WIDTH, HEIGHT).float()[None, None]
    bilinear = functional.interpolate(pixels, scale_factor=1 / 8, mode="bilinear")[0]
    assert torch.equal(latent_masks([face], WIDTH, HEIGHT), bilinear)


@given(found=st.lists(faces | st.none(), min_size=1, max_size=6))
def test_masks_of_several_faces_sum_to_at_most_one_and_cover_all_that_any_covers(found):
    masks = latent_masks(found, WIDTH, HEIGHT)
    alone = [latent_masks([face], WIDTH, HEIGHT)[0] for face in found if face]
    covered = torch.stack(alone).amax(0) if alone else torch.zeros(HEIGHT // 8, WIDTH // 8)
    assert masks.sum(0).max() <= 1
    assert (masks.sum(0) >= covered).all()
    assert all((mask <= one).all() for mask, one in zip([m for m, f in zip(masks, found) if f], alone, strict=True))
    assert all(mask.max() == 0 for mask, face in zip(masks, found) if face is None)


def test_neighbours_share_their_overlap_in_the_middle():
    masks = latent_masks([Face((32, 32, 32, 40)), Face((96, 32, 32, 40))], WIDTH, HEIGHT)
    row = masks[:, 6]
    assert row[0, :10].min() == 1 and row[0, 10:].max() == 0  # centres 48 and 112: the border is pixel 80
    assert row[1, 10:18].min() == 1 and row[1, :10].max() == 0


def test_a_big_face_does_not_swallow_a_small_one():
    big, small = Face((20, 10, 80, 100)), Face((120, 50, 16, 20))
    masks = latent_masks([big, small], WIDTH, HEIGHT)
    assert masks[1, 7, 16] == 1 and masks[0, 7, 16] == 0  # the small face's centre is its own


def test_a_moving_face_is_masked_where_it_is_at_each_latent():
    track = track_face([(0, (8.0, 32.0, 24.0, 32.0)), (16, (136.0, 32.0, 24.0, 32.0))], num_latents=8, margin=1)
    assert track[0].box[0] == 8
    assert track[1].box[0] == 8 + 128 * 2.5 / 16  # frames 1 to 4
    assert track[-1].box[0] == 136
    masks = moving_masks([track, [None] * 8], WIDTH, HEIGHT)
    assert masks.shape == (2, 8, 16, 24)
    centres = (masks[0] * torch.arange(24)).sum((1, 2)) / masks[0].sum((1, 2))
    assert (centres.diff() >= 0).all() and centres[-1] - centres[0] == 16
    assert masks[1].max() == 0


def test_tokens_read_every_second_cell():
    mask = torch.arange(16.0).reshape(4, 4)
    assert token_mask(mask).tolist() == [[0, 2], [8, 10]]


def test_boxes_that_cannot_be_used_are_named():
    with pytest.raises(ValueError, match="no part of it lies"):
        expand(Face((200, 0, 10, 10)), WIDTH, HEIGHT)
    with pytest.raises(ValueError, match="rising order"):
        track_face([(8, (0, 0, 8, 8)), (8, (0, 0, 8, 8))], 3)
    with pytest.raises(ValueError, match=r"\[1, 2\] latents"):
        moving_masks([[None], [None, None]], WIDTH, HEIGHT)
