"""What people decided to do without: a waived segment is a still in the film, and its neighbours are told so.

A take with a waived segment is another take: its other segments see the plate, noised like everything else, where the
waived one would have spoken, so they, the shot and the film get keys of their own. Taking the waiver back finds the
old keys again, and with them everything that was rendered without it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch

from db.ledger import Ledger
from db.records import WorkItem
from model.exchange import Read
from model.sampler import Predictions, Take
from model.shot import ShotConditions
from tasks.exchange import StoreExchange
from tasks.ingest import load_plan
from tasks.plan.keys import digest
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.pod import Pod

Waivers = Mapping[str, str]  # key of a segment -> hold-last or slate


def load_order(pod: Pod, order: str) -> Plan:
    """Return an order's plan as it is to be rendered now. Raises: ObjectMissing, StoreError, LedgerAway."""
    plan = load_plan(pod.store, order)
    return apply_waivers(plan, read_waivers(pod.ledger, plan))


def read_waivers(ledger: Ledger, plan: Plan) -> Waivers:
    """Return which segments of a plan are waived. Raises: LedgerAway."""
    items = [WorkItem("segment", segment.key) for shot in plan.shots for segment in shot.segments]
    found = ledger.statuses(items)
    return {item.key: status.waived_with for item, status in found.items() if status.state == "waived"}


def waiver_of(ledger: Ledger, item: WorkItem) -> str:
    """Return how a work item is waived; empty when it is not. Raises: LedgerAway."""
    status = ledger.status(item)
    return status.waived_with if status and status.state == "waived" else ""


def apply_waivers(plan: Plan, waivers: Waivers) -> Plan:
    """Return the plan with the keys of what is another thing because of its waivers. Pure."""
    shots = tuple(_apply(shot, waivers) for shot in plan.shots)
    if shots == plan.shots:
        return plan
    return replace(plan, shots=shots, key=digest([plan.key, [shot.key for shot in shots]]))


def waived_segments(shot: ShotPlan, waivers: Waivers) -> dict[int, str]:
    """Return how each waived segment of a shot is filled, by index."""
    return {segment.index: waivers[segment.key] for segment in shot.segments if segment.key in waivers}


def _apply(shot: ShotPlan, waivers: Waivers) -> ShotPlan:
    waived = waived_segments(shot, waivers)
    if not waived:
        return shot
    facts = sorted(waived.items())
    segments = tuple(s if s.index in waived else _renamed(s, facts) for s in shot.segments)
    return replace(shot, key=digest([shot.key, "waived", facts]), segments=segments)


def _renamed(segment: SegmentPlan, facts: Sequence[tuple[int, str]]) -> SegmentPlan:
    stills = [index for index, _ in facts]  # slate or held: the neighbours see the plate either way
    return replace(segment, key=digest([segment.key, "beside a still", stills]))


@dataclass(frozen=True, eq=False)
class Stills:
    """What a waived segment says after every step: the plate, noised as far as everything else is by then."""

    take: Take
    plate: torch.Tensor  # (c, 1, h, w)

    def read(self, step_index: int, read: Read) -> Predictions:
        """Return the pieces that are asked for."""
        step = self.take.steps[step_index]
        sigma = step.sigma + step.euler
        still = self.plate[:, 0].to(self.take.device, torch.float32)
        state = self.take.numerics.state

        def noised(latent: int) -> torch.Tensor:
            noise = self.take.noise(latent).to(self.take.device, torch.float32)
            return (sigma * noise + (1 - sigma) * still).to(state)

        return {(piece.window, latent): noised(latent) for piece in read.pieces for latent in piece.latents}


@dataclass(frozen=True, eq=False)
class StillsExchange(StoreExchange):
    """A store exchange in which some segments are stills."""

    stills: Stills | None = None
    waived: frozenset[int] = frozenset()

    def read(self, step_index: int, reads: Sequence[Read]) -> Predictions:
        """Return what others predicted at a step; stills answer at once."""
        found = super().read(step_index, [read for read in reads if read.segment not in self.waived])
        for read in reads:
            if self.stills and read.segment in self.waived:
                found |= self.stills.read(step_index, read)
        return found


def with_stills(exchange: StoreExchange, waived: frozenset[int], take: Take, told: ShotConditions) -> StoreExchange:
    """Return the exchange with its waived segments answered for."""
    if not waived:
        return exchange
    known = {field.name: getattr(exchange, field.name) for field in fields(StoreExchange)}
    return StillsExchange(**known, stills=Stills(take, told.reference), waived=waived)
