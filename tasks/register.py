"""A plan into the ledger: episode, shots, segments, weights. Idempotent."""

from db.ledger import Ledger
from db.records import EpisodeEntry, SegmentEntry, ShotEntry, WeightsEntry
from tasks.plan.types import Plan
from tasks.store import content_digest


def register(ledger: Ledger, plan: Plan, order: str) -> None:
    """Write a plan down.

    Raises: LedgerAway.
    """
    ledger.register_weights(WeightsEntry(plan.weights_sha256, plan.profile, plan.profile, 0))
    ledger.register_episode(
        EpisodeEntry(
            key=plan.key,
            name=plan.episode,
            title=plan.title,
            show=plan.show,
            profile=plan.profile,
            fps=plan.fps,
            num_frames=plan.num_frames,
            plan_sha256=content_digest(order),
        )
    )
    ledger.register_shots(plan.key, [ShotEntry(s.index, s.id, s.key, s.start_frame, s.num_frames) for s in plan.shots])
    for shot in plan.shots:
        segments = [SegmentEntry(s.key, s.index, s.first_window, s.num_windows) for s in shot.segments]
        ledger.register_segments(shot.key, segments)
