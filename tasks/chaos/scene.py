"""The episodes of a chaos run, and what must come out of each."""

from pathlib import Path

from db.records import WorkItem
from tasks.chaos.expected import Expected, expect_real, expect_toy
from tasks.pod import Pod
from tasks.pointer import find_done
from tasks.rehearsal import Rehearsal, ingest_rehearsal

TOY_STEPS = 4


class Scene:
    """Episodes on demand. `pod` reaches store and ledger without faults."""

    def __init__(self, pod: Pod, folder: Path, shots: tuple[int, ...]) -> None:
        self.pod, self.folder, self.expected = pod, folder, dict[str, Expected]()
        self._shots, self._seeds = shots, iter(range(1, 1_000_000))

    def toy(self) -> str:
        """Ingest another episode for the toy renderer; return its order."""
        seed = next(self._seeds)
        what = Rehearsal(self._shots, steps=TOY_STEPS, seed=seed)
        plan, order = ingest_rehearsal(self.folder / f"episode-{seed}", what, self.pod)
        self.expected[order] = expect_toy(order, plan)
        return order

    def real(self) -> tuple[str, str]:
        """Ingest another episode for the small network, render it once in a corner; return its name and order."""
        seed = next(self._seeds)
        what = Rehearsal((2, 1), steps=6, seed=seed)
        plan, order = ingest_rehearsal(self.folder / f"episode-{seed}", what, self.pod)
        self.expected[order] = expect_real(self.folder / f"alone-{seed}", what)
        return plan.episode, order

    def has_ended(self, order: str) -> bool:
        """Say whether an episode's film and pictures are there; a picture's record may have been deleted since."""
        return all(find_done(self.pod.store, item) is not None for item in self.made_of_parts(order))

    def made_of_parts(self, order: str) -> list[WorkItem]:
        """Return an episode's film and pictures: what is quickly made again."""
        return [self.expected[order].film, *self.expected[order].traces]
