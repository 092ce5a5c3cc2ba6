"""The assignment against trying every permutation, and its doubts."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.faces.assign import assign, left_to_right
from tasks.faces.types import DetectedFace, clip_box, without_doubles
from tasks.plan.types import FaceBox

matrices = st.integers(1, 4).flatmap(
    lambda rows: st.integers(rows, 5).flatmap(
        lambda columns: arrays(np.float64, (rows, columns), elements=st.integers(0, 100).map(lambda value: value / 100))
    )
)


@given(matrices)
def test_what_is_taken_is_the_best_and_clearly_so(similarity):
    names = [f"c{row}" for row in range(len(similarity))]
    found = assign(names, similarity, 0.0, 0.1)
    ways = itertools.permutations(range(similarity.shape[1]), len(names))
    totals = sorted((sum(similarity[row, column] for row, column in enumerate(way)), way) for way in ways)
    best = sum(similarity[row, column] for row, column in enumerate(found.faces))
    assert abs(best - totals[-1][0]) < 1e-9
    if not found.doubts and len(totals) > 1:
        assert totals[-1][1] == found.faces and totals[-1][0] - totals[-2][0] >= 0.1 - 1e-9


def test_a_stranger_is_not_forced_onto_the_last_face():
    found = assign(["ana", "ben"], np.array([[0.9, 0.1], [0.1, 0.2]]), 0.4, 0.1)
    assert found.doubts == ("no face looks like 'ben': the nearest is 0.20 alike, 0.40 is needed",)


def test_fewer_faces_than_names_is_a_doubt_that_counts():
    assert "1 faces were found for 2 characters (ana, ben)" in assign(["ana", "ben"], np.ones((2, 1)), 0, 0).doubts[0]
    assert left_to_right([0.1], ["ana", "ben"]).doubts
    assert left_to_right([0.7, 0.1], ["ana", "ben"]).faces == (1, 0)


def test_the_surer_of_two_boxes_on_one_face_stays():
    a, b, c = (DetectedFace(FaceBox(x, 0.2, 0.2, 0.3), s) for x, s in ((0.1, 0.7), (0.12, 0.9), (0.6, 0.5)))
    assert without_doubles([a, b, c]) == [b, c]


@given(*[st.floats(-1, 2) for _ in range(2)], *[st.floats(0.001, 3) for _ in range(2)])
def test_a_clipped_box_lies_in_the_picture(x, y, w, h):
    box = clip_box(x, y, w, h)
    assert box.x >= 0 and box.y >= 0 and box.w > 0 and box.h > 0
    assert box.x + box.w <= 1.0001 and box.y + box.h <= 1.0001
