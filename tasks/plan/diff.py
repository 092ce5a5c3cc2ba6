"""What a change makes dirty: two plans compared by key. Pure."""

from dataclasses import dataclass
from typing import Literal

from tasks.plan.types import Plan


@dataclass(frozen=True)
class ShotChange:
    """One line of `farm plan --diff`."""

    shot: str
    change: Literal["same", "moved", "render", "new", "removed"]
    segments: int  # how many segments must be rendered for it


def compare(old: Plan, new: Plan) -> tuple[ShotChange, ...]:
    """Return what the new plan changes, in its shots' order, removed shots last.

    `moved`: same pixels at another place of the film; only the stitch runs again.
    """
    before = {shot.id: shot for shot in old.shots}
    known = {shot.key for shot in old.shots}
    changes = []
    for shot in new.shots:
        was = before.pop(shot.id, None)
        if shot.key in known:
            same = was is not None and (was.key, was.start_frame) == (shot.key, shot.start_frame)
            changes.append(ShotChange(shot.id, "same" if same else "moved", 0))
        else:
            changes.append(ShotChange(shot.id, "new" if was is None else "render", len(shot.segments)))
    return tuple(changes + [ShotChange(name, "removed", 0) for name in before])
