"""Which detected face is whose: the best assignment, taken only where it is clearly better than the next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NEVER = -1e6


@dataclass(frozen=True)
class Assignment:
    """`faces[i]` is the index of character i's face. `doubts` say what could not be told, one sentence each."""

    faces: tuple[int, ...]
    doubts: tuple[str, ...]


def _best(similarity: NDArray[np.float64]) -> tuple[NDArray[np.intp], float]:
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return columns, float(similarity[rows, columns].sum())


def assign(names: Sequence[str], similarity: NDArray[np.float64], least: float, margin: float) -> Assignment:
    """Return the assignment of characters (rows) to faces (columns) with the largest total similarity.

    A character is in doubt when its face is less similar than `least`, or when forbidding that face costs the whole
    assignment less than `margin` (then another way of telling them apart is nearly as good). The doubt names both.
    """
    num_names, num_faces = similarity.shape
    if num_faces < num_names:
        return Assignment((), (f"{num_faces} faces were found for {num_names} characters ({', '.join(names)})",))
    chosen, total = _best(similarity)
    doubts = []
    for row, name in enumerate(names):
        own = similarity[row, chosen[row]]
        if own < least:
            doubts.append(f"no face looks like {name!r}: the nearest is {own:.2f} alike, {least:.2f} is needed")
            continue
        forbidden = similarity.copy()
        forbidden[row, chosen[row]] = NEVER
        other, second = _best(forbidden) if num_faces > 1 else (chosen, NEVER)
        if total - second < margin:
            swapped = [names[k] for k in range(num_names) if k != row and other[k] != chosen[k]]
            pair = sorted([name, *swapped[:1]])
            rival = f"{pair[0]!r} and {pair[1]!r} could be swapped" if swapped else f"two faces could be {name!r}"
            doubts.append(f"{rival}: the two ways differ by {total - second:.2f}, {margin:.2f} is needed")
    return Assignment(tuple(int(column) for column in chosen), tuple(dict.fromkeys(doubts)))


def left_to_right(lefts: Sequence[float], names: Sequence[str]) -> Assignment:
    """Return the assignment in the order of the faces' left edges; as many faces as names are needed."""
    if len(lefts) != len(names):
        found = f"{len(lefts)} faces were found for {len(names)} characters ({', '.join(names)})"
        return Assignment((), (found,))
    return Assignment(tuple(int(index) for index in np.argsort(lefts, kind="stable")), ())
